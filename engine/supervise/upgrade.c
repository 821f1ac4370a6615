/* Reload: the supervisor executes itself anew, so that configuration, binary and libraries are all fresh, and
 * takes its sockets and its children along. First the new binary tests the new configuration in a process of
 * its own, or a fork of ours does if that binary is ours (same_program.h); if that fails or takes too long,
 * nothing changes.
 *
 * Sockets travel in FPM_SOCKETS. Children travel in a memory file, one line each (upgrade_state.c). The new
 * image lets them serve until its own generation is ready, and then drains them: for the children a reload is
 * one more swap.
 *
 * The file may by now be another program, a php-fpm. The test tells: only we answer its question who we are.
 * A stranger gets the sockets as a php-fpm leaves them to itself, and our children finish what they run.
 * Between the test and the execution the file may change once more: inherited_survive(). Supervisor's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/closer.h"
#include "engine/supervise/daemon.h"
#include "engine/supervise/descriptors.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/logs.h"
#include "engine/supervise/notify.h"
#include "engine/supervise/same_program.h"
#include "engine/supervise/sockets.h"
#include "engine/supervise/state.h"
#include "engine/supervise/supervisor.h"
#include "engine/supervise/title.h"

#define TEST_VARIABLE "TOKIOPHP_TEST"
#define TEST_ANSWER   "tokiophp understands state 5" /* changes with the lines of children */
#define TEST_US       (20 * CLOCK_US_PER_SECOND)
#define TEST_OUTPUT   65536
#define SCRIBES_MS    1000 /* for a log that does not take lines */
#define HEARD_MS      2000 /* for a child that does not hear */
#define RETESTS_MAX   5    /* a storm of reloads must not keep the last one from happening */

/* -- the execution -- */

static void say_execution(char *const *argv)
{
    struct buf text = {.limit = 4096};
    for (size_t i = 0; argv[i]; i++) {
        buf_printf(&text, "%s\"%s\"", i > 0 ? ", " : "", argv[i]);
    }
    log_notice("reloading: execvp(\"%s\", {%s})", argv[0], text.failed ? "..." : text.p);
    buf_free(&text);
}

static int block_stops(int how)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        sigaddset(&set, stops[i]);
    }
    return sigprocmask(how, &set, NULL);
}

/* Until it accepts nothing any more. What else it says was for the supervisor that ends here. */
static void wait_for_drain(const struct child *c, uint64_t until_us)
{
    static struct channel_message message; /* one thread; too large for a comfortable stack */
    struct pollfd p = {.fd = c->channel, .events = POLLIN};
    bool drains = false;
    int rc = 0;
    for (uint64_t now = clock_us(); !drains && rc >= 0 && now < until_us; now = clock_us()) {
        rc = channel_receive(c->channel, &message, closer_drop_all);
        if (rc > 0) {
            drains = message.type == CHANNEL_DRAINING;
            channel_dispose_fds(&message, closer_drop_all);
        } else if (rc == 0) {
            poll(&p, 1, (int)((until_us - now) / 1000) + 1);
        }
    }
}

/* A socket that blocks does so for all who have it: a child that looks once more whether somebody waits there
 * would wait itself, with all that it has in hand. */
static void drain_children(const struct supervisor *s)
{
    uint64_t until_us = clock_us() + HEARD_MS * 1000ULL;
    for (const struct child *c = s->children; c; c = c->next) {
        if (c->channel >= 0) {
            channel_send(c->channel, CHANNEL_DRAIN, (int64_t)(s->drain_us / 1000), NULL, NULL, 0);
        }
    }
    for (const struct child *c = s->children; c; c = c->next) {
        const struct generation *g = c->generation;
        bool heard = g && g->state == GENERATION_DRAINING && g->drain_us == 0;
        if (c->channel >= 0 && !heard) {
            wait_for_drain(c, until_us);
        }
    }
}

/* To a program that knows nothing of our children: their channels close with this image, what they run ends,
 * and new connections wait in the sockets' queues for the stranger. php-fpm blocks USR1, USR2 and CHLD over
 * an execution, and nothing else; its workers want to block in accept(). */
