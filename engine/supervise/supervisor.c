/* The supervisor's life: start in php-fpm's order, turns of a loop (loop.c), and an orderly end. One thread,
 * no PHP. Everything slow or doubtful happens in other processes. */
#include "engine/supervise/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/closer.h"
#include "engine/supervise/control.h"
#include "engine/supervise/daemon.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/logs.h"
#include "engine/supervise/sockets.h"
#include "engine/supervise/state.h"
#include "engine/supervise/title.h"

#define DRAIN_MOST_S     (30 * 86400)              /* processes are told it in milliseconds */
#define REPORT_LATEST_US (9 * CLOCK_US_PER_SECOND) /* the daemonizing caller waits 10 s */

static bool wants_daemon(const struct supervisor *s)
{
    return s->cli->daemonize >= 0 ? s->cli->daemonize > 0 : s->config->global.daemonize;
}

/* After a reload there is a server already, which would end with us: what fails then has been reported, and
 * we do without it. */
static bool stops_start(int rc)
{
    return rc != 0 && !inherited();
}

/* For who has never listened anywhere. */
static int listen_or_advise(struct supervisor *s)
{
    if (members_listen(s) == 0) {
        return 0;
    }
    int why = errno;
    if (s->cli->finds_out && why == EADDRINUSE) {
        log_error("something else listens there: end it, or take another address with --listen PORT");
    } else if (s->cli->finds_out && why == EACCES) {
        log_error("this user may not listen there (ports below 1024 are root's): take another address with "
                  "--listen PORT");
    }
    return -1;
}

static int open_world(struct supervisor *s)
{
    if (stops_start(identity_master(&s->config->global)) || members_prepare(s) != 0) {
        return EXIT_CONFIG;
    }
    sockets_inherit();
    if (listen_or_advise(s) != 0 || signals_take(s) != 0 || stops_start(daemon_write_pid(s->pid_path)) ||
        stops_start(control_open(s))) {
        return EXIT_CONFIG;
    }
    return EXIT_OK;
}

static void set_title(const struct supervisor *s)
{
    char text[512];
    snprintf(text, sizeof(text), "master process (%s)", s->config->path ? s->config->path : "no file");
    title_init(s->cli->argc, s->cli->argv);
    title_set(s->cli->as_php_fpm ? "php-fpm" : "tokiophp", text);
}

/* Bursts of what workers say are longer than a pipe: a reader that reads gets all of them. */
#define LOG_PATIENCE_MS 100
#define LAST_LINES_MS   1000 /* for logs that are not read */

