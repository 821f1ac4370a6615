/* The control socket. The protocol is one line of words in, lines of text out, the end of the connection is
 * the end of the answer; a first line "error: ..." means that nothing was done. Supervisor's thread; a client
 * has a few seconds to say its line and to take its answer, and there are at most CLIENTS_MAX of them. The
 * socket is of mode 0600 and made before any other user's process exists. */
#include "engine/supervise/control.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/carried.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/settings_mask.h"
#include "engine/base/sock.h"
#include "engine/base/str.h"
#include "engine/supervise/control_path.h"
#include "engine/supervise/state.h"
#include "engine/telemetry/server_page.h"
#include "engine/work/profile.h"

#define CLIENTS_MAX  16
#define CLIENT_US    (5 * CLOCK_US_PER_SECOND)
#define ANSWER_MAX   (4u << 20)
#define COMMAND_SIZE 256

struct control_client {
    int fd;
    uint64_t deadline_us;
    char command[COMMAND_SIZE];
    size_t command_n;
    struct control_client *next;
};

struct control_client *control_client_next(const struct control_client *client)
{
    return client->next;
}

int control_client_fd(const struct control_client *client)
{
    return client->fd;
}

/* -- commands -- */

/* The rest of a seat's line. */
static void answer_trouble(const struct seat *seat, uint64_t now, struct buf *out)
{
    if (seat->crash_loop) {
        buf_text(out, " crash-loop");
    }
    if (seat->start_at_us > now) {
        buf_printf(out, " next-start=%llums", (unsigned long long)((seat->start_at_us - now) / 1000));
    }
    if (seat->crash_loop || seat->failures > 0) {
        buf_printf(out, " failures=%u reason=\"%s\"", seat->failures, seat->last_failure);
    }
    buf_text(out, "\n");
}

/* Worker scripts: what they do now, and what has become of them since the server counts. */
static void answer_scripts(const struct view *view, const struct pool_view *pool, struct buf *out)
{
    const uint64_t *totals = pool->sum.totals;
    uint64_t memory = 0;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker_row *row = &view->workers[pool->first_worker + i];
        memory = row->script_memory > memory && !row->draining ? row->script_memory : memory;
    }
    buf_text(out, "  worker script");
    for (int i = SCRIPT_STATE_BOOTING; i < SCRIPT_STATES; i++) {
        buf_printf(out, " %s=%u", script_state_name((enum script_phase)i), pool->script_states[i]);
    }
    buf_printf(
        out, " queue=%u memory-most=%llu boots=%llu boot-time=%llums boot-failures=%llu", pool->script_queue,
        (unsigned long long)memory, (unsigned long long)totals[TOTAL_BOOTS],
        (unsigned long long)(totals[TOTAL_BOOTS] ? totals[TOTAL_BOOT_US] / totals[TOTAL_BOOTS] / 1000 : 0),
        (unsigned long long)totals[TOTAL_BOOT_FAILURES]);
    for (int i = 0; i < RESTART_REASONS; i++) {
        if (totals[TOTAL_RESTARTS + i]) {
            buf_printf(out, " restarts-%s=%llu", restart_reason_name((enum restart_reason)i),
                       (unsigned long long)totals[TOTAL_RESTARTS + i]);
        }
    }
    buf_text(out, "\n");
}

static const char *const phases[] = {"launching", "running",   "testing a new configuration",
                                     "draining",  "finishing", "terminating"};

static void answer_status(const struct supervisor *s, struct buf *out)
{
    uint64_t now = clock_us();
    buf_printf(out, "supervisor pid=%d state=\"%s\" uptime=%llu\n", (int)getpid(), phases[s->phase],
               (unsigned long long)((now - s->started_us) / CLOCK_US_PER_SECOND));
    for (const struct member *m = s->members; m; m = m->next) {
        struct view *view = boards_view(s, m);
        const struct pool_view *pool = view && view->pool_count > 0 ? view->pools : &m->past;
        buf_printf(out, "pool %s workers=%u active=%u idle=%u requests=%llu crashes=%llu\n", m->name,
                   pool->idle + pool->active, pool->active, pool->idle, (unsigned long long)pool->accepted,
                   (unsigned long long)pool->sum.totals[TOTAL_CRASHES]);
        if (pool->has_script && view) {
            answer_scripts(view, pool, out);
        }
        view_free(view);
        for (int i = 0; i < m->seat_count; i++) {
            const struct seat *seat = &m->seats[i];
            buf_printf(out, "  seat %d swaps=%llu%s", i, (unsigned long long)seat->swaps,
                       seat->asleep ? " asleep" : "");
            answer_trouble(seat, now, out);
            for (const struct generation *g = seat->generations; g; g = g->next) {
                bool silent = g->process && pulse_silent_us(g->process, now) > 0;
                buf_printf(out, "    process pid=%d generation=%u state=%s%s%s age=%llu\n", (int)g->pid,
                           g->number, generation_state_name(g->state), g->standin ? " stand-in" : "",
                           silent ? " silent" : "",
                           (unsigned long long)((now - g->launched_us) / CLOCK_US_PER_SECOND));
            }
        }
    }
}

