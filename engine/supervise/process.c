/* The engine process's main thread: start-up in the order that isolation needs (foreign descriptors closed,
 * limits, user, environment, then PHP), and then the control loop: the supervisor's messages, the pool's
 * events, one tick every 100 ms.
 *
 * Everything here runs on that one thread. The process always ends by _exit: destructors of libraries have
 * nothing to do that a kernel would not do better, and lost threads may still be running. */
#include "engine/supervise/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/crash_report.h"
#include "engine/supervise/descriptors.h"
#include "engine/supervise/supervisor.h"
#include "engine/supervise/title.h"
#include "engine/work/crash.h"
#include "engine/work/pool.h"
#include "engine/work/server.h"

#define TICK_MS          100
#define WARM_BUDGET_MS   5000
#define LAST_ANSWERS_MS  200  /* for workers that are about to be done, at an end without a drain */
#define LAST_LINES_MS    1000 /* for the access log's reader, at the end */
#define WARM_LIST_MAX    (4u << 20)
#define LISTENERS_FROM   512
#define INTERRUPT_MAX_US (2 * CLOCK_US_PER_SECOND) /* before the deadline, so that scripts can still end */

struct control {
    const struct process_args *args;
    const struct executor *executor;
    struct pool *pool;
    struct access_log *access_log;
    struct server_view server;
    bool draining, heard, stopping, orphan, interrupted;
    uint64_t deadline_us;  /* of the drain */
    uint64_t interrupt_us; /* when what still runs is told to end */
    uint64_t second_us;    /* next once-a-second work */
    const char *swap_said; /* the reason that the supervisor has been told */
};

/* ---- signals: a handler only notes it and wakes the loop */

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
static void take_signals(void)
{
    static const int ours[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigset_t none;
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        sigaction(ours[i], &action, NULL);
    }
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- start */

static struct listener *own_listeners(const struct process_args *args)
{
    struct listener *first = NULL, **link = &first;
    for (struct listener *l = args->listeners, *next; l; l = next) {
        next = l->next;
        if (l->pool == args->pool) {
            *link = l;
            link = &l->next;
        }
    }
    *link = NULL;
    return first;
}

/* Low numbers are left to connections and files: libraries that call select() cannot use large ones. */
static void move_up(struct listener *own)
{
    for (struct listener *l = own; l; l = l->next) {
        int high = fcntl(l->fd, F_DUPFD_CLOEXEC, LISTENERS_FROM);
        if (high >= 0) {
            l->fd = high; /* the old number is closed with the foreign ones */
        }
    }
}

/* The supervisor's other channels must not stay open here: a process would never see its end of one close. */
static void close_foreign(const struct process_args *args, const struct listener *own)
{
    struct keep_list keep = {0};
    const int ours[] = {args->channel,   args->warm_fd,   args->access_log_fd, args->slow_log_fd,
                        args->stdout_fd, args->stderr_fd, STDIN_FILENO,        STDOUT_FILENO,
                        STDERR_FILENO,   log_fd()};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        keep_add(&keep, ours[i]);
    }
    for (const struct listener *l = own; l; l = l->next) {
        keep_add(&keep, l->fd);
    }
    keep_only(&keep);
}

/* Our own log keeps the place it has; descriptors 1 and 2 become what scripts and libraries write to. */
static int arrange_output(const struct process_args *args)
{
    int log = log_fd();
    if (log >= 0 && log <= STDERR_FILENO) {
        log = fcntl(log, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (log < 0) {
            return -1;
        }
        log_to_fd(log);
    }
    log_also_stderr(false);
    log_set_patience(0); /* no request waits for who reads the log */
    if (dup2(args->stdout_fd, STDOUT_FILENO) < 0 || dup2(args->stderr_fd, STDERR_FILENO) < 0) {
        return -1;
    }
    log_set_worker_fd(args->pool->s.catch_workers_output ? STDERR_FILENO : -1);
    return 0;
}

static int settle(const struct process_args *args, struct listener **own)
{
    *own = own_listeners(args);
    wake_fd = -1;
    move_up(*own);
    close_foreign(args, *own);
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0 || arrange_output(args) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] child failed to initialize", args->pool->name);
        return -1;
    }
    take_signals();
    char title[160];
    snprintf(title, sizeof(title), "pool %s", args->pool->name);
    title_set(args->cli->as_php_fpm ? "php-fpm" : "tokiophp", title);
    identity_limits(args->pool);
    if (identity_become(args->pool, args->identity, args->standin) != 0) {
        return -1;
    }
    identity_environment(args->pool, args->identity);
    return 0;
}

