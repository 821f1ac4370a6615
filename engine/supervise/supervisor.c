/* The supervisor's life: start in php-fpm's order, one poll loop over signals, channels, pipes and the
 * control socket, and an orderly end. One thread, no PHP. Everything slow or doubtful happens in other
 * processes.
 *
 * All signals arrive through a signalfd. They stay blocked across a re-execution, so that none is lost
 * between two images. */
#include "engine/supervise/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/control.h"
#include "engine/supervise/daemon.h"
#include "engine/supervise/logs.h"
#include "engine/supervise/notify.h"
#include "engine/supervise/process.h"
#include "engine/supervise/sockets.h"
#include "engine/supervise/state.h"
#include "engine/supervise/title.h"

#define START_SILENCE_US CLOCK_US_PER_SECOND
#define REPORT_LATEST_US (9 * CLOCK_US_PER_SECOND) /* the daemonizing caller waits 10 s */

struct member *member_find(struct supervisor *s, const char *name)
{
    struct member *m = s->members;
    while (m && strcmp(m->name, name) != 0) {
        m = m->next;
    }
    return m;
}

/* ---- start */

static int open_member_logs(struct member *m)
{
    const struct pool_settings *p = &m->conf->s;
    m->access_log_fd = m->slow_log_fd = -1;
    if (p->access_log && *p->access_log) {
        m->access_log_fd = logs_open_file(p->access_log);
        if (m->access_log_fd < 0) {
            log_sys(LEVEL_ERROR, "failed to open access log (%s)", p->access_log);
            return -1;
        }
    }
    if (p->slowlog && *p->slowlog && p->request_slowlog_timeout > 0) {
        m->slow_log_fd = logs_open_file(p->slowlog);
        if (m->slow_log_fd < 0) {
            log_sys(LEVEL_ERROR, "unable to open slowlog (%s)", p->slowlog);
            return -1;
        }
    }
    return 0;
}

static int add_member(struct supervisor *s, struct member ***tail, const struct pool_conf *conf)
{
    struct member *m = xcalloc(1, sizeof(*m));
    m->supervisor = s;
    m->conf = conf;
    m->name = conf->name;
    m->seat_count = conf->s.processes > 0 ? (int)conf->s.processes : 1;
    m->seats = xcalloc((size_t)m->seat_count, sizeof(*m->seats));
    struct generation_limits limits = generation_default_limits;
    limits.drain_us = s->drain_us;
    for (int i = 0; i < m->seat_count; i++) {
        seat_init(&m->seats[i], m->name, i, &launch_hooks, &limits, clock_us());
        m->seats[i].owner = m;
    }
    **tail = m;
    *tail = &m->next;
    return open_member_logs(m);
}

static int add_members(struct supervisor *s)
{
    struct member **tail = &s->members;
    for (const struct pool_conf *conf = s->config->pools; conf; conf = conf->next) {
        if (add_member(s, &tail, conf) != 0) {
            return -1;
        }
    }
    return 0;
}

static int resolve_identities(struct supervisor *s)
{
    for (struct member *m = s->members; m; m = m->next) {
        if (identity_resolve(m->conf, s->cli->allow_root, true, &m->identity) != 0) {
            return -1;
        }
    }
    return 0;
}

static int create_boards(struct supervisor *s)
{
    for (struct member *m = s->members; m; m = m->next) {
        m->board = scoreboard_create(m->conf);
        if (!m->board) {
            log_sys(LEVEL_ERROR, "[pool %s] unable to create the scoreboard", m->name);
            return -1;
        }
    }
    return 0;
}

