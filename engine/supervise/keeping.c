/* The profile of the last hour: every process that has something to do is asked for one at a low rate, a few
 * seconds after a few seconds, and what it says is added to its pool's. One that rests is not asked, so an
 * idle server stays so. Supervisor's thread. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/profile_format.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/profile_hour.h"
#include "engine/supervise/state.h"

#define ROUND_MS   (10 * 1000)
#define BYTES_MAX  (4u << 20) /* of a round: nothing that a process of ours says has more */
#define PIECES     8          /* in one turn */
#define PIECE      65536
#define TEXT_BYTES (64u << 20)

/* -- asking -- */

static bool is_wanted(const struct child *c)
{
    const struct member *m = c->member;
    return m->conf && m->conf->s.keep_profile && m->story && c->kept_fd < 0 && c->channel >= 0 && !c->rests &&
           c->generation->state == GENERATION_READY && !c->generation->adopted && !c->generation->standin;
}

static void ask(struct child *c)
{
    int ends[2];
    int64_t number = (int64_t)((uint64_t)PROFILE_KEPT_HZ << 32 | ROUND_MS);
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return;
    }
    bool sent = channel_send(c->channel, CHANNEL_PROFILE, number, CHANNEL_QUIET, &ends[1], 1) == 0;
    close(ends[1]);
    if (sent) {
        c->kept_fd = ends[0];
        c->kept_us = clock_us();
    } else {
        close(ends[0]);
    }
}

void keeping_tick(struct supervisor *s)
{
    for (struct child *c = s->children; c; c = c->next) {
        if (is_wanted(c)) {
            ask(c);
        }
    }
}

/* -- what is said -- */

static void add(struct child *c)
{
    struct member *m = c->member;
    if (m->story && !m->hour) {
        m->hour = profile_hour_create();
    }
    if (m->hour && c->kept.n > 0 && !c->kept.failed) {
        profile_hour_add(m->hour, clock_wall_us() / CLOCK_US_PER_SECOND, (struct str){c->kept.p, c->kept.n});
    }
    buf_free(&c->kept);
}

void keeping_read(struct child *c)
{
    static char piece[PIECE]; /* one thread */
    ssize_t n = 1;
    c->kept.limit = BYTES_MAX;
    c->kept.wiped = true;
    for (int i = 0; i < PIECES && n > 0 && !c->kept.failed; i++) {
        n = read(c->kept_fd, piece, sizeof(piece));
        buf_add(&c->kept, piece, n > 0 ? (size_t)n : 0);
        explicit_bzero(piece, n > 0 ? (size_t)n : 0);
    }
    if (!c->kept.failed && (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))) {
        return;
    }
    bool lasted = clock_us() - c->kept_us > ROUND_MS / 2 * 1000; /* else it rests, and has said so */
    child_close_fd(&c->kept_fd);
    add(c);
    if (lasted && is_wanted(c)) {
        ask(c);
    }
}

/* What it has said is taken. */
void keeping_close(struct child *c)
{
    c->kept_us = clock_us();
    if (c->kept_fd >= 0) {
        keeping_read(c);
    }
    child_close_fd(&c->kept_fd);
    add(c);
}

/* -- telling -- */

int keeping_tell(const struct supervisor *s, const char *pool, unsigned seconds)
{
    struct buf text = {.limit = TEXT_BYTES, .wiped = true};
    uint64_t now = clock_wall_us() / CLOCK_US_PER_SECOND;
    bool known = false;
    for (const struct member *m = s->members; m; m = m->next) {
        if (!m->conf || (pool && *pool && strcmp(pool, m->name) != 0)) {
            continue;
        }
        known = true;
        if (m->hour) {
            profile_hour_write(m->hour, now > seconds ? now - seconds : 0, &text);
        }
    }
    int fd = known && !text.failed ? memfd_create("profile", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
    if (fd >= 0 && (pwrite(fd, text.p ? text.p : "", text.n, 0) != (ssize_t)text.n ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)) {
        child_close_fd(&fd);
    }
    buf_free(&text);
    return fd;
}

/* -- an engine process, which is a copy of us -- */

void keeping_forget(struct supervisor *s, const struct member *but)
{
    for (struct member *m = s->members; m; m = m->next) {
        if (m != but) {
            profile_hour_wipe(m->hour);
        }
    }
    for (struct child *c = s->children; c; c = c->next) {
        if (c->member != but && c->kept.p) {
            explicit_bzero(c->kept.p, c->kept.n);
        }
    }
}

/* -- the next image -- */

void keeping_save(const struct member *m, int fd)
{
    struct buf text = {.limit = TEXT_BYTES, .wiped = true};
    off_t at = lseek(fd, 0, SEEK_END);
    if (m->hour) {
        profile_hour_save(m->hour, &text);
    }
    if (!text.failed && at >= 0 && pwrite(fd, text.p ? text.p : "", text.n, at) != (ssize_t)text.n &&
        ftruncate(fd, at) != 0) {
        log_debug("[pool %s] its profile is not handed on", m->name);
    }
    buf_free(&text);
}

void keeping_load(struct member *m, int fd, size_t at)
{
    struct buf text = {.limit = TEXT_BYTES, .wiped = true};
    char piece[16384];
    ssize_t n;
    while (!text.failed && (n = pread(fd, piece, sizeof(piece), (off_t)(at + text.n))) > 0) {
        buf_add(&text, piece, (size_t)n);
    }
    if (!text.failed && text.n > 0 && (m->hour = profile_hour_create()) != NULL) {
        profile_hour_load(m->hour, clock_wall_us() / CLOCK_US_PER_SECOND, (struct str){text.p, text.n});
    }
    buf_free(&text);
}
