/* A script may send its own process a signal: php-fpm's child ends by it, and takes its one request along.
 * Our process runs other requests, so the signal ends the sender's request: nothing of it runs any more, no
 * shutdown function and no destructor. Handlers that a script was allowed to install (pcntl_signal) get it.
 *
 * Overrides are installed on the main thread; they run on workers. The table of handlers is written once,
 * before the first request. */
#include "engine/php/signals.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ext/standard/basic_functions.h"
#include "php_output.h"
#include "zend_objects_API.h"

#include "engine/base/log.h"
#include "engine/php/caller.h"
#include "engine/php/override.h"

static zif_handler kill_of_php, sigprocmask_of_php;
static _Thread_local sigset_t blocked; /* by the request's script */
static pthread_once_t noted = PTHREAD_ONCE_INIT;
static bool is_fork;                /* this process is a script's, and nobody's server */
static void (*handlers[NSIG])(int); /* sa_handler and sa_sigaction share their place */

/* -- handlers -- */

static void note_handlers(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;

        handlers[number] = sigaction(number, NULL, &now) == 0 ? now.sa_handler : SIG_DFL;
    }
}

void signals_thread_start(void)
{
    pthread_once(&noted, note_handlers);
}

static bool is_servers(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && now.sa_handler == handlers[number];
}

void signals_give_up(void)
{
    bool php_goes_on = caller_is_of("pcntl"); /* and writes to sockets that may be closed, as ours */

    is_fork = true;
    for (int number = 1; number < NSIG; number++) {
        if (number == SIGPIPE && php_goes_on) {
            continue;
        }
        if (handlers[number] != SIG_DFL && is_servers(number)) {
            sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        }
    }
}

void signals_end_fork(void)
{
    if (is_fork) {
        _exit(EG(exit_status));
    }
}

/* -- posix_kill() -- */

/* The process, a group that it is in, or one of its threads (the status page calls a worker's id its pid). */
static bool reaches_us(zend_long pid)
{
    return pid == getpid() || pid == 0 || pid == -1 || pid == -(zend_long)getpgrp() ||
           (pid > 0 && pid <= INT_MAX && syscall(SYS_tgkill, getpid(), (pid_t)pid, 0) == 0);
}

static bool is_neighbour(zend_long pid)
{
    return pid > 0 && pid != getpid() && pid != (zend_long)syscall(SYS_gettid);
}

/* What php-fpm's child goes on after: its soft end comes when the request has ended. */
static bool is_harmless(int number)
{
    return number == SIGCHLD || number == SIGURG || number == SIGWINCH || number == SIGCONT ||
           number == SIGPIPE || number == SIGQUIT;
}

static void deliver_here(int number)
{
    sigset_t one, before;

    sigemptyset(&one);
    sigaddset(&one, number);
    pthread_sigmask(SIG_UNBLOCK, &one, &before);
    pthread_kill(pthread_self(), number);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static ZEND_COLD void end_request(int number)
{
    const struct request *r = php_thread->request;
    const char *name = sigabbrev_np(number);

    log_warning("[pool %s] child %d exited on signal %d (SIG%s): its script sent it (script %s)",
                pool_conf(r->pool)->name, (int)php_thread->worker->tid, number, name ? name : "RT",
                r->script ? r->script : "-");
    php_output_discard_all();
    php_free_shutdown_functions();
    zend_objects_store_mark_destructed(&EG(objects_store));
    if (!SG(headers_sent)) {
        sapi_header_op(SAPI_HEADER_DELETE_ALL, NULL);
        SG(sapi_headers).http_response_code = 500;
    }
    EG(exit_status) = 255;
    zend_bailout();
}

/* SIGPROF is how php-fpm's timer says that max_execution_time is over. */
static void end_its_time(void)
{
    zend_atomic_bool_store_ex(&EG(timed_out), true);
    zend_atomic_bool_store_ex(&EG(vm_interrupt), true);
}

static PHP_FUNCTION(kill_one_request)
{
    zend_long pid, number;

    ZEND_PARSE_PARAMETERS_START(2, 2)
    Z_PARAM_LONG(pid)
    Z_PARAM_LONG(number)
    ZEND_PARSE_PARAMETERS_END();
    if (!php_thread || !php_thread->request || number <= 0 || number >= NSIG || !reaches_us(pid)) {
        kill_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
        return;
    }
    if (is_fork) {
        RETURN_BOOL(kill(getpid(), (int)number) == 0);
    }
    if (is_neighbour(pid)) {
        php_error_docref(NULL, E_WARNING,
                         "is a worker of this process, and a signal would end every request that it runs");
        RETURN_FALSE;
    }
    if (sigismember(&blocked, (int)number)) {
        RETURN_TRUE; /* it waits, for longer than the request lasts */
    }
    if (!is_servers((int)number)) {
        deliver_here((int)number);
    } else if (number == SIGPROF) {
        end_its_time();
    } else if (!is_harmless((int)number)) {
        end_request((int)number);
    }
    RETURN_TRUE;
}

/* -- pcntl_sigprocmask() -- */

/* The engine keeps its signals away from workers, and a script is not to see or change that: it has a mask of
 * its own, which is the thread's for as long as PHP looks at it. */
static PHP_FUNCTION(sigprocmask_of_request)
{
    sigset_t engines;

    if (!php_thread) {
        sigprocmask_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
        return;
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &engines);
    sigprocmask_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
    pthread_sigmask(SIG_SETMASK, &engines, &blocked);
}

void signals_request_end(void)
{
    sigemptyset(&blocked);
}

void signals_start(void)
{
    override_function("pcntl_sigprocmask", zif_sigprocmask_of_request, &sigprocmask_of_php);
    override_function("posix_kill", zif_kill_one_request, &kill_of_php);
}