static int collect_listeners(struct supervisor *s)
{
    for (struct member *m = s->members; m; m = m->next) {
        for (size_t i = 0; frontends[i]; i++) {
            if (frontends[i]->listeners && frontends[i]->listeners(m->conf, &s->listeners) != 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* Right after a reload a pool that cannot open its sockets keeps what it has; otherwise it stops the start.
 */
static int open_sockets(struct supervisor *s)
{
    for (struct listener *l = s->listeners; l; l = l->next) {
        l->fd = -1;
    }
    for (struct member *m = s->members; m; m = m->next) {
        if (sockets_open(m->conf, s->listeners) == 0) {
            continue;
        }
        if (!upgrade_inherited()) {
            return -1;
        }
        m->closed = true;
        log_error(
            "[pool %s] its sockets cannot be opened: what served it before goes on, until the next reload",
            m->name);
    }
    sockets_close_unused();
    return 0;
}

static int take_signals(struct supervisor *s)
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

static bool wants_daemon(const struct supervisor *s)
{
    return s->cli->daemonize >= 0 ? s->cli->daemonize > 0 : s->config->global.daemonize;
}

static int open_world(struct supervisor *s)
{
    if (collect_listeners(s) != 0 || identity_master(&s->config->global) != 0 || resolve_identities(s) != 0 ||
        create_boards(s) != 0) {
        return EXIT_CONFIG;
    }
    sockets_inherit();
    if (open_sockets(s) != 0 || take_signals(s) != 0) {
        return EXIT_CONFIG;
    }
    if (daemon_write_pid(s->pid_path) != 0) {
        return EXIT_CONFIG;
    }
    return control_open(s) == 0 ? EXIT_OK : EXIT_CONFIG;
}

static void set_title(const struct supervisor *s)
{
    char text[512];
    snprintf(text, sizeof(text), "master process (%s)", s->config->path ? s->config->path : "no file");
    title_init(s->cli->argc, s->cli->argv);
    title_set(s->cli->as_php_fpm ? "php-fpm" : "tokiophp", text);
}

static int prepare(struct supervisor *s)
{
    bool daemon = wants_daemon(s) && !upgrade_inherited();
    if (logs_open(s->cli, &s->config->global, wants_daemon(s)) != 0 || add_members(s) != 0) {
        return EXIT_CONFIG;
    }
    if (daemon) {
        s->report_fd = daemon_fork();
        if (s->report_fd < 0) {
            return EXIT_SOFTWARE;
        }
    }
    if (wants_daemon(s)) {
        logs_close_original();
    }
    if (setsid() < 0) {
        log_debug("already the leader of a process group");
    }
    if (daemon_null_stdio() != 0) {
        return EXIT_SOFTWARE;
    }
    set_title(s);
    int code = open_world(s);
    if (code == EXIT_OK && logs_take_stderr() != 0) {
        code = EXIT_SOFTWARE;
    }
    return code;
}

/* ---- the swap of everything: launching */

static void start_seats(struct supervisor *s)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        for (int i = 0; m->conf && !m->closed && i < m->seat_count; i++) {
            seat_start(&m->seats[i], now);
        }
    }
}

/* Processes of pools and seats that the configuration does not have any more serve until the others are up.
 */
static void drain_orphans(struct supervisor *s)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        for (int i = 0; !m->conf && i < m->seat_count; i++) {
            seat_drain(&m->seats[i], s->drain_us, now);
        }
    }
}

static bool launched(const struct supervisor *s, bool *any_serves)
{
    *any_serves = false;
    for (const struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            if (!seat_settled(&m->seats[i]) && m->seats[i].failures == 0) {
                return false;
            }
            *any_serves = *any_serves || seat_serving(&m->seats[i]);
        }
    }
    return true;
}

/* True while the start goes on or has succeeded. */
static bool check_launch(struct supervisor *s)
{
    bool any_serves;
    if (s->phase != PHASE_LAUNCHING) {
        return true;
    }
    if (clock_us() - s->started_us > REPORT_LATEST_US) {
        daemon_report(&s->report_fd, EXIT_OK);
    }
    if (!launched(s, &any_serves)) {
        return true;
    }
    if (!any_serves && !s->adopted) {
        log_error("no pool could be started");
        return false;
    }
    s->phase = PHASE_RUNNING;
    drain_orphans(s);
    log_notice("ready to handle connections");
    daemon_report(&s->report_fd, EXIT_OK);
    report_ready(s);
    return true;
}

/* ---- signals */

void supervisor_reopen_logs(struct supervisor *s)
{
    int error_fd;
    bool any_access = false;
    if (logs_reopen_error_log(&s->config->global, &error_fd) == 0) {
        log_notice("error log file re-opened");
    }
    for (struct member *m = s->members; m; m = m->next) {
        int *const fds[2] = {&m->access_log_fd, &m->slow_log_fd};
        const char *const paths[2] = {m->conf ? m->conf->s.access_log : NULL,
                                      m->conf ? m->conf->s.slowlog : NULL};
        for (int i = 0; i < 2; i++) {
            int fresh = *fds[i] >= 0 && paths[i] ? logs_open_file(paths[i]) : -1;
            if (fresh >= 0 && dup3(fresh, *fds[i], O_CLOEXEC) >= 0) {
                any_access = any_access || i == 0;
            } else if (*fds[i] >= 0) {
                log_sys(LEVEL_ERROR, "failed to open log (%s)", paths[i] ? paths[i] : "?");
            }
            if (fresh >= 0) {
                close(fresh);
            }
        }
    }
    for (struct child *c = s->children; c; c = c->next) {
        const int all[3] = {error_fd, c->member->access_log_fd, c->member->slow_log_fd};
        int fds[3], count = 0, mask = 0;
        for (int i = 0; i < 3; i++) {
            if (all[i] >= 0) {
                fds[count++] = all[i];
                mask |= 1 << i;
            }
        }
        if (c->channel >= 0) {
            channel_send(c->channel, CHANNEL_LOGS, mask, NULL, fds, count);
        }
    }
    if (any_access) {
        log_notice("access log file re-opened");
    }
}

