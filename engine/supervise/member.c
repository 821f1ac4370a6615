/* The pools as the supervisor keeps them: their log files, identities, counters, sockets and seats.
 * Supervisor's thread; a member lives as long as the process.
 *
 * At a first start whatever cannot be had stops the start. After a reload nothing may: the processes of the
 * earlier image serve, and would end with us. So what fails then is said, and its pool does without it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/logs.h"
#include "engine/supervise/process.h"
#include "engine/supervise/sockets.h"
#include "engine/supervise/state.h"
#include "engine/work/task_notes.h"

struct member *member_find(const struct supervisor *s, const char *name)
{
    struct member *m = s->members;
    while (m && strcmp(m->name, name) != 0) {
        m = m->next;
    }
    return m;
}

static int open_log(const struct member *m, const char *path, const char *complaint, int *fd)
{
    *fd = logs_open_file(path, !inherited());
    if (*fd < 0) {
        log_sys(LEVEL_ERROR, "[pool %s] %s (%s)", m->name, complaint, path);
        return inherited() ? 0 : -1;
    }
    return 0;
}

static int open_logs(struct member *m)
{
    const struct pool_settings *p = &m->conf->s;
    if (p->access_log && *p->access_log &&
        open_log(m, p->access_log, "failed to open access log", &m->log_fds[LOG_FILE_ACCESS]) != 0) {
        return -1;
    }
    if (p->slowlog && *p->slowlog && p->request_slowlog_timeout > 0) {
        return open_log(m, p->slowlog, "unable to open slowlog", &m->log_fds[LOG_FILE_SLOW]);
    }
    return 0;
}

/* At the list's end; name is kept. */
static struct member *add_seats(struct supervisor *s, char *name, int seat_count,
                                const struct generation_hooks *hooks)
{
    struct member *m = xcalloc(1, sizeof(*m)), **link = &s->members;
    struct generation_limits limits = generation_default_limits;
    limits.drain_us = s->drain_us;
    m->supervisor = s;
    m->name = name;
    m->counters_fd = m->story_fd = m->log_fds[LOG_FILE_ACCESS] = m->log_fds[LOG_FILE_SLOW] = -1;
    m->task_notes_fd = m->warm_fd = -1;
    m->seat_count = seat_count;
    m->seats = xcalloc((size_t)seat_count, sizeof(*m->seats));
    for (int i = 0; i < seat_count; i++) {
        seat_init(&m->seats[i], m->name, i, hooks, &limits, clock_us());
        m->seats[i].owner = m;
    }
    while (*link) {
        link = &(*link)->next;
    }
    *link = m;
    return m;
}

int members_add(struct supervisor *s, const struct generation_hooks *hooks)
{
    for (const struct pool_conf *conf = s->config->pools; conf; conf = conf->next) {
        struct member *m =
            add_seats(s, conf->name, conf->s.processes > 0 ? (int)conf->s.processes : 1, hooks);
        m->conf = conf;
        if (open_logs(m) != 0) {
            return -1;
        }
    }
    return 0;
}

struct member *member_add_orphanage(struct supervisor *s, const char *name,
                                    const struct generation_hooks *hooks)
{
    struct member *m = add_seats(s, xstrdup(name), 1, hooks);
    seat_fade(&m->seats[0]);
    return m;
}

/* A pool that cannot be had: at a first start an error, after a reload its processes serve on, without
 * successors. 0 or -1. */
static int close_member(struct member *m)
{
    if (!inherited()) {
        return -1;
    }
    if (!m->closed) {
        log_error("[pool %s] cannot be started: what served it before goes on, until the next reload",
                  m->name);
    }
    m->closed = true;
    for (int i = 0; i < m->seat_count; i++) {
        seat_fade(&m->seats[i]);
    }
    return 0;
}

/* Those of the metrics go on where an earlier image has left them; php-fpm's numbers begin anew. */
static void take_counters(struct member *m)
{
    int fd = inherited_counters(m->name);
    struct view *left = fd >= 0 ? view_load(fd) : NULL;
    pool_view_init(&m->past, m->conf);
    if (left && left->pool_count == 1) {
        m->past.sum = left->pools[0].sum;
        m->past.counting_since_wall_us = left->pools[0].counting_since_wall_us;
    } else if (fd >= 0) {
        log_notice("[pool %s] the counters of the metrics begin anew: %s", m->name,
                   errno == EPROTO ? "this program lays them out in another way" : strerror(errno));
    }
    view_free(left);
    if (fd >= 0) {
        close(fd);
    }
}

/* Its tasks do without if there are none. */
static void take_task_notes(struct member *m)
{
    if (m->conf->tasks_of) {
        m->task_notes_fd = inherited_task_notes(m->name);
        m->task_notes_fd = m->task_notes_fd >= 0 ? m->task_notes_fd : task_notes_file();
    }
}

static int prepare(struct member *m)
{
    struct supervisor *s = m->supervisor;
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->listeners && frontends[i]->listeners(m->conf, &s->listeners) != 0) {
            return -1;
        }
    }
    if (identity_resolve(m->conf, s->cli->allow_root, true, &m->identity) != 0) {
        return -1;
    }
    take_counters(m);
    take_task_notes(m);
    return 0;
}

int members_prepare(struct supervisor *s)
{
    members_make_keys(s);
    for (struct member *m = s->members; m; m = m->next) {
        if (prepare(m) != 0 && close_member(m) != 0) {
            return -1;
        }
    }
    return 0;
}

int members_listen(struct supervisor *s)
{
    bool complete = true;
    for (struct listener *l = s->listeners; l; l = l->next) {
        l->fd = -1;
    }
    for (struct member *m = s->members; m; m = m->next) {
        if (sockets_open(m->conf, s->listeners) != 0) {
            complete = false;
            if (close_member(m) != 0) {
                return -1;
            }
        }
    }
    if (complete) {
        sockets_close_unused();
    }
    return 0;
}

/* Another file takes the number of the old one: whoever writes at this moment writes to one or the other. */
static bool reopen(int fd, const char *path)
{
    int fresh = path ? logs_open_file(path, false) : -1;
    bool good = fresh >= 0 && dup3(fresh, fd, O_CLOEXEC) >= 0;
    if (!good) {
        log_sys(LEVEL_ERROR, "failed to open log (%s)", path ? path : "?");
    }
    if (fresh >= 0) {
        close(fresh);
    }
    return good;
}

void members_reopen_logs(struct supervisor *s)
{
    bool any_access = false;
    if (logs_reopen_error_log(&s->config->global)) {
        log_notice("error log file re-opened");
    }
    for (struct member *m = s->members; m; m = m->next) {
        const char *const paths[LOG_FILES] = {m->conf ? m->conf->s.access_log : NULL,
                                              m->conf ? m->conf->s.slowlog : NULL};
        for (int i = 0; m->conf && i < LOG_FILES; i++) {
            if (m->log_fds[i] >= 0 && reopen(m->log_fds[i], paths[i])) {
                any_access = any_access || i == LOG_FILE_ACCESS;
            }
        }
    }
    if (any_access) {
        log_notice("access log file re-opened");
    }
}
