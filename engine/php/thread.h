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

/* What was changed in this thread's tables for one request, and is put back (ini_request.c). */
struct request_setting;
struct masked_function;
struct armed; /* timeout.c */
struct fatal; /* fatal.c */
struct boot_failure;
struct worker_script;

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
    struct fatal *fatal;    /* what the request died of, where that is shown; its arena's */

    struct worker_script *script; /* the one that this thread holds, NULL = none */
    struct boot_failure
        *boot_failure; /* why it did not boot, where that is shown; NULL = it did, or is not */

    bool server_unfiltered;     /* late_filter.h has something to do */
    bool opcache_closed;        /* this thread stores nothing new in OPcache */
    unsigned opcache_resets;    /* how often OPcache had been reset when the request began */
    int body_fd;                /* REQUEST_BODY_FILE, -1 = not open */
    struct rusage usage_before; /* when the request began, if the access log shows processor time */
    size_t memory_peak;         /* of the request that ran last */
    uint8_t guesses[48];        /* names_find()'s, by the variable's place */

    HashTable *environment; /* putenv() of this request: name => value, or null = unset; NULL = nothing */
    struct request_setting *settings; /* PHP_VALUE and PHP_ADMIN_VALUE of this request */
    struct masked_function *masked;   /* functions that these disable */
    void *locale;                     /* setlocale() of this request: a locale_t */
    sigset_t signals;                 /* the thread's own mask */
};

/* This thread's, NULL where no PHP runs. */
extern _Thread_local struct php_thread *php_thread;

#endif
