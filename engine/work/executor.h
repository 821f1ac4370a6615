/* What "run a request" means: the only door from workers to PHP. engine/php implements it with libphp; the
 * stub executor (engine = stub) answers without PHP, for measuring the server and for the thread sanitizer.
 */
#ifndef ENGINE_WORK_EXECUTOR_H
#define ENGINE_WORK_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>

struct call_stack;
struct cli_options;
struct pool_conf;
struct request;
struct worker;

/* Why a running script is interrupted from outside. */
enum interrupt_reason {
    INTERRUPT_TERMINATE, /* request_terminate_timeout: end the script, shutdown functions run */
    INTERRUPT_PHP_TIME,  /* max_execution_time or max_input_time: PHP's own message */
    INTERRUPT_DRAIN,     /* the drain deadline is near */
};

struct executor {
    const char *name;
    /* Main thread, before load, may be NULL: the list of the predecessor (warm_list), which is read by nobody
     * but the pool's user. failed: the start before this one did. */
    void (*inherit)(const char *list, size_t n, bool failed);
    /* Main thread of the engine process, while it still has the rights, root and environment of the
     * supervisor: what only these can read. Runs nothing of the pool's user in this process; a child that is
     * made for that calls in_child first. 0 or -1 (a message is logged). NULL: nothing to load. */
    int (*load)(const struct cli_options *cli, const struct pool_conf *pool, void (*in_child)(void));
    /* Same thread, after load, when the process has become the pool's user and before any thread exists. 0 or
     * -1 (a message is logged). */
    int (*start)(const struct cli_options *cli, const struct pool_conf *pool);
    /* Same thread, while the first workers are being made, may be NULL: what need only be done before a
     * script runs. */
    void (*meanwhile)(void);
    /* Same thread, when requests are served already, may be NULL: what nobody waits for. */
    void (*afterwards)(void);
    void (*stop)(void);                         /* same thread, after all workers ended */
    int (*thread_start)(struct worker *worker); /* on the worker's thread, once */
    void (*thread_stop)(struct worker *worker);
    /* On the worker's thread: runs one request from beginning to end. Calls request_finish() before it
     * returns, if the script did not. Survives everything that PHP survives. */
    void (*run)(struct worker *worker, struct request *request);
    /* On the thread of a resident (resident.h), may be NULL: boots the pool's worker script, which calls
     * resident_ready() and then resident_serve() for each request, and returns when the script has ended; the
     * next call is a new boot. What it died of goes to resident_failed(). */
    void (*hold)(struct worker *worker);
    /* Same thread, for a request while the script is down because of what was said to be shown: answers it.
     * May be NULL, if nothing is. */
    void (*explain)(struct worker *worker, struct request *request);
    /* Control thread, with the worker's lock held: ask the running script to end. Must not block or allocate.
     */
    void (*interrupt)(struct worker *worker, enum interrupt_reason reason);
    void (*idle)(struct worker *worker); /* on the worker's thread, before it sleeps long: give memory back */
    /* Async-signal-safe, on the worker's own thread (slow log, crash report) or on the control thread while
     * the worker is blocked in a system call (slow log): write a PHP backtrace to fd without faulting on
     * damaged memory; frames at most depth. 0, or -1 when it had to give up. */
    int (*backtrace)(struct worker *worker, int fd, int depth);
    /* Control thread, with the lock of a worker held that has a request: the functions that it is in, without
     * stopping it. 0, or -1: they change too fast to be seen. One at a time. */
    int (*look)(struct worker *worker, struct call_stack *out);
    size_t (*memory_peak)(struct worker *worker); /* on the worker's thread, of the request that just ran */
    /* Main/control thread, may be NULL: look after caches; true = ask for a generation swap and why is set.
     */
    bool (*check)(const char **why);
    /* Control thread, may be NULL: what this process holds is out of date; true once, and why is set. */
    bool (*stale)(const char **why);
    bool (*looks)(void); /* any thread, may be NULL: stale looks at files, so the process does not rest */
    /* Main thread before workers start: compile the scripts that an older generation had cached. List: paths,
     * each ended by '\n'. May be NULL. */
    void (*warm)(const char *list, size_t n, unsigned budget_ms);
    /* Same threads as check, may be NULL: what is cached is out of date, and is used no more. */
    void (*forget)(void);
    size_t (*warm_list)(char *out, size_t size); /* any worker-registered or main thread; bytes written */
};

extern const struct executor php_executor;
extern const struct executor stub_executor;
extern const char *standin_reason; /* for the stand-in's status page; set before its start, NULL = unknown */
extern const struct executor standin_executor; /* no PHP, because it does not start: answers 503 */

#endif