static void warm_up(struct control *c)
{
    struct stat st;
    int fd = c->args->warm_fd;
    if (fd < 0) {
        return;
    }
    if (c->executor->warm && fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= (off_t)WARM_LIST_MAX) {
        size_t n = (size_t)st.st_size;
        char *list = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (list != MAP_FAILED) {
            c->executor->warm(list, n, WARM_BUDGET_MS);
            munmap(list, n);
        }
    }
    close(fd);
}

static int start_frontends(struct control *c, const struct listener *own)
{
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->start && frontends[i]->start(c->pool, own) != 0) {
            return -1;
        }
    }
    return 0;
}

static const struct executor *choose_executor(const struct process_args *args)
{
    const struct pool_conf *pool = args->pool;
    if (args->standin) {
        return &standin_executor;
    }
#ifdef HAVE_PHP
    return pool->s.engine == ENGINE_STUB ? &stub_executor : &php_executor;
#else
    return pool->s.engine == ENGINE_STUB ? &stub_executor : NULL;
#endif
}

/* Our own pool counts as what we have, once for each engine process that it has: one that we replace goes as
 * soon as we are ready. */
static uint32_t count_all_workers(void *ctx)
{
    const struct process_args *args = ctx;
    uint32_t processes = args->pool->s.processes > 0 ? (uint32_t)args->pool->s.processes : 1;
    uint32_t count = scoreboard_workers(args->board, getpid()) * processes;
    for (struct scoreboard *const *b = args->boards; *b; b++) {
        count += *b == args->board ? 0 : scoreboard_workers(*b, 0);
    }
    return count;
}

static void count_dropped_lines(void *ctx, uint64_t lines)
{
    pool_count_events(ctx, EVENT_LOG_DROPPED, lines);
}

/* What a front end has its own row for wins over the pool's. */
static const char *access_format(const struct pool_conf *pool)
{
    void *in;
    const struct setting_row *row = pool_setting(pool, "http.access_log_format", &in);
    const char *own = row ? *(char *const *)((const char *)in + row->offset) : NULL;
    return own && *own ? own : pool->s.access_format;
}

static void open_access_log(struct control *c)
{
    const struct process_args *args = c->args;
    c->access_log =
        access_log_create(args->access_log_fd, access_format(args->pool), args->pool->s.access_suppress_path);
    if (c->access_log && access_log_start(c->access_log, args->config->global.service_name,
                                          count_dropped_lines, c->pool) != 0) {
        log_sys(LEVEL_WARNING, "[pool %s] the access log gets no thread of its own", args->pool->name);
    }
    pool_set_logs(c->pool, c->access_log, args->slow_log_fd);
}

static const char *start(struct control *c, const struct listener *own)
{
    const struct process_args *args = c->args;
    standin_reason = args->why;
    c->executor = choose_executor(args);
    if (!c->executor) {
        return "this build has no PHP: only engine = stub runs";
    }
    if (c->executor->start(args->cli, args->pool) != 0) {
        return "the executor did not start";
    }
    crash_install();
    c->pool = pool_create(args->pool, c->executor, args->board, args->generation);
    if (!c->pool) {
        return "out of memory";
    }
    pool_set_process_max(c->pool, (uint32_t)args->config->global.process_max, count_all_workers,
                         (void *)args);
    c->server = (struct server_view){.config = args->config, .boards = args->boards};
    while (args->boards && args->boards[c->server.count]) {
        c->server.count++;
    }
    pool_set_server(c->pool, &c->server);
    open_access_log(c);
    if (start_frontends(c, own) != 0) {
        return "a front end did not start";
    }
    warm_up(c);
    if (pool_start(c->pool) != 0) {
        return "the workers did not start";
    }
    return NULL;
}

/* ---- the control loop */

static int hand_over_channel; /* constant once there are threads */