static void end_seats(struct supervisor *s, bool now_at_once)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            if (now_at_once) {
                seat_stop(&m->seats[i], now);
            } else {
                seat_drain(&m->seats[i], s->drain_us, now);
            }
        }
    }
}

/* Health checks of every process say so from here on. */
static void tell_boards(struct supervisor *s)
{
    for (struct member *m = s->members; m; m = m->next) {
        if (m->board) {
            atomic_store(&m->board->finishing, true);
        }
    }
}

void supervisor_finish(struct supervisor *s, const char *how)
{
    if (s->phase >= PHASE_FINISHING) {
        return;
    }
    s->phase = PHASE_FINISHING;
    log_notice("%s", how);
    notify_send("STOPPING=1\nSTATUS=%s", how);
    tell_boards(s);
    end_seats(s, false);
}

static void terminate(struct supervisor *s)
{
    if (s->phase == PHASE_TERMINATING) {
        return;
    }
    s->phase = PHASE_TERMINATING;
    log_notice("Terminating ...");
    notify_send("STOPPING=1\nSTATUS=Terminating ...");
    end_seats(s, true);
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->test_pid) {
            upgrade_tested(s, status);
        } else {
            child_reap(s, pid, status);
        }
    }
}

static void obey_signal(struct supervisor *s, int number)
{
    switch (number) {
    case SIGTERM:
    case SIGINT: terminate(s); break;
    case SIGQUIT: supervisor_finish(s, "Finishing ..."); break;
    case SIGUSR1: supervisor_reopen_logs(s); break;
    case SIGUSR2:
    case SIGHUP: upgrade_begin(s); break;
    case SIGCHLD: break; /* reaped after every turn of the loop */
    default: break;
    }
}

static void read_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        obey_signal(s, (int)info.ssi_signo);
    }
}

/* ---- the loop */

enum source_kind {
    SOURCE_SIGNAL,
    SOURCE_CHANNEL,
    SOURCE_STDOUT,
    SOURCE_STDERR,
    SOURCE_TEST,
    SOURCE_CONTROL,
    SOURCE_CLIENT
};

struct sources {
    struct pollfd *fds;
    struct source {
        enum source_kind kind;
        void *object;
    } * what;
    size_t count, size;
};

static void watch(struct sources *w, int fd, enum source_kind kind, void *object)
{
    if (fd < 0) {
        return;
    }
    if (w->count == w->size) {
        w->size = w->size ? w->size * 2 : 64;
        w->fds = xrealloc(w->fds, w->size * sizeof(*w->fds));
        w->what = xrealloc(w->what, w->size * sizeof(*w->what));
    }
    w->fds[w->count] = (struct pollfd){.fd = fd, .events = POLLIN};
    w->what[w->count++] = (struct source){kind, object};
}

/* What a process says while it starts stands in the log after the line that it has started, as in php-fpm;
 * but a talkative one must not wait for us for long, with its pipe full. */
static uint64_t listen_from_us(const struct child *c)
{
    return c->generation->state == GENERATION_STARTING ? c->generation->launched_us + START_SILENCE_US : 0;
}

static void collect(struct supervisor *s, struct sources *w)
{
    uint64_t now = clock_us();
    w->count = 0;
    watch(w, s->test_fd, SOURCE_TEST, s);
    watch(w, s->control_fd, SOURCE_CONTROL, s);
    for (struct control_client *c = s->clients; c; c = control_client_next(c)) {
        watch(w, control_client_fd(c), SOURCE_CLIENT, c);
    }
    for (struct child *c = s->children; c; c = c->next) {
        watch(w, c->channel, SOURCE_CHANNEL, c);
        if (listen_from_us(c) <= now) {
            watch(w, c->pipes[OUTPUT_STDOUT], SOURCE_STDOUT, c);
            watch(w, c->pipes[OUTPUT_STDERR], SOURCE_STDERR, c);
        }
    }
    watch(w, s->signal_fd, SOURCE_SIGNAL, s); /* last: what was said before a signal is logged before it */
}

