/* Engine processes as the supervisor has them: forked, heard, read, reaped. This is the state machine's table
 * of functions for real life; the record of one is child.c's. Supervisor's thread. */
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
#include "engine/supervise/lookout.h"
#include "engine/supervise/process.h"
#include "engine/supervise/state.h"

#define PIPE_ROUNDS 16   /* reads of one pipe before others get their turn */
#define LAST_ROUNDS 4096 /* more than a channel holds: what a process forked may go on speaking in it */

void child_close(struct child *child)
{
    struct child **link = &child->member->supervisor->children;
    while (*link != child) {
        link = &(*link)->next;
    }
    *link = child->next;
    talkers_end(child);
    child_read_journal(child);
    child_close_fd(&child->journal_fd);
    keeping_close(child);
    journal_destroy(child->journal);
    for (int i = 0; i < LOG_FILES; i++) {
        if (child->scribes[i]) {
            scribe_leave(child->scribes[i]);
        } else {
            child_close_fd(&child->log_pipes[i]);
        }
    }
    closer_end_socket(&child->channel);
    closer_end_socket(&child->lookout);
    child_close_fd(&child->board_fd);
    guests_free(&child->guests);
    output_sources_destroy(child->output);
    free(child);
}

/* -- launch -- */

struct ends {
    int channel[2], lookout[2];
    int board_fd; /* both sides' */
    struct scoreboard_size board_size;
    int out[2][2]; /* by stream: read end, write end */
    int journal[2], logs[LOG_FILES][2];
};

static void close_ends(struct ends *ends, int side)
{
    child_close_fd(&ends->channel[side]);
    child_close_fd(&ends->lookout[side]);
    child_close_fd(&ends->out[OUTPUT_STDOUT][side]);
    child_close_fd(&ends->out[OUTPUT_STDERR][side]);
    child_close_fd(&ends->journal[side]);
    for (int i = 0; i < LOG_FILES; i++) {
        child_close_fd(&ends->logs[i][side]);
    }
}

static int open_logs(struct ends *ends, const struct member *m)
{
    for (int i = 0; i < LOG_FILES; i++) {
        if (m->log_fds[i] >= 0 && scribe_pipe(ends->logs[i]) != 0) {
            return -1;
        }
    }
    return journal_pipe(ends->journal);
}