static bool hand_over(const struct frontend *frontend, int fd, int kind)
{
    return channel_send(hand_over_channel, CHANNEL_HAND_OVER, kind, frontend->name, &fd, 1) == 0;
}

static void begin_drain(struct control *c, uint64_t ms)
{
    if (c->draining) {
        return;
    }
    uint64_t now = clock_us();
    uint64_t total = ms * 1000;
    uint64_t margin = total / 4 < INTERRUPT_MAX_US ? total / 4 : INTERRUPT_MAX_US;
    c->draining = true;
    c->deadline_us = now + total;
    c->interrupt_us = c->deadline_us - margin;
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->drain) {
            frontends[i]->drain(c->pool);
        }
    }
    pool_drain(c->pool);
}

/* New descriptors take the numbers of the old ones: whoever writes at this moment writes to one or the other.
 */
static void replace_logs(struct control *c, struct channel_message *m)
{
    const int old[] = {log_fd(), c->args->access_log_fd, c->args->slow_log_fd};
    int next = 0;
    for (int bit = 0; bit < 3; bit++) {
        if ((m->number & (1 << bit)) == 0 || next >= m->fd_count) {
            continue;
        }
        int fd = m->fds[next++];
        if (old[bit] > STDERR_FILENO && dup3(fd, old[bit], O_CLOEXEC) < 0) {
            log_sys(LEVEL_WARNING, "[pool %s] a log could not be re-opened", c->args->pool->name);
        }
    }
    channel_close_fds(m);
}

static void send_warm_list(struct control *c)
{
    char *list = c->executor->warm_list ? malloc(WARM_LIST_MAX) : NULL;
    size_t n = list ? c->executor->warm_list(list, WARM_LIST_MAX) : 0;
    int fd = n > 0 ? memfd_create("warm-list", MFD_CLOEXEC) : -1;
    size_t done = 0;
    while (fd >= 0 && done < n) {
        ssize_t w = write(fd, list + done, n - done);
        if (w <= 0) {
            break;
        }
        done += (size_t)w;
    }
    channel_send(c->args->channel, CHANNEL_WARM_LIST, (int64_t)done, NULL, &fd, fd >= 0 && done == n ? 1 : 0);
    if (fd >= 0) {
        close(fd);
    }
    free(list);
}

static void adopt(struct control *c, struct channel_message *m)
{
    for (size_t i = 0; frontends[i] && m->fd_count == 1; i++) {
        if (frontends[i]->adopt && strcmp(frontends[i]->name, m->text) == 0) {
            m->fd_count = 0;
            frontends[i]->adopt(c->pool, m->fds[0], (int)m->number);
        }
    }
}

static void obey(struct control *c, struct channel_message *m)
{
    switch (m->type) {
    case CHANNEL_DRAIN: begin_drain(c, m->number > 0 ? (uint64_t)m->number : c->args->drain_ms); break;
    case CHANNEL_STOP: c->stopping = true; break;
    case CHANNEL_LOGS: replace_logs(c, m); break;
    case CHANNEL_ADOPT: adopt(c, m); break;
    case CHANNEL_WANT_WARM_LIST: send_warm_list(c); break;
    default: break;
    }
    channel_close_fds(m);
}

static void hear_supervisor(struct control *c)
{
    static struct channel_message message; /* the one control thread's; too large for a comfortable stack */
    int rc;
    while ((rc = channel_receive(c->args->channel, &message)) > 0) {
        obey(c, &message);
    }
    if (rc < 0 && !c->orphan) {
        c->orphan = true;
        atomic_store(&pool_on_hand_over, NULL);
        log_write(c->draining ? LEVEL_DEBUG : LEVEL_ERROR, __func__, __LINE__,
                  "[pool %s] the supervisor is gone; engine process %d finishes what it runs and ends",
                  c->args->pool->name, (int)getpid());
        begin_drain(c, c->args->drain_ms);
    }
}

static void hear_signals(struct control *c)
{
    uint64_t count;
    if (read(wake_fd, &count, sizeof(count)) < 0) {
        /* nothing was noted */
    }
    if (got_term) {
        c->stopping = true;
    }
    if (got_quit) {
        got_quit = 0;
        begin_drain(c, c->args->drain_ms);
    }
}

