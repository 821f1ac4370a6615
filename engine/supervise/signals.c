/* The supervisor's signals. All arrive through a signalfd. They stay blocked across a re-execution, so that
 * none is lost between two images. Supervisor's thread. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/state.h"

static bool has_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool is_ignored(int number)
{
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

/* The kernel's, or of a shell in our session. One that outlived its terminal is told by others to reload. */
static bool is_from_terminal(const struct signalfd_siginfo *info)
{
    pid_t from = (pid_t)info->ssi_pid, session = getsid(0);
    return info->ssi_code == SI_KERNEL || (from > 0 && (from == session || getsid(from) == session));
}

int signals_take(struct supervisor *s)
{
    static const int ours[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        sigaddset(&set, ours[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    /* Who has HUP ignored (nohup) wants to outlive the terminal; a script's shell that starts it in the
     * background has INT ignored: Ctrl-C is for what the script does meanwhile. */
    s->has_terminal = has_terminal() && !is_ignored(SIGHUP);
    s->not_of_keys = is_ignored(SIGHUP) && is_ignored(SIGINT);
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

static void obey(struct supervisor *s, const struct signalfd_siginfo *info)
{
    int number = (int)info->ssi_signo;
    if (s->not_of_keys && (number == SIGINT || number == SIGQUIT) && info->ssi_code == SI_KERNEL) {
        return;
    }
    switch (number) {
    case SIGTERM: /* what starts `serve` knows no other signal: containers, process managers */
        (s->cli->serve ? finish_politely : finish_at_once)(s);
        break;
    case SIGINT: finish_at_once(s); break;
    case SIGQUIT: finish_politely(s); break;
    case SIGUSR1: members_reopen_logs(s); break;
    case SIGUSR2: upgrade_begin(s); break;
    case SIGHUP: /* also what a terminal says that is closed: nobody could end us any more */
        (s->has_terminal && is_from_terminal(info) && !has_terminal() ? finish_at_once : upgrade_begin)(s);
        break;
    case SIGCHLD: break; /* reaped after every turn of the loop */
    default: break;
    }
}

void signals_read(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        obey(s, &info);
    }
}
