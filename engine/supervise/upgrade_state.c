/* What one image of the supervisor leaves to the next, in a memory file (inherited.c): a line about each
 * process, its logs, what the pools have counted, their keys. Written by the old image, read by the new one,
 * which may be another version: TEST_ANSWER of upgrade.c changes with these lines. Supervisor's thread. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/pool_keys.h"
#include "engine/supervise/state.h"

#define STATE_STANDIN 16 /* beside a generation's state */

/* -- taking over -- */

/* A file of a pool that is not there any more. */
static void drop_file(struct supervisor *s, const char *pool, int fd)
{
    const struct member *m = member_find(s, pool);
    if (!m || !m->conf) {
        close(inherited_fd(fd));
    }
}

/* A line about one process. */
struct child_line {
    int pid, seat, state, channel, lookout, out, err, board, journal;
    int pipes[LOG_FILES], files[LOG_FILES];
    unsigned number, slots, blocks;
    unsigned long long deadline, started;
    char layout[VIEW_LAYOUT_MAX]; /* of its board */
    const char *pool;
};

static bool read_line(const char *line, struct child_line *out)
{
    int name_at = 0;
    int found = sscanf(line, "%d %u %d %d %d %d %d %d %d %d %d %d %d %d %u %u %63s %llu %llu %n", &out->pid,
                       &out->number, &out->seat, &out->state, &out->channel, &out->lookout, &out->out,
                       &out->err, &out->board, &out->journal, &out->pipes[LOG_FILE_ACCESS],
                       &out->pipes[LOG_FILE_SLOW], &out->files[LOG_FILE_ACCESS], &out->files[LOG_FILE_SLOW],
                       &out->slots, &out->blocks, out->layout, &out->deadline, &out->started, &name_at);
    out->pool = line + name_at;
    return found == 19 && name_at > 0 && out->pid > 0 && (out->state & ~STATE_STANDIN) <= GENERATION_DRAINING;
}

/* A pool that is not there any more goes on writing into the files that it had; others have new ones, also
 * for processes whose seat is gone. */
static void take_file(struct member *m, enum log_file which, int file)
{
    const struct member *home = member_find(m->supervisor, m->name);
    if (home->conf) {
        m->log_fds[which] = home->log_fds[which];
    } else if (m->log_fds[which] < 0) {
        m->log_fds[which] = file;
    }
    if (home->conf && file >= 0) {
        close(file); /* other processes of the pool name it, too: then it is not there any more */
    }
}

static void take_logs(struct child *child, const struct child_line *line)
{
    child->journal_fd = inherited_fd(line->journal);
    for (int i = 0; i < LOG_FILES; i++) {
        child->log_pipes[i] = inherited_fd(line->pipes[i]);
        take_file(child->member, (enum log_file)i, inherited_fd(line->files[i]));
    }
    child_start_scribes(child);
}

static void take_descriptors(struct child *child, const struct child_line *line)
{
    child->channel = inherited_fd(line->channel);
    child->lookout = inherited_fd(line->lookout);
    talker_add(child, OUTPUT_STDOUT, 0, inherited_fd(line->out));
    talker_add(child, OUTPUT_STDERR, 0, inherited_fd(line->err));
    child->board_fd = inherited_fd(line->board);
    child->board_size = (struct scoreboard_size){.slots = line->slots, .blocks = line->blocks};
    if (child->board_fd >= 0 && strcmp(line->layout, view_layout()) != 0) {
        close(child->board_fd);
        child->board_fd = -1;
    }
}

static void adopt(struct supervisor *s, const char *text)
{
    struct child_line line;
    if (!read_line(text, &line)) {
        log_warning("a line of the inherited state is not understood: %s", text);
        return;
    }
    struct member *m = member_find(s, line.pool);
    if (!m || !m->conf || line.seat < 0 || line.seat >= m->seat_count) {
        m = member_add_orphanage(s, line.pool, &launch_hooks);
        line.seat = 0;
    }
    struct generation *g =
        seat_adopt(&m->seats[line.seat], line.number, (enum generation_state)(line.state & ~STATE_STANDIN),
                   line.pid, line.deadline, clock_us());
    g->standin = (line.state & STATE_STANDIN) != 0;
    g->adopted = true;
    struct child *child = child_add(m, g, line.pid);
    take_descriptors(child, &line);
    take_logs(child, &line);
    child->started_us = line.started;
    s->adopted = true;
    log_debug("[pool %s] child %d of generation %u goes on", m->name, line.pid, line.number);
}

