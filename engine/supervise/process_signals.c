/* Signals of the engine process: a handler only notes it and wakes the loop. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "engine/supervise/process_private.h"

static int wake_fd = -1;
static volatile sig_atomic_t got_term, got_quit;

static void on_signal(int number)
{
    int saved = errno;
    if (number == SIGTERM) {
        got_term = 1;
    } else if (number == SIGQUIT) {
        got_quit = 1;
    }
    uint64_t one = 1;
    if (write(wake_fd, &one, sizeof(one)) < 0) {
        /* the counter is full: the loop is awake anyway */
    }
    errno = saved;
}

/* Handlers rather than ignored or blocked signals: programs that scripts start must not inherit either. INT,
 * HUP, USR1 and USR2 are the supervisor's business; a terminal or a careless killall sends them to us too. */
void process_signals_take(int fd)
{
    static const int ours[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigset_t none;
    wake_fd = fd;
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        sigaction(ours[i], &action, NULL);
    }
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

struct process_signals process_signals_look(void)
{
    uint64_t count;
    if (read(wake_fd, &count, sizeof(count)) < 0) {
        /* nothing was noted */
    }
    struct process_signals found = {.term = got_term, .quit = got_quit};
    if (found.quit) {
        got_quit = 0;
    }
    return found;
}
