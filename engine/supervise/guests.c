/* Lists of pools by name. See the header. */
#include "engine/supervise/guests.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/supervise/scribe.h"
#include "engine/supervise/state.h"

static bool answers_for(const struct pool_conf *owner, const struct pool_conf *site)
{
    for (size_t i = 0; owner != site && frontends[i]; i++) {
        if (frontends[i]->answers_for && frontends[i]->answers_for(owner, site)) {
            return true;
        }
    }
    return false;
}

void guests_find(struct guests *out, const struct config *config, const struct pool_conf *owner)
{
    *out = (struct guests){0};
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        if (answers_for(owner, pool)) {
            guests_add(out, pool->name, -1);
        }
    }
}

void guests_add(struct guests *guests, const char *name, int log_pipe)
{
    guests->places = xrealloc(guests->places, (guests->count + 1) * sizeof(*guests->places));
    guests->places[guests->count++] = (struct guest_place){.name = xstrdup(name), .log = {log_pipe, -1}};
}

bool guests_number(const struct guests *guests, const char *name, uint32_t *number)
{
    for (uint32_t i = 0; i < guests->count; i++) {
        if (strcmp(guests->places[i].name, name) == 0) {
            *number = i;
            return true;
        }
    }
    return false;
}

/* -- their logs -- */

int guests_file(const struct guest_place *place, const struct supervisor *s)
{
    const struct member *m = member_find(s, place->name);
    return m ? m->log_fds[LOG_FILE_ACCESS] : -1;
}

int guests_open_logs(struct guests *guests, const struct supervisor *s)
{
    for (uint32_t i = 0; i < guests->count; i++) {
        if (guests_file(&guests->places[i], s) >= 0 && scribe_pipe(guests->places[i].log) != 0) {
            return -1;
        }
    }
    return 0;
}

void guests_close_theirs(struct guests *guests)
{
    for (uint32_t i = 0; i < guests->count; i++) {
        child_close_fd(&guests->places[i].log[1]);
    }
}

void guests_start_scribes(struct guests *guests, const struct supervisor *s)
{
    for (uint32_t i = 0; i < guests->count; i++) {
        struct guest_place *place = &guests->places[i];
        int target = guests_file(place, s);
        if (!place->scribe && place->log[0] >= 0 && target >= 0) {
            place->scribe = scribe_start(place->log[0], target);
        }
    }
}

void guests_free(struct guests *guests)
{
    guests_close_theirs(guests);
    for (uint32_t i = 0; i < guests->count; i++) {
        struct guest_place *place = &guests->places[i];
        if (place->scribe) {
            scribe_leave(place->scribe);
        } else {
            child_close_fd(&place->log[0]);
        }
        free(place->name);
    }
    free(guests->places);
    *guests = (struct guests){0};
}