/* "guest PID PIPE FILE NAME", behind the line of that process. False: another kind of line. */
static bool adopt_guest(struct supervisor *s, const char *line)
{
    int pid, log_pipe, file, name_at = 0;
    if (sscanf(line, "guest %d %d %d %n", &pid, &log_pipe, &file, &name_at) != 3 || name_at == 0) {
        return false;
    }
    const char *name = line + name_at;
    struct member *m = member_find(s, name);
    m = m ? m : member_add_orphanage(s, name, &launch_hooks);
    take_file(m, LOG_FILE_ACCESS, inherited_fd(file));
    for (struct child *c = s->children; c; c = c->next) {
        if (c->pid == pid) {
            guests_add(&c->guests, name, inherited_fd(log_pipe));
            guests_start_scribes(&c->guests, s);
            c->board_size.guests = c->guests.count;
        }
    }
    return true;
}

/* "talker PID PIPE STREAM WORKER [REQUEST]", behind the line of that process. False: another kind of line. */
static bool adopt_talker(const struct supervisor *s, const char *line)
{
    int pid, fd, stream, worker;
    char request[128] = "";
    if (sscanf(line, "talker %d %d %d %d %127s", &pid, &fd, &stream, &worker, request) < 4) {
        return false;
    }
    fd = inherited_fd(fd);
    for (struct child *c = s->children; c; c = c->next) {
        if (c->pid == pid) {
            struct talker *t =
                talker_add(c, stream == OUTPUT_STDOUT ? OUTPUT_STDOUT : OUTPUT_STDERR, worker, fd);
            if (t) {
                output_pipe_set_request(t->pipe, request);
            }
            return true;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return true;
}

void upgrade_adopt(struct supervisor *s)
{
    FILE *file = inherited_open();
    char *line = NULL;
    size_t size = 0;
    int fd;
    while (inherited_line(file, &line, &size)) {
        const char *pool = inherited_file_line(line, &fd);
        if (pool) {
            drop_file(s, pool, fd);
        } else if (!inherited_keys_line(line) && !adopt_guest(s, line) && !adopt_talker(s, line)) {
            adopt(s, line);
        }
    }
    free(line);
    if (file) {
        fclose(file);
    }
    inherited_done();
}

/* -- handing over -- */

static void let_through(int fd, bool through)
{
    if (fd >= 0) {
        fcntl(fd, F_SETFD, through ? 0 : FD_CLOEXEC);
    }
}

void upgrade_pass_children(const struct supervisor *s, bool through)
{
    for (const struct child *c = s->children; c; c = c->next) {
        let_through(c->channel, through);
        let_through(c->lookout, through);
        let_through(c->board_fd, through);
        for (const struct talker *t = c->talkers; t; t = t->next) {
            let_through(t->fd, through);
        }
        let_through(c->journal_fd, through);
        for (int i = 0; i < LOG_FILES; i++) {
            let_through(c->log_pipes[i], through);
            let_through(c->member->log_fds[i], through);
        }
        for (uint32_t i = 0; i < c->guests.count; i++) {
            let_through(c->guests.places[i].log[0], through);
            let_through(guests_file(&c->guests.places[i], s), through);
        }
    }
}

static bool write_guests(int fd, const struct child *c)
{
    bool good = true;
    for (uint32_t i = 0; i < c->guests.count && good; i++) {
        const struct guest_place *place = &c->guests.places[i];
        good = dprintf(fd, "guest %d %d %d %s\n", (int)c->pid, place->log[0],
                       guests_file(place, c->member->supervisor), place->name) > 0;
    }
    return good;
}

static bool write_talkers(int fd, const struct child *c)
{
    bool good = true;
    for (const struct talker *t = c->talkers; t && good; t = t->next) {
        good = t->worker == 0 || dprintf(fd, "talker %d %d %d %d %s\n", (int)c->pid, t->fd, (int)t->stream,
                                         (int)t->worker, output_pipe_request(t->pipe)) > 0;
    }
    return good;
}

static bool write_child(int fd, const struct child *c)
{
    const struct generation *g = c->generation;
    int state = (int)g->state | (g->standin ? STATE_STANDIN : 0);
    /* the new image does not know which drain it is that gets confirmed: it has its whole time */
    uint64_t deadline = g->drain_us > 0 ? clock_us() + g->drain_us : g->deadline_us;
    return dprintf(fd, "%d %u %d %d %d %d %d %d %d %d %d %d %d %d %u %u %s %llu %llu %s\n", (int)c->pid,
                   g->number, g->seat->index, state, c->channel, c->lookout, talker_fd(c, OUTPUT_STDOUT),
                   talker_fd(c, OUTPUT_STDERR), c->board_fd, c->journal_fd, c->log_pipes[LOG_FILE_ACCESS],
                   c->log_pipes[LOG_FILE_SLOW], c->member->log_fds[LOG_FILE_ACCESS],
                   c->member->log_fds[LOG_FILE_SLOW], c->board_size.slots, c->board_size.blocks,
                   view_layout(), (unsigned long long)deadline, (unsigned long long)c->started_us,
                   c->member->name) > 0 &&
           write_guests(fd, c) && write_talkers(fd, c);
}

/* What the pool has counted without the boards of those that live; the next image gets these for itself. */
static bool write_counters(int fd, struct member *m)
{
    struct view *view = view_create(1);
    if (view) {
        view_add_pool(view, &m->past);
    }
    m->counters_fd = view ? view_save(view) : -1;
    view_free(view);
    if (m->counters_fd < 0) {
        return false;
    }
    let_through(m->counters_fd, true);
    return inherited_write_counters(fd, m->counters_fd, m->name);
}

static bool write_task_notes(int fd, const struct member *m)
{
    let_through(m->task_notes_fd, true);
    return m->task_notes_fd < 0 || inherited_write_task_notes(fd, m->task_notes_fd, m->name);
}

/* Without it the next image has no past, and nothing else is amiss. */
static bool write_story(int fd, struct member *m)
{
    m->story_fd = m->story ? story_save(m->story) : -1;
    if (m->story_fd >= 0) {
        keeping_save(m, m->story_fd);
    }
    let_through(m->story_fd, true);
    return m->story_fd < 0 || inherited_write_story(fd, m->story_fd, m->name);
}

static bool write_keys(int fd, const struct supervisor *s, const struct member *m)
{
    char text[POOL_KEYS_TEXT];
    pool_keys_write(&m->keys, text);
    bool good = inherited_write_keys(fd, s->keys_us, text, m->name);
    explicit_bzero(text, sizeof(text));
    return good;
}

void upgrade_take_files_back(struct supervisor *s)
{
    for (struct member *m = s->members; m; m = m->next) {
        let_through(m->task_notes_fd, false);
        if (m->counters_fd >= 0) {
            close(m->counters_fd);
            m->counters_fd = -1;
        }
        child_close_fd(&m->story_fd);
    }
}

static bool write_lines(int fd, struct supervisor *s)
{
    bool good = true;
    for (const struct child *c = s->children; c && good; c = c->next) {
        good = write_child(fd, c);
    }
    for (struct member *m = s->members; m && good; m = m->next) {
        good = !m->conf || (write_counters(fd, m) && write_task_notes(fd, m) && write_story(fd, m) &&
                            write_keys(fd, s, m));
    }
    return good;
}

int upgrade_write_state(struct supervisor *s)
{
    int fd = memfd_create("state", 0);
    if (fd < 0 || !write_lines(fd, s)) {
        close(fd);
        return -1;
    }
    inherited_leave(fd);
    return fd;
}