/* Children are freed only by reaping, which comes after this, so that no source here is stale. */
static void dispatch(struct supervisor *s, const struct sources *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->fds[i].revents == 0) {
            continue;
        }
        void *object = w->what[i].object;
        switch (w->what[i].kind) {
        case SOURCE_SIGNAL: read_signals(s); break;
        case SOURCE_CHANNEL: child_hear(object); break;
        case SOURCE_STDOUT: child_read(object, OUTPUT_STDOUT); break;
        case SOURCE_STDERR: child_read(object, OUTPUT_STDERR); break;
        case SOURCE_TEST: upgrade_read(s); break;
        case SOURCE_CONTROL: control_accept(s); break;
        case SOURCE_CLIENT: control_read(s, object); break;
        }
    }
}

static void tick(struct supervisor *s)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            seat_tick(&m->seats[i], now);
        }
    }
    upgrade_tick(s, now);
    control_tick(s, now);
    report_tick(s, now);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static int wait_ms(const struct supervisor *s)
{
    uint64_t now = clock_us();
    uint64_t next = sooner(s->notify_us, s->test_pid > 0 ? s->test_deadline_us : 0);
    next = sooner(next, control_next_us(s));
    if (s->phase == PHASE_LAUNCHING && s->report_fd >= 0) {
        next = sooner(next, s->started_us + REPORT_LATEST_US);
    }
    for (const struct child *c = s->children; c; c = c->next) {
        uint64_t from = listen_from_us(c);
        next = from > now ? sooner(next, from) : next;
    }
    for (const struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            next = sooner(next, seat_next_us(&m->seats[i]));
        }
    }
    if (next == 0) {
        return -1;
    }
    return next <= now ? 0 : (int)((next - now) / 1000 + 1);
}

static bool all_gone(const struct supervisor *s)
{
    return s->phase >= PHASE_FINISHING && s->children == NULL;
}

static int loop(struct supervisor *s)
{
    struct sources sources = {0};
    while (!all_gone(s)) {
        collect(s, &sources);
        if (poll(sources.fds, sources.count, wait_ms(s)) < 0 && errno != EINTR) {
            log_sys(LEVEL_ERROR, "poll");
            usleep(100000); /* out of memory in the kernel: not in a circle */
        }
        dispatch(s, &sources);
        reap(s);
        tick(s);
        if (!check_launch(s)) {
            free(sources.fds);
            free(sources.what);
            return EXIT_SOFTWARE;
        }
        if (s->reload_wanted && s->phase == PHASE_RUNNING) {
            s->reload_wanted = false;
            upgrade_begin(s);
        }
    }
    free(sources.fds);
    free(sources.what);
    return EXIT_OK;
}

/* ---- the end */

static void kill_children(struct supervisor *s)
{
    if (s->test_pid > 0) {
        kill(s->test_pid, SIGKILL);
    }
    for (struct child *c = s->children; c; c = c->next) {
        kill(c->pid, SIGKILL);
    }
}

static void clean_up(struct supervisor *s)
{
    kill_children(s);
    control_close(s);
    sockets_remove(s->listeners);
    daemon_remove_pid(s->pid_path);
}

int supervisor_run(const struct cli_options *cli, struct config *config)
{
    struct supervisor s = {
        .cli = cli,
        .config = config,
        .signal_fd = -1,
        .report_fd = -1,
        .test_fd = -1,
        .control_fd = -1,
        .started_us = clock_us(),
        .pid_path = cli->pid_path ? cli->pid_path : config->global.pid,
    };
    int64_t drain = config->global.process_control_timeout > 0 ? config->global.process_control_timeout
                                                               : config->global.drain_timeout;
    s.drain_us = (uint64_t)(drain > 0 ? drain : 1) * CLOCK_US_PER_SECOND;
    int code = prepare(&s);
    if (code != EXIT_OK) {
        log_error("FPM initialization failed");
        daemon_report(&s.report_fd, code);
        return code;
    }
    upgrade_adopt(&s);
    log_notice("fpm is running, pid %d", (int)getpid());
    report_start(&s);
    start_seats(&s);
    code = loop(&s);
    daemon_report(&s.report_fd, code);
    clean_up(&s);
    log_notice("exiting, bye-bye!");
    return code;
}
