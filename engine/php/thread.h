/* What the executor keeps for each worker thread, and PHP's headers as every file of this folder includes
 * them. A php_thread lives as long as its thread; only that thread touches it, except the fields that say so.
 */
#ifndef ENGINE_PHP_THREAD_H
#define ENGINE_PHP_THREAD_H

#define ZEND_ENABLE_STATIC_TSRMLS_CACHE 1

#include <signal.h>
#include <sys/resource.h>

#include "php.h"

#include "SAPI.h"
#include "php_globals.h"
#include "php_main.h"

#include "engine/engine.h"
#include "engine/work/worker.h"

#ifndef ZTS
#error "the engine needs a thread-safe PHP (ZTS)"
#endif

ZEND_TSRMLS_CACHE_EXTERN()

/* Something that was changed in the shared function table for one request, and must be put back. */
struct masked_function;
struct armed; /* timeout.c */

struct php_thread {
    struct worker *worker;
    struct request *request; /* NULL between requests */

    /* Addresses of this thread's own PHP globals, for interrupt() and backtrace(), which cannot ask TSRM.
     * Constant once the thread has started. */
    zend_executor_globals *executor;
    php_core_globals *core;

    /* Set by the control thread under the worker's lock, taken by the interrupt hook. */
    _Atomic int interrupt; /* enum interrupt_reason + 1, 0 = none */

    struct armed *deadline; /* this thread's, timeout.c */

    int body_fd;                /* REQUEST_BODY_FILE, -1 = not open */
    struct rusage usage_before; /* when the request began, if the access log shows processor time */
    size_t memory_peak;         /* of the request that ran last */

    HashTable *environment; /* putenv() of this request: name => value, or null = unset; NULL = nothing */
    struct masked_function *masked; /* disable_functions given for one request */
    void *locale;                   /* setlocale() of this request: a locale_t */
    sigset_t signals;               /* the thread's own mask */
};

/* This thread's, NULL where no PHP runs. */
extern _Thread_local struct php_thread *php_thread;

#endif
