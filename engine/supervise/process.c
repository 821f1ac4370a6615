/* The engine process's main thread: start-up in the order that isolation needs (foreign descriptors closed,
 * PHP loaded with the supervisor's rights and environment, then limits, root, user and the pool's
 * environment, and only then what can run the user's code), then the control loop (process_loop.c), and the
 * end.
 *
 * Everything here runs on that one thread. The process always ends by _exit: destructors of libraries have
 * nothing to do that a kernel would not do better, and lost threads may still be running. */
#include "engine/supervise/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/machine.h"
#include "engine/base/settings_mask.h"
#include "engine/base/system_log.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/crash_report.h"
#include "engine/supervise/descriptors.h"
#include "engine/supervise/lookout.h"
#include "engine/supervise/process_private.h"
#include "engine/supervise/startup_output.h"
#include "engine/supervise/supervisor.h"
#include "engine/supervise/title.h"
#include "engine/work/crash.h"

#define LAST_ANSWERS_MS     200  /* for workers that are about to be done, at an end without a drain */
#define LAST_LINES_MS       1000 /* for the access log's reader, at the end */
#define LISTENERS_FROM      512
#define WIPED_STACK_BYTES   (128 << 10)
#define JOURNAL_PATIENCE_MS 100 /* for the supervisor, should it be late */

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
    const int ours[] = {args->channel,
                        args->board_fd,
                        args->lookout,
                        args->warm_fd,
                        args->task_notes_fd,
                        args->journal_fd,
                        args->log_fds[LOG_FILE_ACCESS],
                        args->log_fds[LOG_FILE_SLOW],
                        args->stdout_fd,
                        args->stderr_fd,
                        STDIN_FILENO,
                        STDOUT_FILENO,
                        STDERR_FILENO,
                        system_log_fd()};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        keep_add(&keep, ours[i]);
    }
    for (uint32_t i = 0; i < args->guest_count; i++) {
        keep_add(&keep, args->guests[i].access_log_fd);
    }
    for (const struct listener *l = own; l; l = l->next) {
        keep_add(&keep, l->fd);
    }
    keep_only(&keep);
}

/* The server's log is not ours to hold, unless it is syslog. The supervisor reads what we say instead, and
 * waits for no reader of its log. */
static void arrange_log(const struct process_args *args)
{
    if (log_fd() >= 0) {
        log_to_fd(args->journal_fd);
    }
    log_also_stderr(false);
    log_set_patience(JOURNAL_PATIENCE_MS);
}

/* Descriptors 1 and 2 become what scripts and libraries write to. */
static int arrange_output(const struct process_args *args)
{
    if (dup2(args->stdout_fd, STDOUT_FILENO) < 0 || dup2(args->stderr_fd, STDERR_FILENO) < 0) {
        return -1;
    }
    log_set_worker_fd(args->pool->s.catch_workers_output ? STDERR_FILENO : -1);
    log_set_worker_records(!args->cli->as_php_fpm); /* in php-fpm's log they are wrapped */
    return 0;
}

/* A pool and that of its tasks have their settings in common, what front ends own aside. */
static bool is_family(const struct pool_conf *a, const struct pool_conf *b)
{
    return a->tasks_of == b || b->tasks_of == a;
}

/* What a front end does in another pool's name it does by that pool's open rows. */
static void forget_pool(const struct process_args *args, struct pool_conf *pool)
{
    if (!is_family(pool, args->pool)) {
        settings_forget(&engine_pool_table, &pool->s, false);
    }
    for (size_t i = 0; frontends[i]; i++) {
        const struct frontend *f = frontends[i];
        bool acts_for_it = f->answers_for && f->answers_for(args->pool, pool);
        if (f->pool_table) {
            settings_forget(f->pool_table, pool->frontend_settings[i], acts_for_it);
        }
    }
}

/* Below us lies what the supervisor's functions left behind: lines of other pools' logs, settings. */
__attribute__((noinline)) static void wipe_stack(void)
{
    char room[WIPED_STACK_BYTES];
    explicit_bzero(room, sizeof(room));
}

/* Our memory is a copy of the supervisor's: what is secret of other pools goes before anything else. */
static void forget_others(const struct process_args *args)
{
    identity_note_foreign(args->pool, args->config->pools);
    for (struct pool_conf *pool = args->config->pools; pool; pool = pool->next) {
        if (pool != args->pool) {
            forget_pool(args, pool);
        }
    }
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->forget) {
            frontends[i]->forget(args->pool);
        }
    }
    wipe_stack();
}

