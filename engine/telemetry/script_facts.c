/* Rows of scripts, read. See the header. */
#include "engine/telemetry/script_facts.h"

#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/telemetry/scoreboard.h"

#define READ_TRIES 4
#define ERROR_US   (1 * CLOCK_US_PER_SECOND) /* what an error weighs against time */

static uint64_t fact_weight(const struct script_fact *fact)
{
    return fact->total_us / 2 + fact->errors * ERROR_US;
}

static void join(struct script_fact *into, const struct script_fact *from)
{
    if (from->max_us > into->max_us) {
        into->max_us = from->max_us;
        memcpy(into->uri, from->uri, sizeof(into->uri));
    }
    if (from->errors && (!into->errors || from->seen_wall_us >= into->seen_wall_us)) {
        memcpy(into->message, from->message, sizeof(into->message));
    }
    into->requests += from->requests;
    into->total_us += from->total_us;
    into->errors += from->errors;
    into->seen_wall_us = from->seen_wall_us > into->seen_wall_us ? from->seen_wall_us : into->seen_wall_us;
}

void script_facts_add(struct script_facts *all, const struct script_fact *fact)
{
    struct script_fact *least = NULL;
    for (uint32_t i = 0; i < all->count; i++) {
        if (strcmp(all->facts[i].script, fact->script) == 0) {
            join(&all->facts[i], fact);
            return;
        }
        least = !least || fact_weight(&all->facts[i]) < fact_weight(least) ? &all->facts[i] : least;
    }
    if (all->count < SCRIPT_FACTS) {
        all->facts[all->count++] = *fact;
    } else if (fact_weight(fact) > fact_weight(least)) {
        *least = *fact;
    }
}

/* Numbers of a peer: within what a sum can hold. */
static uint64_t within(uint64_t n, uint64_t most)
{
    return n < most ? n : most;
}

static void copy_row(const struct script_row *row, struct script_fact *out)
{
    uint64_t now = clock_wall_us();
    *out = (struct script_fact){
        .requests = within(atomic_load(&row->requests), UINT32_MAX),
        .total_us = within(atomic_load(&row->total_us), UINT64_MAX >> 16),
        .max_us = within(atomic_load(&row->max_us), UINT64_MAX >> 16),
        .errors = within(atomic_load(&row->errors), UINT32_MAX),
        .seen_wall_us = within(atomic_load(&row->seen_wall_us), now),
    };
    memcpy(out->script, row->script, sizeof(out->script));
    memcpy(out->uri, row->uri, sizeof(out->uri));
    memcpy(out->message, row->message, sizeof(out->message));
    out->script[sizeof(out->script) - 1] = out->uri[sizeof(out->uri) - 1] =
        out->message[sizeof(out->message) - 1] = '\0';
}

static bool read_row(const struct board_source *from, uint32_t index, struct script_fact *out)
{
    struct script_row row;
    off_t at = (off_t)scoreboard_script_at(from->size, index);
    for (int i = 0; i < READ_TRIES; i++) {
        uint32_t after = 1;
        if (pread(from->fd, &row, sizeof(row), at) != (ssize_t)sizeof(row) ||
            pread(from->fd, &after, sizeof(after), at) != (ssize_t)sizeof(after)) {
            return false;
        }
        if (after % 2 == 0 && after == atomic_load(&row.sequence)) {
            copy_row(&row, out);
            return out->script[0] != '\0';
        }
    }
    return false;
}

void script_facts_add_board(struct script_facts *all, const struct board_source *from)
{
    struct script_fact fact;
    for (uint32_t i = 0; from->fd >= 0 && i < SCRIPT_ROWS; i++) {
        if (read_row(from, i, &fact)) {
            script_facts_add(all, &fact);
        }
    }
}