static bool member_serves(const struct member *m)
{
    for (int i = 0; i < m->seat_count; i++) {
        for (const struct generation *g = m->seats[i].generations; g; g = g->next) {
            if (g->state == GENERATION_READY && !g->standin) {
                return true;
            }
        }
    }
    return member_sleeps(m); /* the next connection starts it */
}

/* For a container's or a load balancer's check: whether a request to any pool would be answered by PHP. */
static void answer_health(const struct supervisor *s, struct buf *out)
{
    if (s->phase >= PHASE_LEAVING) {
        buf_printf(out, "error: the server is %s\n", phases[s->phase]);
        return;
    }
    for (const struct member *m = s->members; m; m = m->next) {
        if (m->conf && !member_serves(m)) {
            buf_printf(out, "error: pool %s has no process that serves\n", m->name);
            return;
        }
    }
    buf_text(out, "healthy\n");
}

static void answer_restart(struct supervisor *s, const char *name, struct buf *out)
{
    struct member *m = name ? member_find(s, name) : NULL;
    if (!m || !m->conf) {
        buf_printf(out, "error: there is no pool \"%s\"\n", name ? name : "");
        return;
    }
    for (int i = 0; i < m->seat_count; i++) {
        seat_swap(&m->seats[i], "asked for through the control socket", clock_us());
    }
    buf_printf(out, "pool %s: %s\n", m->name,
               member_sleeps(m) ? "it sleeps, and the next connection starts it anew"
                                : "a new generation is being started");
}

static void add_settings(const struct setting_table *table, const void *in, struct buf *out)
{
    char text[4096];
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        buf_printf(out, "%s = %s\n", row->name, settings_shown(row, in, text, sizeof(text)));
    }
}

static void answer_config(const struct supervisor *s, struct buf *out)
{
    buf_text(out, "[global]\n");
    add_settings(&engine_global_table, &s->config->global, out);
    for (const struct pool_conf *pool = s->config->pools; pool && !pool->tasks_of; pool = pool->next) {
        buf_printf(out, "\n[%s]\n", pool->name);
        add_settings(&engine_pool_table, &pool->s, out);
        for (size_t i = 0; frontends[i]; i++) {
            if (frontends[i]->pool_table) {
                add_settings(frontends[i]->pool_table, pool->frontend_settings[i], out);
            }
        }
    }
}

static void answer_top(const struct supervisor *s, struct buf *out)
{
    struct view *view = boards_view(s, NULL);
    if (view) {
        server_page_lines(view, out);
        story_lines(s, out);
    }
    view_free(view);
}

static void answer(struct supervisor *s, char *command, struct buf *out)
{
    char *rest = NULL;
    const char *verb = strtok_r(command, " \t\r\n", &rest);
    const char *argument = verb ? strtok_r(NULL, " \t\r\n", &rest) : NULL;
    if (!verb) {
        buf_text(out, "error: no command\n");
    } else if (strcmp(verb, "status") == 0) {
        answer_status(s, out);
    } else if (strcmp(verb, "health") == 0) {
        answer_health(s, out);
    } else if (strcmp(verb, "restart") == 0) {
        answer_restart(s, argument, out);
    } else if (strcmp(verb, "drain") == 0) {
        finish_politely(s);
        buf_text(
            out,
            s->phase == PHASE_LEAVING
                ? "draining; connections are still taken, and then the server ends when everything is done\n"
                : "draining; the server ends when everything is done\n");
    } else if (strcmp(verb, "reload") == 0) {
        upgrade_begin(s);
        buf_text(out, s->reload_wanted            ? "a reload is under way; one more follows it\n"
                      : s->phase == PHASE_TESTING ? "the new configuration is being tested\n"
                                                  : "error: not now\n");
    } else if (strcmp(verb, "reopen") == 0) {
        members_reopen_logs(s);
        buf_text(out, "logs re-opened\n");
    } else if (strcmp(verb, "top") == 0) {
        answer_top(s, out);
    } else if (strcmp(verb, "config") == 0) {
        answer_config(s, out);
    } else {
        buf_printf(out,
                   "error: \"%s\" is none of: status, health, restart POOL, drain, reload, reopen, profile, "
                   "config\n",
                   verb);
    }
}

/* -- the server -- */

static void drop(struct supervisor *s, struct control_client *client)
{
    struct control_client **link = &s->clients;
    while (*link != client) {
        link = &(*link)->next;
    }
    *link = client->next;
    close(client->fd);
    free(client);
}