/* Who runs the server from a shell has its terminal, which the pool's user could write to, and type into
 * (TIOCSTI). Not setsid(): Ctrl-C and the end of the terminal are the supervisor's affair, but whoever looks
 * for a server's processes finds them by its session. */
static void give_terminal_up(void)
{
    int terminal = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0) {
        return;
    }
    if (ioctl(terminal, TIOCNOTTY) != 0) {
        log_sys(LEVEL_WARNING, "the terminal cannot be given up");
    }
    close(terminal);
}

/* What of the supervisor's is none of ours goes; what it has of ours takes its place. */
static const char *arrange(struct process *p, struct listener **own)
{
    const struct process_args *args = p->args;
    char title[160];

    give_terminal_up();
    forget_others(args);
    arrange_log(args);
    *own = own_listeners(args);
    move_up(*own);
    close_foreign(args, *own);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake_fd < 0 || arrange_output(args) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] child failed to initialize", args->pool->name);
        return "out of descriptors";
    }
    process_signals_take(p->wake_fd);
    snprintf(title, sizeof(title), "pool %s", args->pool->name);
    title_set(args->cli->as_php_fpm ? "php-fpm" : "tokiophp", title);
    identity_forget_supervisor();
    return NULL;
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

static bool names_extension(const struct setting_pair *pairs)
{
    return settings_has_key(pairs, "extension") || settings_has_key(pairs, "zend_extension");
}

/* With the rights, the root and the environment of the supervisor. An extension of the pool's own settings
 * sees the pool's env[] as well, as in php-fpm, which loads it in the child. */
static const char *load(struct process *p)
{
    const struct pool_settings *s = &p->args->pool->s;
    char **environment = NULL;
    p->executor = choose_executor(p->args);
    if (!p->executor) {
        return "this build has no PHP: only engine = stub runs";
    }
    if (!p->executor->load) {
        return NULL;
    }
    if (names_extension(s->php_value) || names_extension(s->php_admin_value)) {
        environment = identity_lend_environment(p->args->pool);
    }
    warm_list_inherit(p);
    startup_output_begin(p->args->pool->name);
    int rc = p->executor->load(p->args->cli, p->args->pool, identity_hide_foreign);
    startup_output_end();
    if (environment) {
        environ = environment;
    }
    return rc == 0 ? NULL : "PHP did not start";
}

static const char *become(struct process *p)
{
    const struct process_args *args = p->args;

    identity_limits(args->pool);
    if (identity_become(args->pool, args->identity, args->standin) != 0) {
        return "it could not become the pool's user, or enter its directories";
    }
    identity_environment(args->pool, args->identity);
    return NULL;
}

static int start_frontends(struct process *p, const struct listener *own)
{
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->start && frontends[i]->start(p->pool, own) != 0) {
            return -1;
        }
        if (frontends[i]->rekey) {
            frontends[i]->rekey(p->pool, p->args->keys);
        }
    }
    return 0;
}

/* Our own pool counts as what we have, once for each engine process that it has: one that we replace goes as
 * soon as we are ready. While the supervisor does not answer, the others have what they had. Control thread.
 */
static uint32_t count_all_workers(void *ctx)
{
    static uint32_t others;
    const struct process *p = ctx;
    const struct pool_conf *pool = p->args->pool;
    uint32_t processes = pool->s.processes > 0 ? (uint32_t)pool->s.processes : 1, now;
    if (lookout_workers(&now)) {
        others = now;
    }
    return scoreboard_workers(p->board) * processes + others;
}

static bool tell_text(enum server_page page, struct buf *out)
{
    return lookout_text(page == SERVER_HISTORY ? LOOKOUT_HISTORY : LOOKOUT_SCRIPTS, out);
}

static bool pass_order(enum server_order order, const char *pool, const char *token)
{
    return lookout_order(order == SERVER_RESTART ? LOOKOUT_RESTART : LOOKOUT_RELOAD, pool, token);
}

static const struct pool_server server = {.look = lookout_view,
                                          .tell = tell_text,
                                          .order = pass_order,
                                          .profile = lookout_profile,
                                          .talker = lookout_talker};

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

static struct access_log *open_access_log(struct process *p, const struct pool_conf *pool, int fd)
{
    const char *service = p->args->config->global.service_name;
    struct access_log *log = access_log_create(fd, access_format(pool), pool->s.access_suppress_path);
    if (log && access_log_start(log, service, count_dropped_lines, p->pool) != 0) {
        log_sys(LEVEL_WARNING, "[pool %s] the access log gets no thread of its own", pool->name);
    }
    return log;
}