/* Side 0 is ours, side 1 the process's. Without catch_workers_output it writes to /dev/null, our stdin. */
static int open_ends(struct ends *ends, const struct pool_conf *pool, uint32_t guests)
{
    bool catch_output = pool->s.catch_workers_output;
    *ends = (struct ends){{-1, -1},
                          {-1, -1},
                          -1,
                          scoreboard_size(pool, guests),
                          {{-1, -1}, {-1, -1}},
                          {-1, -1},
                          {{-1, -1}, {-1, -1}}};
    ends->board_fd = scoreboard_file(ends->board_size);
    if (ends->board_fd < 0 || channel_pair(ends->channel) != 0 || lookout_pair(ends->lookout) != 0) {
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        if (catch_output) {
            if (pipe2(ends->out[i], O_CLOEXEC) != 0) {
                return -1;
            }
            fcntl(ends->out[i][0], F_SETFL, O_NONBLOCK);
        } else {
            ends->out[i][1] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
            if (ends->out[i][1] < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static struct process_guest *guests_of(const struct supervisor *s, const struct guests *guests)
{
    struct process_guest *list = xcalloc(guests->count ? guests->count : 1, sizeof(*list));
    for (uint32_t i = 0; i < guests->count; i++) {
        const struct guest_place *place = &guests->places[i];
        list[i] =
            (struct process_guest){.conf = member_find(s, place->name)->conf, .access_log_fd = place->log[1]};
    }
    return list;
}

static _Noreturn void run_process(struct member *m, const struct generation *g, const struct ends *ends,
                                  const struct guests *guests, int warm_fd)
{
    struct supervisor *s = m->supervisor;
    struct process_args args = {
        .config = s->config,
        .cli = s->cli,
        .pool = m->conf,
        .identity = &m->identity,
        .listeners = s->listeners,
        .board_fd = ends->board_fd,
        .board_size = ends->board_size,
        .lookout = ends->lookout[1],
        .keys = &m->keys,
        .generation = g->number,
        .standin = g->standin,
        .why = g->seat->last_failure,
        .channel = ends->channel[1],
        .warm_fd = warm_fd >= 0 ? warm_fd : m->warm_fd,
        .sleeps = member_may_sleep(m),
        .awaited = g->awaited,
        .replaces = seat_serving(g->seat) != NULL,
        .failed = g->seat->failures > 0,
        .task_notes_fd = m->task_notes_fd,
        .journal_fd = ends->journal[1],
        .log_fds = {ends->logs[LOG_FILE_ACCESS][1], ends->logs[LOG_FILE_SLOW][1]},
        .guests = guests_of(s, guests),
        .guest_count = guests->count,
        .stdout_fd = ends->out[OUTPUT_STDOUT][1],
        .stderr_fd = ends->out[OUTPUT_STDERR][1],
        .drain_ms = (unsigned)(s->drain_us / 1000),
    };
    members_forget_keys(s, m);
    keeping_forget(s, m);
    process_main(&args);
}

static int hook_launch(struct seat *seat, struct generation *g, int warm_fd)
{
    struct member *m = seat->owner;
    struct ends ends;
    struct guests guests;
    pid_t pid = -1;
    guests_find(&guests, m->supervisor->config, m->conf);
    if (open_ends(&ends, m->conf, guests.count) == 0 && open_logs(&ends, m) == 0 &&
        guests_open_logs(&guests, m->supervisor) == 0) {
        pid = fork();
    }
    if (pid == 0) {
        run_process(m, g, &ends, &guests, warm_fd);
    }
    if (pid < 0) {
        log_sys(LEVEL_ERROR, "[pool %s] no engine process could be made", m->name);
    }
    close_ends(&ends, 1);
    guests_close_theirs(&guests);
    closer_drop(warm_fd);
    if (pid < 0) {
        close_ends(&ends, 0);
        child_close_fd(&ends.board_fd);
        guests_free(&guests);
        return -1;
    }
    struct child *child = child_add(m, g, pid);
    child->channel = ends.channel[0];
    child->lookout = ends.lookout[0];
    child->board_fd = ends.board_fd;
    child->board_size = ends.board_size;
    child->guests = guests;
    talker_add(child, OUTPUT_STDOUT, 0, ends.out[OUTPUT_STDOUT][0]);
    talker_add(child, OUTPUT_STDERR, 0, ends.out[OUTPUT_STDERR][0]);
    child->journal_fd = ends.journal[0];
    for (int i = 0; i < LOG_FILES; i++) {
        child->log_pipes[i] = ends.logs[i][0];
    }
    child_start_scribes(child);
    if (m->supervisor->phase >= PHASE_LEAVING) {
        child_tell(child, m->supervisor->phase == PHASE_LEAVING ? CHANNEL_LEAVE : CHANNEL_FINISH, 0);
    }
    log_write(m->supervisor->phase == PHASE_LAUNCHING || g->awaited ? LEVEL_DEBUG : LEVEL_NOTICE, __func__,
              __LINE__, "[pool %s] child %d started", m->name, (int)pid);
    return 0;
}

/* -- the other hooks -- */

static void send_simple(struct generation *g, enum channel_type type, int64_t number)
{
    child_tell(g->process, type, number);
}

static void hook_forget_cache(struct generation *g)
{
    send_simple(g, CHANNEL_FORGET, 0);
}

static void hook_ask_warm_list(struct generation *g)
{
    send_simple(g, CHANNEL_WANT_WARM_LIST, 0);
}

static void hook_serve(struct generation *g)
{
    send_simple(g, CHANNEL_SERVE, 0);
}

static bool hook_starves(struct generation *g)
{
    return g->process && pulse_starves(g->process, clock_us());
}

static void hook_drain(struct generation *g, unsigned ms)
{
    if (g->process) {
        pulse_look(g->process, clock_us());
    }
    send_simple(g, CHANNEL_DRAIN, ms);
}

static void hook_stop(struct generation *g)
{
    send_simple(g, CHANNEL_STOP, 0);
}

static void hook_kill(struct generation *g)
{
    kill(g->pid, SIGKILL);
}

static void hook_forget(struct generation *g)
{
    if (g->process) {
        child_close(g->process);
        g->process = NULL;
    }
}

static void hook_changed(struct seat *seat)
{
    struct member *m = seat->owner;
    uint64_t swaps = 0;
    for (int i = 0; i < m->seat_count; i++) {
        swaps += m->seats[i].swaps;
    }
    m->past.sum.totals[TOTAL_SWAPS] += swaps - m->swaps;
    m->swaps = swaps;
}

static bool hook_others_serve(const struct seat *seat)
{
    const struct member *m = seat->owner;
    for (int i = 0; i < m->seat_count; i++) {
        const struct generation *g = seat_serving(&m->seats[i]);
        if (&m->seats[i] != seat && g && !g->standin) {
            return true;
        }
    }
    return false;
}

const struct generation_hooks launch_hooks = {
    .launch = hook_launch,
    .ask_warm_list = hook_ask_warm_list,
    .forget_cache = hook_forget_cache,
    .serve = hook_serve,
    .drain = hook_drain,
    .stop = hook_stop,
    .kill = hook_kill,
    .forget = hook_forget,
    .changed = hook_changed,
    .others_serve = hook_others_serve,
    .starves = hook_starves,
};

/* -- what it says -- */

/* Its successor; for a seat that is not there any more, another one of the pool. */
static struct generation *heir(const struct generation *from)
{
    const struct member *m = from->seat->owner;
    struct generation *to = seat_serving(from->seat);
    m = member_find(m->supervisor, m->name);
    for (int i = 0; m && i < m->seat_count && (!to || to == from); i++) {
        to = seat_serving(&m->seats[i]);
    }
    return to == from ? NULL : to;
}

/* From a process that drains to one that serves. Without one the connection ends here. */
static void pass_on(const struct generation *from, const struct channel_message *m)
{
    struct generation *to = heir(from);
    struct child *child = to ? to->process : NULL;
    if (!child || child->channel < 0 || m->fd_count != 1) {
        return;
    }
    if (child_send(child, CHANNEL_ADOPT, m->number, m->text, m->fds, 1) != 0) {
        log_warning("[pool %s] an idle connection could not be handed over", child->member->name);
    }
}

/* The process runs as another user, perhaps as an intruder: its texts must not make lines of their own. */
static const char *one_line(struct channel_message *m)
{
    for (size_t i = 0; i < m->text_n; i++) {
        if ((unsigned char)m->text[i] < ' ' || m->text[i] == 0x7f) {
            m->text[i] = ' ';
        }
    }
    return m->text;
}

/* We keep it for a while, and have to let it go at once when we execute ourselves. */
static void take_list(struct child *child, struct channel_message *m, uint64_t now)
{
    struct generation *g = child->generation;
    int fd = m->fd_count > 0 && closer_is_memory(m->fds[0]) ? m->fds[0] : -1;
    if ((rest_list(child, fd) || seat_warm_list(g->seat, g, fd, now)) && fd >= 0) {
        m->fds[0] = m->fds[--m->fd_count];
    }
}

static void obey(struct child *child, struct channel_message *m)
{
    struct generation *g = child->generation;
    uint64_t now = clock_us();
    pulse_heard(child);
    switch (m->type) {
    case CHANNEL_READY: seat_ready(g, now); break;
    case CHANNEL_DRAINING: seat_heard(g, now); break;
    case CHANNEL_FAILED: seat_failed(g, one_line(m)); break;
    case CHANNEL_SWAP: seat_asked(g, one_line(m), (enum swap_kind)m->number, now); break;
    case CHANNEL_LOST: seat_lost(g, one_line(m), now); break;
    case CHANNEL_HAND_OVER: pass_on(g, m); break;
    case CHANNEL_CRASH:
        report_crash(child->member->supervisor, child->member, child->pid, m->text);
        if (m->number == SIGSEGV || m->number == SIGBUS) {
            report_fault(child->member->supervisor);
        }
        break;
    case CHANNEL_WARM_LIST: take_list(child, m, now); break;
    case CHANNEL_RESTS: rest_heard(child, m->number > 0 ? (uint64_t)m->number : 0); break;
    case CHANNEL_STIRS: rest_is_over(child); break;
    default: break;
    }
    channel_dispose_fds(m, closer_drop_all);
}

static void hear(struct child *child, int rounds)
{
    static struct channel_message message; /* one thread; too large for a comfortable stack */
    int rc = 0;
    for (int i = 0; i < rounds && (rc = channel_receive(child->channel, &message, closer_drop_all)) > 0;
         i++) {
        obey(child, &message);
    }
    if (rc < 0) {
        closer_end_socket(&child->channel); /* its exit follows, or its deadline ends it */
    }
}

void child_hear(struct child *child)
{
    hear(child, PIPE_ROUNDS);
}

void child_read_journal(struct child *child)
{
    if (child->journal_fd >= 0 &&
        (!child->journal || !journal_read(child->journal, child->journal_fd, PIPE_ROUNDS))) {
        child_close_fd(&child->journal_fd);
    }
}

void child_start_scribes(struct child *child)
{
    for (int i = 0; i < LOG_FILES; i++) {
        int target = child->member->log_fds[i];
        if (child->log_pipes[i] >= 0 && target >= 0) {
            child->scribes[i] = scribe_start(child->log_pipes[i], target);
        }
    }
    guests_start_scribes(&child->guests, child->member->supervisor);
}

/* -- its end -- */

static const char *signal_name(int number)
{
    const char *name = sigabbrev_np(number);
    return name ? name : "?";
}

static void describe(int status, char *out, size_t size)
{
    if (WIFEXITED(status)) {
        snprintf(out, size, "with code %d", WEXITSTATUS(status));
    } else {
        snprintf(out, size, "on signal %d (SIG%s%s)", WTERMSIG(status), signal_name(WTERMSIG(status)),
                 WCOREDUMP(status) ? " - core dumped" : "");
    }
}

static void log_exit(const struct child *child, const struct generation *g, int status, const char *how)
{
    uint64_t lived = clock_us() - child->started_us;
    bool expected =
        g->state == GENERATION_DRAINING && !g->killed && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    enum log_level level = expected                                        ? LEVEL_DEBUG
                           : WIFEXITED(status) && WEXITSTATUS(status) == 0 ? LEVEL_NOTICE
                                                                           : LEVEL_WARNING;
    if (child->member->supervisor->phase >= PHASE_FINISHING) {
        level = LEVEL_DEBUG;
    }
    log_write(level, __func__, __LINE__, "[pool %s] child %d exited %s after %llu.%06llu seconds from start",
              child->member->name, (int)child->pid, how, (unsigned long long)(lived / CLOCK_US_PER_SECOND),
              (unsigned long long)(lived % CLOCK_US_PER_SECOND));
}

void child_reap(struct supervisor *s, pid_t pid, int status)
{
    struct child *child = s->children;
    while (child && child->pid != pid) {
        child = child->next;
    }
    if (!child) {
        log_debug("unknown child (%d) ended", (int)pid);
        return;
    }
    char how[64];
    struct generation *g = child->generation;
    describe(status, how, sizeof(how));
    child_read_journal(child);
    if (child->channel >= 0) {
        hear(child,
             LAST_ROUNDS); /* its last words: why it failed, a crash report, connections to hand over */
    }
    log_exit(child, g, status, how);
    boards_keep(child);
    bool fault =
        WIFSIGNALED(status) && !g->killed && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
    seat_exited(g, how, clock_us());
    if (fault) {
        report_fault(s);
    }
}
