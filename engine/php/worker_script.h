/* The pool's worker script on one thread: booted once, then given one request after the other. What it must
 * say for that is FrankenPHP's: a loop around frankenphp_handle_request(callable): bool, here
 * tokio_handle_request() too.
 *
 *   worker_script.c          its life: boot, the wait in tokio_handle_request(), its end
 *   worker_request.c         a request inside of it: PHP's request startup and shutdown, for its client
 *   worker_globals.c         its superglobals
 *   worker_state.c           what a request changed is put back as the boot left it
 *
 * All on the thread that holds the script. */
#ifndef ENGINE_PHP_WORKER_SCRIPT_H
#define ENGINE_PHP_WORKER_SCRIPT_H

#include "engine/php/thread.h"
#include "engine/php/vars_kept.h"

struct script_state;

/* How a callback ended. */
enum callback_end {
    CALLBACK_RETURNED,
    CALLBACK_EXITED, /* exit(): the script ends with its request, and boots anew */
    CALLBACK_BAILED, /* a fatal error: the same, without another line of it */
};

struct worker_script {
    const struct pool_settings *settings;
    char root[MAXPATHLEN]; /* the folder that it is in */
    zend_fcall_info call;  /* of the callback, while the script waits */
    zend_fcall_info_cache call_cache;
    int open_error; /* its file could not be opened: errno */
    bool booted;    /* it has asked for its first request */
    bool waits;     /* in tokio_handle_request() */
    int64_t served; /* since it booted */
    unsigned told;  /* how often, that it is to end */
    size_t memory;  /* what it kept after the last request, in bytes; 0 = before the first */
    enum callback_end end;
    struct script_state *state; /* as the boot left it; PHP's memory, NULL before */
    struct vars_kept server;    /* $_SERVER of the last request */
};

/* Boots it and returns when it has ended (executor->hold). */
void worker_script_hold(struct php_thread *t, const struct pool_conf *pool);
bool worker_script_is_full(const struct worker_script *s); /* it keeps more than worker.max_memory */
/* Main thread, after module startup. */
void worker_request_install(void);
/* One request, in the script that waits. */
void worker_request_run(struct php_thread *t, struct request *r);

/* worker_state.c. take: what the boot left, NULL-safe free; put_back: as it was taken. */
struct script_state *worker_state_take(struct php_thread *t);
void worker_state_put_back(struct php_thread *t, struct script_state *state);
void worker_state_free(struct script_state *state);

ZEND_FUNCTION(tokio_handle_request);

#endif
