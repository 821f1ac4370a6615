/* See resident.h. Threads: a struct resident is its worker's thread's own, but for booting_since_us. The
 * what they have in common, struct residents, is made before any worker, and constant but for why. */
#include "engine/work/resident.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/path_text.h"
#include "engine/base/pattern.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"
#include "engine/work/request.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS  1000
#define DOWN_MS          5000 /* between two boots once too many have failed */
#define SLICE_MS         20
#define BOOT_LIMIT_US    (60 * CLOCK_US_PER_SECOND)

struct resident {
    bool waits;                        /* the script waits for a request */
    bool down;                         /* too many boots have failed: requests are refused */
    bool ready;                        /* this run of the script has asked for a request */
    unsigned failures;                 /* boots in a row */
    char why[256];                     /* of the last one */
    enum restart_reason end;           /* of this run, should it end now */
    _Atomic uint64_t booting_since_us; /* the control thread reads it; 0 = it is not booting */
};

/* -- in common -- */

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
    all->count = s->worker_num > 0 ? (uint32_t)s->worker_num : (uint32_t)s->max_children;
    return lane_open(&pool->lanes[KIND_RESIDENT], false);
}

void residents_close(struct pool *pool)
{
    struct residents *all = &pool->residents;

    pthread_mutex_destroy(&all->lock);
    free(all->real);
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

static bool leads_to(const struct residents *all, const char *script)
{
    return strcmp(script, all->script) == 0 || (all->real && strcmp(script, all->real) == 0);
}

bool residents_want(const struct pool *pool, const struct request *r)
{
    const struct residents *all = &pool->residents;

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

static void note_why(struct pool *pool, const char *why)
{
    pthread_mutex_lock(&pool->residents.lock);
    snprintf(pool->residents.why, sizeof(pool->residents.why), "%s", why);
    pthread_mutex_unlock(&pool->residents.lock);
}

/* -- the control thread -- */

void residents_start(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->residents.count; i++) {
        pool_add_worker(pool, KIND_RESIDENT);
    }
}

void residents_sample(struct pool *pool)
{
    const struct lane *lane = &pool->lanes[KIND_RESIDENT];

    if (pool->residents.count > 0) {
        atomic_store_explicit(&pool->board->numbers->script_queue,
                              atomic_load(&lane->queue.count) + atomic_load(&lane->passed.count),
                              memory_order_relaxed);
    }
}

/* One a second comes back of those that crashed while they booted: they may well do it again. */
void residents_tick(struct pool *pool, uint64_t now)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker *w = pool->workers[i];

        if (!w || !w->resident) {
            continue;
        }
        count++;
        uint64_t since = atomic_load(&w->resident->booting_since_us);

        if (since && now > since + BOOT_LIMIT_US) {
            pool_request_swap(pool, "the worker script does not come up");
        }
    }
    if (count < pool->residents.count && !atomic_load(&pool->draining)) {
        pool_add_worker(pool, KIND_RESIDENT);
    }
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

/* -- made and unmade with its worker -- */

struct resident *resident_create(void)
{
    return calloc(1, sizeof(struct resident));
}

/* -- what the executor calls -- */

void resident_ready(struct worker *w)
{
    struct resident *own = w->resident;

    metrics_count(w->pool->board, TOTAL_BOOTS, 1);
    metrics_count(w->pool->board, TOTAL_BOOT_US, clock_us() - atomic_exchange(&own->booting_since_us, 0));
    own->ready = true;
    own->down = false;
    own->failures = 0;
    worker_stands(w);
}

void resident_keeps(struct worker *w, uint64_t bytes)
{
    uint64_t kib = bytes / 1024;

    kib = kib <= SCRIPT_BOOTS ? SCRIPT_BOOTS + 1 : kib >= SCRIPT_DOWN ? SCRIPT_DOWN - 1 : kib;
    atomic_store_explicit(&w->slot->script_kib, (uint32_t)kib, memory_order_relaxed);
}

void resident_ends(struct worker *w, enum restart_reason why)
{
    w->resident->end = why;
}

bool resident_serve(struct worker *w)
{
    struct resident *own = w->resident;
    bool rested = false;

    own->waits = true;
    while (own->waits && !atomic_load(&w->pool->ending)) {
        worker_look(w, &rested, -1);
    }
    bool served = !own->waits;

    own->waits = false;
    worker_set_state(w, WORKER_CREATING); /* the script's own code runs */
    return served;
}

void resident_failed(struct worker *w, const char *why)
{
    snprintf(w->resident->why, sizeof(w->resident->why), "%s", why);
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
    if (request_send_head(r,
                          &(struct response_head){
                              .status = 503, .lines = lines, .count = 2, .no_body = r->head_counts}) == 0) {
        request_write(r, text, sizeof(text) - 1);
    }
    return false;
}

/* -- the thread -- */

static void wait_slices(const struct pool *pool, uint64_t until)
{
    while (!atomic_load(&pool->ending) && clock_us() < until) {
        nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000L}, NULL);
    }
}

static void wait_down(struct worker *w, uint64_t until)
{
    bool rested = true;

    w->resident->down = true;
    atomic_store(&w->slot->script_kib, SCRIPT_DOWN);
    worker_stands(w);
    for (uint64_t now = clock_us(); !atomic_load(&w->pool->ending) && now < until; now = clock_us()) {
        worker_look(w, &rested, (int)((until - now) / 1000) + 1);
    }
}

/* After a boot that failed. False: the thread is given up, as the whole start is. */
static bool wait_for_next_boot(struct worker *w)
{
    struct resident *own = w->resident;
    struct pool *pool = w->pool;
    int64_t most = pool->conf->s.worker_failures;
    unsigned shift = own->failures < 4 ? own->failures : 4;
    unsigned ms = BACKOFF_FIRST_MS << shift;

    own->failures++;
    metrics_count(pool->board, TOTAL_BOOT_FAILURES, 1);
    note_why(pool, own->why);
    bool too_many = most >= 0 && own->failures > (uint64_t)most;

    if (too_many && !atomic_load(&pool->open)) {
        return false;
    }
    ms = too_many ? DOWN_MS : ms < BACKOFF_MOST_MS ? ms : BACKOFF_MOST_MS;
    log_limited(LEVEL_ERROR, "[pool %s] %s; it is booted again in %u ms%s", pool->conf->name, own->why, ms,
                too_many ? ", until then its requests are answered with 503" : "");
    if (too_many) {
        wait_down(w, clock_us() + (uint64_t)ms * 1000);
    } else {
        wait_slices(pool, clock_us() + (uint64_t)ms * 1000);
    }
    return true;
}

bool resident_life(struct worker *w)
{
    struct resident *own = w->resident;
    struct pool *pool = w->pool;

    while (!atomic_load(&pool->ending)) {
        own->ready = false;
        own->end = RESTART_ENDED;
        snprintf(own->why, sizeof(own->why), "the worker script did not boot");
        worker_set_state(w, WORKER_CREATING);
        atomic_store(&w->slot->script_kib, SCRIPT_BOOTS);
        atomic_store(&own->booting_since_us, clock_us());
        pool->executor->hold(w);
        atomic_store(&own->booting_since_us, 0);
        if (own->ready && !atomic_load(&pool->ending)) {
            metrics_count(pool->board, TOTAL_RESTARTS + (enum metrics_total)own->end, 1);
        }
        if (!own->ready && !atomic_load(&pool->ending) && !wait_for_next_boot(w)) {
            log_error("[pool %s] %s", pool->conf->name, own->why);
            return false;
        }
    }
    lane_wake(w->lane); /* the next one that sleeps must hear of the end, too */
    return true;
}