static void execute_stranger(struct supervisor *s)
{
    log_notice(
        "the program at %s is not tokiophp any more: it gets the sockets, the workers finish what they run",
        s->cli->argv[0]);
    drain_children(s);
    sockets_export(s->listeners);
    sockets_set_blocking(s->listeners, true);
    logs_restore_stdio();
    block_stops(SIG_UNBLOCK);
    execvp(s->cli->argv[0], s->cli->argv);
    int saved = errno;
    block_stops(SIG_BLOCK);
    sockets_set_blocking(s->listeners, false);
    errno = saved;
}

static void execute(struct supervisor *s, bool stranger)
{
    say_execution(s->cli->argv);
    report_missed_lines(s);
    for (struct child *c = s->children; c; c = c->next) {
        talkers_settle(c);
    }
    scribes_rest(SCRIBES_MS);
    int fd = stranger ? -1 : upgrade_write_state(s);
    if (stranger) {
        execute_stranger(s);
    } else if (fd >= 0) {
        sockets_export(s->listeners);
        upgrade_pass_children(s, true);
        logs_restore_stdio();
        execvp(s->cli->argv[0], s->cli->argv);
    }
    int saved = errno;
    scribes_go_on();
    sockets_keep(s->listeners);
    upgrade_pass_children(s, false);
    upgrade_take_files_back(s);
    daemon_null_stdio();
    logs_take_stderr();
    if (fd >= 0) {
        close(fd);
    }
    inherited_leave(-1);
    errno = saved;
    log_sys(LEVEL_ERROR, "failed to reload: execvp() failed; everything goes on as it was");
    s->phase = PHASE_RUNNING;
    report_ready(s);
}

/* -- the test -- */

void upgrade_know_program(struct supervisor *s)
{
    uint64_t began_wall_us = clock_wall_us() - (clock_us() - s->started_us);
    if (s->program == 0) {
        s->program = same_program_print(s->cli->argv[0], began_wall_us - CLOCK_US_PER_SECOND);
    }
}

static bool is_same_program(const struct supervisor *s)
{
    bool same = s->program != 0;
    for (size_t i = 0; same && frontends[i]; i++) {
        same = !(frontends[i]->keeps && frontends[i]->keeps());
    }
    return same && same_program_print(s->cli->argv[0], UINT64_MAX) == s->program;
}

/* The program that would be executed is this one, so its beginnings need no test: in a fork, which takes a
 * fifth of the time. It knows as little as a fresh program does, and keeps nothing open that it must not
 * have.
 */
static _Noreturn void test_here(const struct supervisor *s)
{
    struct cli_options options = *s->cli;
    struct keep_list keep = {0};
    options.test = 1;
    title_set(options.as_php_fpm ? "php-fpm" : "tokiophp", "test of the configuration");
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        keep_add(&keep, fd);
    }
    for (const struct listener *l = s->listeners; l; l = l->next) {
        keep_add(&keep, l->fd);
    }
    logs_close_original();
    log_begin_anew();
    keep_only(&keep);
    inherited_never();
    sockets_forget();
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->forget) {
            frontends[i]->forget(NULL);
        }
    }
    int code = s->test(&options);
    fflush(stdout);
    _exit(code);
}

