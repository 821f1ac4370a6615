/* What the workers that hold the worker script have in common, and which requests are theirs. struct
 * residents is made before any worker, and constant but for why. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/path_text.h"
#include "engine/base/pattern.h"
#include "engine/work/pool_private.h"
#include "engine/work/request.h"
#include "engine/work/resident_private.h"

int residents_open(struct pool *pool)
{
    const struct pool_settings *s = &pool->conf->s;
    struct residents *all = &pool->residents;

    pthread_mutex_init(&all->lock, NULL);
    if (!s->worker_script || !pool->executor->hold) {
        return 0;
    }
    all->script = s->worker_script;
    all->routes = s->worker_routes && *s->worker_routes ? s->worker_routes : NULL;
    all->real = realpath(s->worker_script, NULL);
    all->leads_to = all->real ? strdup(all->real) : NULL;
    all->count = s->worker_num > 0 ? (uint32_t)s->worker_num : (uint32_t)s->max_children;
    return lane_open(&pool->lanes[KIND_RESIDENT], false);
}

void residents_close(struct pool *pool)
{
    struct residents *all = &pool->residents;

    pthread_mutex_destroy(&all->lock);
    free(all->real);
    free(all->leads_to);
    for (unsigned i = 0; i < RESIDENT_PLACES; i++) {
        free(all->places[i]);
    }
}

/* As an application sees it. What has no such text is nobody's route. */
static bool is_routed(const char *routes, const struct request *r)
{
    const struct param *param = request_param_find(r, STR("REQUEST_URI"));
    const char *uri = param ? param->value : r->uri ? r->uri : "";
    char text[PATH_TEXT_MAX + 1];
    int n = path_text((struct str){uri, strcspn(uri, "?")}, text);

    return n > 0 && pattern_list_match(routes, (struct str){text, (size_t)n});
}

static bool has_name_of(const char *script, const char *other)
{
    const char *name = strrchr(script, '/'), *others = other ? strrchr(other, '/') : NULL;

    return name && others && strcmp(name, others) == 0;
}

/* Where the script has led to since this process began, as far as requests have asked. */
static bool has_led_to(struct residents *all, const char *script, bool now)
{
    bool found = false;

    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < RESIDENT_PLACES && !found; i++) {
        found = all->places[i] && strcmp(all->places[i], script) == 0;
    }
    if (now && !found) {
        char **place = &all->places[all->next_place++ % RESIDENT_PLACES];

        free(*place);
        *place = strdup(script);
    }
    pthread_mutex_unlock(&all->lock);
    return found || now;
}

/* A deployment may have moved a link on the way to the script: what it leads to now is theirs as well, or it
 * would run as any other until their process is replaced; and where it led to a moment ago, which a request
 * may still come with when the link has moved on. */
static bool leads_to(struct residents *all, const char *script)
{
    char now[PATH_MAX];

    if (strcmp(script, all->script) == 0 || (all->real && strcmp(script, all->real) == 0)) {
        return true;
    }
    return (has_name_of(script, all->script) || has_name_of(script, all->real)) &&
           has_led_to(all, script, realpath(all->script, now) && strcmp(script, now) == 0);
}

bool residents_want(struct pool *pool, const struct request *r)
{
    struct residents *all = &pool->residents;

    return all->count > 0 && r->page == PAGE_SCRIPT && r->script &&
           (all->routes ? is_routed(all->routes, r) : leads_to(all, r->script));
}

bool worker_is_resident(const struct worker *w)
{
    return w->resident != NULL;
}

bool worker_takes(const struct worker *w, const struct request *r)
{
    if (w->kind == KIND_PAGE || w->pool->residents.count == 0) {
        return true;
    }
    bool wanted = residents_want(w->pool, r);

    return w->resident ? wanted && (w->resident->waits || w->resident->down) : !wanted;
}

void residents_note_failure(struct pool *pool, const char *why)
{
    pthread_mutex_lock(&pool->residents.lock);
    snprintf(pool->residents.why, sizeof(pool->residents.why), "%s", why);
    pthread_mutex_unlock(&pool->residents.lock);
}

/* -- the control thread -- */

void residents_sample(struct pool *pool)
{
    const struct lane *lane = &pool->lanes[KIND_RESIDENT];

    if (pool->residents.count > 0) {
        atomic_store_explicit(&pool->board->numbers->script_queue,
                              atomic_load(&lane->queue.count) + atomic_load(&lane->passed.count),
                              memory_order_relaxed);
    }
}

void residents_follow(struct pool *pool)
{
    struct residents *all = &pool->residents;
    char *now = all->leads_to ? realpath(all->script, NULL) : NULL;

    if (!now || strcmp(now, all->leads_to) == 0) {
        free(now);
        return;
    }
    log_notice("[pool %s] worker.script leads to %s now", pool->conf->name, now);
    has_led_to(all, now, true);
    free(all->leads_to);
    all->leads_to = now;
    pool_request_renewal(pool, "worker.script leads to another file");
}

bool residents_rest(const struct pool *pool)
{
    uint32_t resting = 0;

    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker *w = pool->workers[i];

        resting += w && w->resident && worker_get_state(w) == WORKER_IDLE;
    }
    return resting == pool->residents.count;
}

const char *pool_failure(struct pool *pool)
{
    return pool->residents.why[0] ? pool->residents.why : "the workers did not start";
}

/* -- a request -- */

/* True: the script takes it. False: it has been refused. */
bool resident_begin(struct worker *w, struct request *r)
{
    static const char text[] = "This site cannot be served at the moment. Please try again.\n";
    static const struct header_line lines[] = {{"Content-Type: text/plain", 24, 12},
                                               {"Retry-After: 5", 14, 11}};

    if (!w->resident || w->resident->waits) {
        if (w->resident) {
            w->resident->waits = false;
        }
        return true;
    }
    if (w->resident->shown && w->pool->executor->explain) {
        w->pool->executor->explain(w, r);
        return false;
    }
    if (request_send_head(r,
                          &(struct response_head){
                              .status = 503, .lines = lines, .count = 2, .no_body = r->head_counts}) == 0) {
        request_write(r, text, sizeof(text) - 1);
    }
    return false;
}
