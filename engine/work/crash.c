/* A crash costs the one request that crashed.
 *
 * The handler runs on the crashed thread, on its alternate stack, at any instruction, with any lock held: it
 * uses system calls, its own worker's memory and two readers that are themselves guarded (a second fault
 * inside one of them comes back here and jumps over it). It notes what ran, wakes the control thread and
 * puts the thread to sleep for ever. The control thread answers the client, reports, replaces the worker and
 * asks for a generation swap: the process is not to be trusted for long, but for as long as the other
 * requests take.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/crash.h"
#include "engine/work/pool_private.h"

#define PHP_FRAMES 64
/* The handler itself may hang in what it reads: after so long the control thread goes on without its notes.
 */
#define HANDLER_LIMIT_US 500000

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#define CRASH_SIGNALS (sizeof(crash_signals) / sizeof(*crash_signals))

/* This thread only. guarded: a second fault is expected and jumps to guard. entered: the handler has begun.
 */
static _Thread_local sigjmp_buf guard;
static _Thread_local volatile sig_atomic_t guarded;
static _Thread_local volatile sig_atomic_t entered;

void (*pool_on_crash)(struct pool *pool, const struct worker *w);
void (*pool_crash_alarm)(void);

const char *crash_signal_name(int signal)
{
    switch (signal) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    case SIGABRT: return "SIGABRT";
    default: return "signal";
    }
}

/* -- the handler -- */

static void note_frames(struct crash_note *note)
{
    if (sigsetjmp(guard, 1) == 0) {
        guarded = 1;
        note->frame_count = backtrace(note->frames, (int)(sizeof(note->frames) / sizeof(*note->frames)));
    }
    guarded = 0;
}

/* Through a pipe: what was written before a fault is not lost. */
static void note_php(struct worker *w)
{
    struct crash_note *note = &w->crash;
    int fds[2];

    if (!w->request || !w->pool->executor->backtrace || pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return;
    }
    if (sigsetjmp(guard, 1) == 0) {
        guarded = 1;
        w->pool->executor->backtrace(w, fds[1], PHP_FRAMES);
    }
    guarded = 0;
    ssize_t n = read(fds[0], note->php_backtrace, sizeof(note->php_backtrace) - 1);

    note->php_backtrace_n = n > 0 ? (size_t)n : 0;
    close(fds[0]);
    close(fds[1]);
}

static _Noreturn void leave_for_ever(struct worker *w)
{
    atomic_store(&w->lost, true);
    atomic_store(&w->crash.noted, true);
    worker_sleep_for_ever(w);
}

/* A loop or the control thread crashed, or somebody sent the signal to the process: that is its end. */
static void end_process(int signal, const siginfo_t *info)
{
    char line[160];
    int fd = log_fd() >= 0 ? log_fd() : STDERR_FILENO;
    int n =
        snprintf(line, sizeof(line),
                 "ALERT: signal %d (%s) outside of the workers, thread %d, address %p: this process ends\n",
                 signal, crash_signal_name(signal), (int)syscall(SYS_gettid), info->si_addr);
    ssize_t written = write(fd, line, n > 0 ? (size_t)n : 0);

    (void)written;
    sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    raise(signal);
}

static void on_crash(int signal, siginfo_t *info, void *context)
{
    struct worker *w = current_worker;

    (void)context;
    if (guarded) {
        siglongjmp(guard, 1);
    }
    if (!w || info->si_code == SI_USER) {
        end_process(signal, info);
        return;
    }
    if (entered) { /* our own notes crashed: no more of them */
        leave_for_ever(w);
    }
    entered = 1;
    atomic_store(&w->crash.entered_us, clock_us());
    if (pool_crash_alarm) { /* first: the control thread may be the next to want a lock that is held here */
        pool_crash_alarm();
    }
    w->crash.signal = signal;
    w->crash.code = info->si_code;
    w->crash.address = info->si_addr;
    note_frames(&w->crash);
    note_php(w);
    leave_for_ever(w);
}

void crash_install(void)
{
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    void *frames[2];

    backtrace(frames, 2); /* loads libgcc now: the handler must not */
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < CRASH_SIGNALS; i++) {
        sigdelset(&action.sa_mask, crash_signals[i]);
    }
    for (size_t i = 0; i < CRASH_SIGNALS; i++) {
        sigaction(crash_signals[i], &action, NULL);
    }
}

/* -- the control thread -- */

static void report(struct pool *pool, const struct worker *w, uint64_t now)
{
    uint64_t lived = now - w->started_us;

    log_warning("[pool %s] child %d exited on signal %d (%s) after %d.%06d seconds from start",
                pool->conf->name, (int)w->tid, w->crash.signal, crash_signal_name(w->crash.signal),
                (int)(lived / CLOCK_US_PER_SECOND), (int)(lived % CLOCK_US_PER_SECOND));
    if (pool_on_crash) {
        pool_on_crash(pool, w);
    }
}

void crash_collect(struct pool *pool, struct worker *w, uint64_t now)
{
    uint64_t since = atomic_load(&w->crash.entered_us);

    if (since == 0 || w->crash_told) {
        return;
    }
    if (!atomic_load(&w->crash.noted) && now < since + HANDLER_LIMIT_US) { /* `since` may be after `now` */
        return;
    }
    w->crash_told = true;
    metrics_count(pool->board, TOTAL_CRASHES, 1);
    if (w->resident) {
        metrics_count(pool->board, TOTAL_RESTARTS + RESTART_CRASH, 1);
    }
    w->abandon_status = 500;
    lost_add(pool, w, true, now);
    report(pool, w, now);
    pool_request_swap(pool, "a worker crashed");
}