static void tell_swap(struct control *c)
{
    const char *why = c->draining ? NULL : pool_swap_reason(c->pool);
    if (why && why != c->swap_said && channel_send(c->args->channel, CHANNEL_SWAP, 0, why, NULL, 0) == 0) {
        c->swap_said = why;
    }
}

/* Said once all that could take new work knows of the drain. If a thread of this process is stuck, for
 * example on a lock that a crash has taken along, it is never said, and the supervisor does not wait. */
static void tell_heard(struct control *c)
{
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->drain_heard && !frontends[i]->drain_heard(c->pool)) {
            return;
        }
    }
    c->heard = channel_send(c->args->channel, CHANNEL_DRAINING, 0, NULL, NULL, 0) == 0;
}

static void tick(struct control *c)
{
    uint64_t now = clock_us();
    pool_tick(c->pool);
    tell_swap(c);
    if (now >= c->second_us) {
        c->second_us = now + CLOCK_US_PER_SECOND;
        for (size_t i = 0; frontends[i]; i++) {
            if (frontends[i]->tick) {
                frontends[i]->tick(c->pool);
            }
        }
    }
    if (c->draining && !c->heard && !c->orphan) {
        tell_heard(c);
    }
    if (c->draining && !c->interrupted && now >= c->interrupt_us) {
        c->interrupted = true;
        pool_interrupt_all(c->pool);
    }
}

static bool is_drained(struct control *c)
{
    bool drained = c->draining;
    for (size_t i = 0; c->draining && frontends[i]; i++) { /* each is asked: they act on it */
        drained &= !frontends[i]->drained || frontends[i]->drained(c->pool);
    }
    return drained && pool_idle(c->pool);
}

static void control_loop(struct control *c)
{
    struct pollfd fds[3] = {{.fd = c->args->channel, .events = POLLIN},
                            {.fd = pool_event_fd(c->pool), .events = POLLIN},
                            {.fd = wake_fd, .events = POLLIN}};
    while (!c->stopping && !is_drained(c)) {
        if (poll(fds, 3, TICK_MS) < 0 && errno != EINTR) {
            log_sys(LEVEL_ERROR, "[pool %s] poll", c->args->pool->name);
        }
        if (fds[0].revents) {
            hear_supervisor(c);
        }
        if (c->orphan) {
            fds[0].fd = -1;
        }
        if (fds[2].revents) {
            hear_signals(c);
        }
        tick(c);
        if (c->orphan && clock_us() >= c->deadline_us) {
            break;
        }
    }
}

/* After a complete drain nothing is owed to anybody, so PHP gets its orderly shutdown; threads that are lost
 * would fall over it, so with them the process just ends. */
static void end(struct control *c)
{
    if (!c->draining || !is_drained(c)) {
        pool_settle(c->pool, LAST_ANSWERS_MS);
        access_log_stop(c->access_log, LAST_LINES_MS);
        return;
    }
    channel_send(c->args->channel, CHANNEL_DRAINED, 0, NULL, NULL, 0);
    bool all_ended = pool_stop(c->pool);
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->stop) {
            frontends[i]->stop(c->pool);
        }
    }
    access_log_stop(c->access_log, LAST_LINES_MS);
    if (all_ended) {
        pool_destroy(c->pool);
        c->executor->stop();
    }
}

_Noreturn void process_main(const struct process_args *args)
{
    struct control c = {.args = args};
    struct listener *own = NULL;
    if (settle(args, &own) != 0) {
        channel_send(args->channel, CHANNEL_FAILED, 0,
                     "it could not become the pool's user, or enter its directories", NULL, 0);
        _exit(EXIT_SOFTWARE);
    }
    crash_report_init(args->channel);
    hand_over_channel = args->channel;
    atomic_store(&pool_on_hand_over, hand_over);
    const char *failure = start(&c, own);
    if (failure) {
        channel_send(args->channel, CHANNEL_FAILED, 0, failure, NULL, 0);
        log_error("[pool %s] child failed to initialize", args->pool->name);
        _exit(EXIT_SOFTWARE);
    }
    log_as_server = true; /* what the pool's keeper says is no output of a worker */
    channel_send(args->channel, CHANNEL_READY, 0, NULL, NULL, 0);
    control_loop(&c);
    end(&c);
    _exit(EXIT_OK);
}
