/* The supervisor's signals. All arrive through a signalfd. They stay blocked across a re-execution, so that
 * none is lost between two images. Supervisor's thread. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/state.h"

int signals_take(struct supervisor *s)
{
    static const int ours[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        sigaddset(&set, ours[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    s->signal_fd = -1;
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0) {
        s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    }
    if (s->signal_fd < 0) {
        log_sys(LEVEL_ERROR, "failed to init signals");
        return -1;
    }
    return 0;
}

static void obey(struct supervisor *s, int number)
{
    switch (number) {
    case SIGTERM: /* what starts `serve` knows no other signal: containers, process managers */
        (s->cli->serve ? finish_politely : finish_at_once)(s);
        break;
    case SIGINT: finish_at_once(s); break;
    case SIGQUIT: finish_politely(s); break;
    case SIGUSR1: members_reopen_logs(s); break;
    case SIGUSR2:
    case SIGHUP: upgrade_begin(s); break;
    case SIGCHLD: break; /* reaped after every turn of the loop */
    default: break;
    }
}

void signals_read(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        obey(s, (int)info.ssi_signo);
    }
}