static _Noreturn void test_program(const struct cli_options *cli)
{
    char **argv = xcalloc((size_t)cli->argc + 2, sizeof(*argv));
    for (int i = 0; i < cli->argc; i++) {
        argv[i] = cli->argv[i];
    }
    argv[cli->argc] = xstrdup("-t");
    execvp(argv[0], argv);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static _Noreturn void run_test(const struct supervisor *s, int output)
{
    sigset_t none;
    unsetenv("NOTIFY_SOCKET");
    setenv(TEST_VARIABLE, "1", 1);
    sockets_export(s->listeners); /* so that it can try the others */
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (is_same_program(s)) {
        test_here(s);
    }
    test_program(s->cli);
}

static void refuse(struct supervisor *s, const char *why)
{
    struct str rest = {s->test_output.p, s->test_output.n}, line;
    log_error("reload refused: %s; nothing was changed", why);
    s->retests = 0;
    while (s->test_output.n > 0 && str_split(&rest, '\n', &line)) {
        if (line.n > 0) {
            log_error("reload refused: %.*s", (int)line.n, line.p);
        }
    }
    s->phase = PHASE_RUNNING;
    report_ready(s);
}

void upgrade_begin(struct supervisor *s)
{
    int fds[2];
    if (s->phase == PHASE_LAUNCHING || s->phase == PHASE_TESTING) {
        s->reload_wanted = true; /* one after the other */
    }
    if (s->phase >= PHASE_LEAVING) {
        log_warning("no reload: the server ends");
    }
    if (s->phase != PHASE_RUNNING) {
        return;
    }
    log_notice("Reloading in progress ...");
    notify_send("RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading in progress ...",
                (unsigned long long)clock_us());
    if (!s->config->path) { /* no file to test */
        execute(s, false);
        return;
    }
    if (pipe2(fds, O_CLOEXEC) != 0) {
        refuse(s, strerror(errno));
        return;
    }
    s->phase = PHASE_TESTING;
    s->test_pid = fork();
    if (s->test_pid == 0) {
        run_test(s, fds[1]);
    }
    close(fds[1]);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    s->test_fd = fds[0];
    s->test_deadline_us = clock_us() + TEST_US;
    if (s->test_pid < 0) {
        upgrade_tested(s, -1);
    }
}

/* The end of it is what counts: the reason for a refusal, and the answer who that is. */
static void keep_output(struct buf *b, const char *p, size_t n)
{
    if (b->n + n > TEST_OUTPUT) {
        size_t half = b->n / 2;
        memmove(b->p, b->p + half, b->n - half);
        b->n -= half;
    }
    buf_add(b, p, n);
}

void upgrade_read(struct supervisor *s)
{
    char piece[4096];
    ssize_t n;
    while (s->test_fd >= 0 && (n = read(s->test_fd, piece, sizeof(piece))) != 0) {
        if (n > 0) {
            keep_output(&s->test_output, piece, (size_t)n);
        } else if (errno != EINTR) {
            return;
        }
    }
    if (s->test_fd >= 0) {
        close(s->test_fd);
        s->test_fd = -1;
    }
}

bool upgrade_tests(void)
{
    return getenv(TEST_VARIABLE) != NULL;
}

void upgrade_introduce(void)
{
    if (upgrade_tests()) {
        printf("\n" TEST_ANSWER "\n");
        fflush(stdout);
    }
}

static bool test_answered(const struct supervisor *s)
{
    struct str rest = {s->test_output.p, s->test_output.n}, line;
    while (s->test_output.n > 0 && str_split(&rest, '\n', &line)) {
        if (str_eq(line, str_of(TEST_ANSWER))) {
            return true;
        }
    }
    return false;
}

void upgrade_tested(struct supervisor *s, int status)
{
    char why[96];
    upgrade_read(s);
    if (s->test_fd >= 0) {
        close(s->test_fd);
        s->test_fd = -1;
    }
    s->test_pid = 0;
    if (s->phase != PHASE_TESTING) {
        /* told to stop meanwhile */
    } else if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        if (s->reload_wanted && s->retests++ < RETESTS_MAX) {
            s->phase = PHASE_RUNNING; /* asked again meanwhile: what was tested may be old by now */
        } else {
            execute(s, !test_answered(s));
        }
    } else {
        snprintf(why, sizeof(why), "the test of the new configuration ended %s %d",
                 status != -1 && WIFEXITED(status) ? "with code" : "on signal",
                 status == -1        ? 0
                 : WIFEXITED(status) ? WEXITSTATUS(status)
                                     : WTERMSIG(status));
        refuse(s, why);
    }
    buf_free(&s->test_output);
}

void upgrade_tick(struct supervisor *s, uint64_t now)
{
    if (s->test_pid > 0 && now >= s->test_deadline_us) {
        s->test_deadline_us = now + TEST_US;
        log_error("the test of the new configuration takes more than %u s",
                  (unsigned)(TEST_US / CLOCK_US_PER_SECOND));
        kill(s->test_pid, SIGKILL);
    }
}
