/* The pool inside an engine process: its workers, its wait set, its queue, its sizing. front ends see
 * engine.h's part; this is what the engine process (engine/supervise/process.c) drives it with, all on the
 * control thread. */
#ifndef ENGINE_WORK_POOL_H
#define ENGINE_WORK_POOL_H

#include "engine/engine.h"
#include "engine/telemetry/access_log.h"
#include "engine/telemetry/scoreboard.h"
#include "engine/telemetry/view.h"
#include "engine/work/executor.h"
#include "engine/work/worker.h"

struct pool *pool_create(const struct pool_conf *conf, const struct executor *executor,
                         struct scoreboard *board, uint32_t generation);
/* Starts the first workers by pm's rules, and waits until all of them stand. None takes work before
 * pool_open(). 0, or -1 (reported). */
int pool_start(struct pool *pool);
/* Before pool_start(): that many are enough for it, beside residents, tasks and those for pages; the others
 * follow once the pool is open. 0: all, as at first. */
void pool_serve_from(struct pool *pool, uint32_t workers);
void pool_open(struct pool *pool);
const char *pool_failure(struct pool *pool); /* why pool_start failed, in one line */
/* Call about every 100 ms, and at once when pool_event_fd() is readable: deadlines, crashed workers, expired
 * idle connections, queue wait, and once a second php-fpm's sizing rules. */
void pool_tick(struct pool *pool);
/* Is there nothing to tick for: nothing runs, nobody is connected, the number of workers is what it should
 * be? goes: the process ends when that lasts, so idle workers of an ondemand pool need not park. True: until
 * pool_stir() pool_event_fd() becomes readable when somebody connects. */
bool pool_rest(struct pool *pool, bool goes);
void pool_stir(struct pool *pool);
uint64_t pool_accepted(const struct pool *pool); /* requests so far */
/* Readable: tick at once (a worker crashed or ended; ondemand: somebody waits and no worker is idle). Never
 * read from it; pool_tick quiets it. */
int pool_event_fd(const struct pool *pool);
/* Front ends bring no new work from here on. Workers stay: a request that was on its way is still served. */
void pool_drain(struct pool *pool);
/* The whole server is going to end, and takes connections until it does: pool_leaving() says so. */
void pool_leave(struct pool *pool);
/* The whole server ends: pool_finishing() says so. */
void pool_finish(struct pool *pool);
/* Drain deadline: interrupt what still runs. */
void pool_interrupt_all(struct pool *pool);
/* Before an end without a drain: an answer that has left is still counted and logged. Waits for the workers
 * that finish a request, at most `ms`; a script that goes on after its answer does not get longer. */
void pool_settle(const struct pool *pool, unsigned ms);
bool pool_idle(const struct pool *pool); /* nothing runs, nothing queued (lost workers do not count) */
/* Ends and joins every worker that is not lost; true when none is left running. */
bool pool_stop(struct pool *pool);
bool pool_destroy(struct pool *pool); /* after pool_stop; false: left as it is, lost workers may look at it */

/* Why this process should be replaced, or NULL: crashed or lost workers, pm.max_requests, pm.max_memory,
 * executor. */
const char *pool_swap_reason(struct pool *pool);
/* No worker can take work, and none will: a replacement is needed at once, whatever is still running. */
bool pool_is_lost(const struct pool *pool);
/* From any thread (opcache_reset, ...): ask for a swap. why must be static. */
void pool_request_swap(struct pool *pool, const char *why);
/* The same, and a successor that starts already may hold what this process was told to forget. */
void pool_request_renewal(struct pool *pool, const char *why);
/* The same, but nothing old is used here any more, so it may wait. */
void pool_request_reset(struct pool *pool, const char *why);
uint32_t pool_renewals(struct pool *pool); /* how often */
uint32_t pool_resets(struct pool *pool);   /* the same of resets */
/* Control thread: the successor may meet the same reason at once, and this swap is not to wait for that
 * (pm.max_requests, requests that are held back). */
bool pool_swap_is_planned(const struct pool *pool);

/* process.max: how many workers all pools together may have. running: how many there are now, over all engine
 * processes; NULL = this pool's own. Before pool_start; without it there is no such limit. */
void pool_set_process_max(struct pool *pool, uint32_t max, uint32_t (*running)(void *ctx), void *ctx);

/* Who answers for the server around the pool, which is the supervisor. NULL = it does not. */
struct pool_server {
    struct view *(*look)(void);
    bool (*tell)(enum server_page page, struct buf *out); /* SERVER_HISTORY, SERVER_SCRIPTS */
    bool (*order)(enum server_order order, const char *pool, const char *token);
    int (*profile)(const char *pool, unsigned seconds, unsigned hz);
    int (*talker)(int stream_fd, int32_t worker); /* see worker_output_own */
};
/* What pool_look(), pool_server_page() and pool_server_order() ask. Before front ends start; all of it lives
 * as long as the pool. */
void pool_set_server(struct pool *pool, const struct config *config, const struct pool_server *server);
/* What the server does at this moment, or this process alone if nobody else tells. The caller's; NULL: out of
 * memory. Any thread; may wait for the supervisor for a moment. */
struct view *pool_look(const struct pool *pool);

/* Before pool_start: of its tasks; see task_notes.h. */
void pool_set_task_notes(struct pool *pool, int fd);

/* Before pool_start; NULL = none. */
void pool_set_logs(struct pool *pool, struct access_log *access_log, int slow_log_fd);
struct access_log *pool_access_log(const struct pool *pool);
/* Before pool_start: the other pools whose clients this process answers, as its board has them; log: NULL =
 * it has none. 0 or -1: out of memory. */
struct guest_conf {
    const struct pool_conf *conf;
    struct access_log *log;
};
int pool_set_guests(struct pool *pool, const struct guest_conf *guests, uint32_t count);
struct access_facts pool_access_facts(const struct request *r); /* whose it is; the rest is the caller's */

const struct executor *pool_executor(const struct pool *pool);
struct scoreboard *pool_scoreboard(const struct pool *pool);
uint32_t pool_generation(const struct pool *pool);

/* Called on the control thread with each crash, once (supervise/crash_report writes it). */
extern void (*pool_on_crash)(struct pool *pool, const struct worker *w);
/* In the crash handler, on the crashed thread: async-signal-safe. May be NULL. */
extern void (*pool_crash_alarm)(void);
/* What pool_hand_over calls; NULL while there is nobody to give a connection to. */
extern bool (*_Atomic pool_on_hand_over)(const struct frontend *frontend, int fd, int kind);

#endif