static int prepare(struct supervisor *s)
{
    bool daemon = wants_daemon(s) && !inherited();
    if (stops_start(logs_open(s->cli, &s->config->global, wants_daemon(s))) ||
        members_add(s, &launch_hooks) != 0) {
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
    /* One in the foreground belongs to the terminal: Ctrl-C and its end are for it, too, when a script has
     * started it. php-fpm leaves it in any case. */
    if ((wants_daemon(s) || s->cli->as_php_fpm) && setsid() < 0) {
        log_debug("already the leader of a process group");
    }
    if (stops_start(daemon_null_stdio())) {
        return EXIT_SOFTWARE;
    }
    set_title(s);
    int code = open_world(s);
    story_open(s);
    if (code == EXIT_OK && stops_start(logs_take_stderr())) {
        code = EXIT_SOFTWARE;
    }
    log_set_patience(LOG_PATIENCE_MS); /* from here on others depend on us */
    return code;
}

/* -- the swap of everything: launching -- */

static void start_seats(struct supervisor *s)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        bool serves = false; /* or will, as one that an earlier image has begun to start */
        for (int i = 0; i < m->seat_count; i++) {
            serves = serves || seat_serving(&m->seats[i]) || !seat_settled(&m->seats[i]);
        }
        for (int i = 0; m->conf && !m->closed && i < m->seat_count; i++) {
            if (!member_may_sleep(m) || serves || !seat_sleep(&m->seats[i], now)) {
                seat_start(&m->seats[i], now);
            }
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

/* One that was told to drain may still take a request until it confirms: who asks after "ready" must meet the
 * new configuration. */
static bool still_takes_work(const struct seat *seat)
{
    for (const struct generation *g = seat->generations; g; g = g->next) {
        if (g->state == GENERATION_DRAINING && g->drain_us > 0) {
            return true;
        }
    }
    return false;
}

static bool launched(const struct supervisor *s, bool *any_serves)
{
    *any_serves = false;
    for (const struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            if ((!seat_settled(&m->seats[i]) && m->seats[i].failures == 0) ||
                still_takes_work(&m->seats[i])) {
                return false;
            }
            *any_serves = *any_serves || seat_serving(&m->seats[i]) || m->seats[i].asleep;
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
    if (clock_us() >= s->report_latest_us) {
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
    s->say_ready(s->config);
    daemon_report(&s->report_fd, EXIT_OK);
    report_ready(s);
    upgrade_know_program(s);
    return true;
}

/* -- the loop -- */

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->test_pid) {
            upgrade_tested(s, status);
        } else if (!closer_reaped(pid)) {
            child_reap(s, pid, status);
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
    pulse_tick(s, now);
    rest_tick(s, now);
    story_tick(s, now);
    members_rotate_keys(s, now);
    watched_tick(s, now);
    upgrade_tick(s, now);
    finish_tick(s, now);
    control_tick(s, now);
    closer_tick(now);
    report_tick(s, now);
}

static bool all_gone(const struct supervisor *s)
{
    return s->phase >= PHASE_FINISHING && s->children == NULL;
}

static int loop(struct supervisor *s)
{
    while (!all_gone(s)) {
        if (!check_launch(s)) {
            return EXIT_SOFTWARE;
        }
        if (s->reload_wanted && s->phase == PHASE_RUNNING) {
            s->reload_wanted = false;
            upgrade_begin(s);
        }
        loop_wait(s);
        reap(s);
        tick(s);
    }
    return EXIT_OK;
}

/* -- the end -- */

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
    closer_finish();
    control_close(s);
    sockets_remove(s->listeners);
    daemon_remove_pid(s->pid_path);
}

int supervisor_run(const struct cli_options *cli, struct config *config,
                   void (*say_ready)(const struct config *config), int (*test)(const struct cli_options *cli))
{
    static struct supervisor s; /* lives as long as the process, and with it members and listeners */
    s = (struct supervisor){
        .cli = cli,
        .config = config,
        .say_ready = say_ready,
        .test = test,
        .signal_fd = -1,
        .report_fd = -1,
        .test_fd = -1,
        .control_fd = -1,
        .watched_fd = -1,
        .started_us = clock_us(),
        .report_latest_us = clock_us() + REPORT_LATEST_US,
        .pid_path = cli->pid_path ? cli->pid_path : config->global.pid,
    };
    int64_t drain = config->global.process_control_timeout > 0 ? config->global.process_control_timeout
                                                               : config->global.drain_timeout;
    drain = drain > DRAIN_MOST_S ? DRAIN_MOST_S : drain > 0 ? drain : 1;
    s.drain_us = (uint64_t)drain * CLOCK_US_PER_SECOND;
    int code = prepare(&s);
    if (code != EXIT_OK) {
        if (cli->as_php_fpm) {
            log_error("FPM initialization failed");
        }
        clean_up(&s);
        daemon_report(&s.report_fd, code);
        return code;
    }
    upgrade_adopt(&s);
    watched_open(&s);
    if (!cli->serve) {
        log_notice("fpm is running, pid %d", (int)getpid());
    }
    report_start(&s);
    start_seats(&s);
    code = loop(&s);
    scribes_finish(LAST_LINES_MS);
    daemon_report(&s.report_fd, code);
    clean_up(&s);
    log_notice("exiting, bye-bye!");
    return code;
}