static int open_access_logs(struct process *p)
{
    const struct process_args *args = p->args;
    p->access_log = open_access_log(p, args->pool, args->log_fds[LOG_FILE_ACCESS]);
    pool_set_logs(p->pool, p->access_log, args->log_fds[LOG_FILE_SLOW]);
    p->guests = xcalloc(args->guest_count ? args->guest_count : 1, sizeof(*p->guests));
    for (uint32_t i = 0; i < args->guest_count; i++) {
        const struct process_guest *guest = &args->guests[i];
        p->guests[i] =
            (struct guest_conf){guest->conf, open_access_log(p, guest->conf, guest->access_log_fd)};
    }
    return pool_set_guests(p->pool, p->guests, args->guest_count);
}

static void stop_access_logs(const struct process *p)
{
    uint64_t until = clock_us() + LAST_LINES_MS * 1000ULL;
    access_log_stop(p->access_log, LAST_LINES_MS);
    for (uint32_t i = 0; i < p->args->guest_count; i++) {
        uint64_t now = clock_us();
        access_log_stop(p->guests[i].log, now < until ? (unsigned)((until - now) / 1000) : 0);
    }
}

/* Of those at the start, each of which copies PHP's tables when another one has done so, half a millisecond:
 * whoever waits has his answer from the first. A process that takes another's place takes its load at once:
 * as many as can run at a time then, and others come faster than a machine could have them all busy. */
static uint32_t enough_workers(const struct process_args *args)
{
    return args->replaces ? machine_cpus() : 1;
}

static const char *start(struct process *p, const struct listener *own)
{
    const struct process_args *args = p->args;
    standin_reason = args->why;
    if (p->executor->start(args->cli, args->pool) != 0) {
        return "the executor did not start";
    }
    crash_install();
    p->board = scoreboard_open(args->board_fd, args->board_size);
    p->pool = p->board ? pool_create(args->pool, p->executor, p->board, args->generation) : NULL;
    if (!p->pool) {
        return "out of memory";
    }
    pool_set_process_max(p->pool, (uint32_t)args->config->global.process_max, count_all_workers, p);
    lookout_open(args->lookout);
    pool_set_server(p->pool, args->config, &server);
    pool_set_task_notes(p->pool, args->task_notes_fd);
    if (open_access_logs(p) != 0) {
        return "out of memory";
    }
    if (start_frontends(p, own) != 0) {
        return "a front end did not start";
    }
    warm_list_use(p);
    process_loop_forget(p);
    pool_serve_from(p->pool, enough_workers(args));
    if (pool_start(p->pool) != 0) {
        return pool_failure(p->pool);
    }
    return NULL;
}

/* After a complete drain nothing is owed to anybody, so PHP gets its orderly shutdown; threads that are lost
 * would fall over it, so with them the process just ends. */
static void end(struct process *p)
{
    if (!p->draining || !process_is_drained(p)) {
        pool_settle(p->pool, LAST_ANSWERS_MS);
        stop_access_logs(p);
        return;
    }
    bool all_ended = pool_stop(p->pool);
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->stop) {
            frontends[i]->stop(p->pool);
        }
    }
    stop_access_logs(p);
    if (all_ended && pool_destroy(p->pool)) {
        p->executor->stop();
    }
}

static const char *begin(struct process *p)
{
    struct listener *own = NULL;
    const char *failure = arrange(p, &own);
    if (!failure) {
        failure = load(p);
    }
    if (!failure) {
        failure = become(p);
    }
    if (!failure) {
        crash_report_init(p->args->channel);
        process_loop_open(p);
        failure = start(p, own);
    }
    return failure;
}

_Noreturn void process_main(const struct process_args *args)
{
    struct process p = {.args = args, .wake_fd = -1};
    const char *failure = begin(&p);
    if (failure) {
        channel_send(args->channel, CHANNEL_FAILED, 0, failure, NULL, 0);
        log_error("[pool %s] child failed to initialize", args->pool->name);
        _exit(EXIT_SOFTWARE);
    }
    log_as_server = true; /* what the pool's keeper says is no output of a worker */
    channel_send(args->channel, CHANNEL_READY, 0, NULL, NULL, 0);
    process_loop(&p);
    end(&p);
    _exit(EXIT_OK);
}
