/* What workers do when the control thread sends them a signal; process-wide handlers, once. */
#include "engine/work/pool_private.h"

static void on_interrupt(int signal)
{
    (void)signal; /* its delivery is its meaning: the system call returns EINTR */
}

static void on_trace(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    if (current_worker) {
        stuck_answer(current_worker, context);
        slow_log_answer(current_worker);
    }
}

void worker_install_signals(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigemptyset(&action.sa_mask);
    sigaction(WORKER_SIGNAL_INTERRUPT, &action, NULL);
    action.sa_sigaction = on_trace;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigaction(WORKER_SIGNAL_TRACE, &action, NULL);
}