/* What a killed server left behind is taken away; another server's socket, or a file that is none, is not. */
static int make_room(const char *path, enum log_level level)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return 0;
    }
    if (!S_ISSOCK(st.st_mode)) {
        log_write(level, __func__, __LINE__, "control_socket: %s is there, and is no socket", path);
        return -1;
    }
    int fd = sock_dial(path, SOCK_NONBLOCK);
    if (fd >= 0 || errno == EAGAIN) {
        log_write(level, __func__, __LINE__, "control_socket: another server answers at %s", path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    unlink(path);
    return 0;
}

static int listen_at(struct supervisor *s, const char *path, enum log_level level)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        log_write(level, __func__, __LINE__, "control_socket: the path is too long (%s)", path);
        return -1;
    }
    if (make_room(path, level) != 0) {
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    mode_t mask = umask(0177);
    s->control_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool good = s->control_fd >= 0 &&
                bind(s->control_fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                listen(s->control_fd, CLIENTS_MAX) == 0;
    umask(mask);
    if (!good) {
        log_sys(level, "control_socket: %s cannot be opened", path);
        if (s->control_fd >= 0) {
            close(s->control_fd);
            s->control_fd = -1;
        }
        return -1;
    }
    s->control_path = xstrdup(path);
    return 0;
}

/* A server that nobody gave a socket does without one where its usual place is taken, or is not to be had: it
 * is one more server of this user's, or a file system that is read only. */
static void listen_at_default(struct supervisor *s)
{
    char path[PATH_MAX];
    enum log_level level =
        s->cli->as_php_fpm ? LEVEL_DEBUG : LEVEL_NOTICE; /* php-fpm's log has no such line */
    if (control_default_path(path, sizeof(path)) != 0) {
        return;
    }
    if (control_make_folder(path) != 0) {
        log_sys(level, "control_socket: there is none, the folder of %s cannot be used", path);
        return;
    }
    listen_at(s, path, level);
}

int control_open(struct supervisor *s)
{
    const char *path = s->config->global.control_socket;
    if (!path) {
        listen_at_default(s);
        return 0;
    }
    control_make_usual_folder(path);
    return *path ? listen_at(s, path, LEVEL_ERROR) : 0;
}

void control_accept(struct supervisor *s)
{
    int fd = accept4(s->control_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    size_t count = 0;
    for (struct control_client *c = s->clients; c; c = c->next) {
        count++;
    }
    struct control_client *client = fd >= 0 && count < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
    if (!client) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    client->fd = fd;
    client->deadline_us = clock_us() + CLIENT_US;
    client->next = s->clients;
    s->clients = client;
}

/* "profile SECONDS HZ [POOL]": a line, and the pipe that the profile comes through. True: it was asked for.
 * "profile SECONDS last [POOL]": the same with a file of what is kept. */
static bool give_profile(struct supervisor *s, const struct control_client *client)
{
    unsigned seconds, hz;
    char pool[VIEW_NAME_MAX] = "", line[] = "profiling\n";
    int found = sscanf(client->command, "profile %u %u %127s", &seconds, &hz, pool);
    if (found == 1 && sscanf(client->command, "profile %u last %127s", &seconds, pool) >= 1 &&
        strstr(client->command, " last")) {
        hz = 0;
    } else if (found < 2 || hz == 0) {
        return false;
    }
    int fd = profiling_begin(s, pool, seconds, hz);
    if (fd < 0) {
        return false;
    }
    union carried room;
    struct iovec part = {line, sizeof(line) - 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    carried_put(&message, &room, &fd, 1);
    bool sent = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
    close(fd);
    return sent;
}

/* The answer leaves in one go: the socket buffer is made large enough, and a client that does not read loses
 * the rest. */
static void reply(struct supervisor *s, struct control_client *client)
{
    struct buf out = {.limit = ANSWER_MAX};
    int room = (int)ANSWER_MAX;
    setsockopt(client->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    if (strncmp(client->command, "profile", 7) != 0) {
        answer(s, client->command, &out);
    } else if (!give_profile(s, client)) {
        buf_printf(
            &out,
            "error: no pool of that name serves, or these are no numbers for a profile: 1 to %u seconds, "
            "1 to %u Hz\n",
            PROFILE_SECONDS_MAX, PROFILE_HZ_MAX);
    }
    size_t done = 0;
    while (!out.failed && done < out.n) {
        ssize_t n = send(client->fd, out.p + done, out.n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    buf_free(&out);
    client->deadline_us = 1; /* the next tick drops it */
}

void control_read(struct supervisor *s, struct control_client *client)
{
    size_t room = sizeof(client->command) - 1 - client->command_n;
    ssize_t n = recv(client->fd, client->command + client->command_n, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        client->command_n += (size_t)n;
        client->command[client->command_n] = '\0';
    }
    if (n <= 0 || strchr(client->command, '\n') || client->command_n == sizeof(client->command) - 1) {
        reply(s, client);
    }
}

void control_tick(struct supervisor *s, uint64_t now)
{
    for (struct control_client *c = s->clients, *next; c; c = next) {
        next = c->next;
        if (now >= c->deadline_us) {
            drop(s, c);
        }
    }
}

uint64_t control_next_us(const struct supervisor *s)
{
    uint64_t next = 0;
    for (const struct control_client *c = s->clients; c; c = c->next) {
        next = next == 0 || c->deadline_us < next ? c->deadline_us : next;
    }
    return next;
}

void control_close(struct supervisor *s)
{
    while (s->clients) {
        drop(s, s->clients);
    }
    if (s->control_fd >= 0) {
        close(s->control_fd);
        s->control_fd = -1;
        unlink(s->control_path);
        free(s->control_path);
        s->control_path = NULL;
    }
}
