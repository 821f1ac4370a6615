/* Files that processes inherit as text: certificates, keys and hashes of passwords, which they are not
 * allowed to read. When one changes, the front end reads it again, and the pools that hold the earlier text
 * are swapped: no request is lost, and one that is no good changes nothing. Supervisor's thread.
 *
 * The directories are watched, not the files, because a file is renewed by a rename over it, over the link to
 * it, or over a link on the way ("..data" of a mounted secret). inotify, so an idle server sleeps. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/file_events.h"
#include "engine/base/log.h"
#include "engine/supervise/state.h"

#define SETTLE_US (2 * CLOCK_US_PER_SECOND) /* a certificate and its key are written one after the other */
#define EVENTS    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF)

struct watched_file {
    char *name; /* in a directory that is watched */
    struct watched_file *next;
};

static void watch_path(struct supervisor *s, const char *path)
{
    char *for_folder = xstrdup(path), *for_name = xstrdup(path);
    const char *folder = dirname(for_folder), *name = basename(for_name);
    if (inotify_add_watch(s->watched_fd, folder, EVENTS | IN_ONLYDIR) >= 0) {
        struct watched_file *file = xmalloc(sizeof(*file));
        *file = (struct watched_file){xstrdup(name), s->watched};
        s->watched = file;
    } else {
        log_sys(LEVEL_WARNING, "a change of %s will not be noticed before a reload: inotify_add_watch(%s)",
                path, folder);
    }
    free(for_folder);
    free(for_name);
}

static void watch_file(const char *path, void *ctx)
{
    struct supervisor *s = ctx;
    char real[PATH_MAX];
    if (s->watched_fd < 0 && (s->watched_fd = file_events_open()) < 0) {
        log_sys(LEVEL_WARNING, "a change of %s will not be noticed before a reload: inotify_init1", path);
        return;
    }
    watch_path(s, path);
    if (realpath(path, real) && strcmp(real, path) != 0) {
        watch_path(s, real);
    }
}

static void forget_all(struct supervisor *s)
{
    while (s->watched) {
        struct watched_file *file = s->watched;
        s->watched = file->next;
        free(file->name);
        free(file);
    }
    if (s->watched_fd >= 0) {
        close(s->watched_fd);
        s->watched_fd = -1;
    }
}

static void watch_all(struct supervisor *s)
{
    forget_all(s);
    for (const struct pool_conf *pool = s->config->pools; pool; pool = pool->next) {
        for (size_t i = 0; frontends[i]; i++) {
            if (frontends[i]->files) {
                frontends[i]->files(pool, watch_file, s);
            }
        }
    }
}

/* What has changed since the configuration was checked is found by one look. */
void watched_open(struct supervisor *s)
{
    watch_all(s);
    s->renew_us = s->watched_fd >= 0 ? clock_us() + SETTLE_US : 0;
}

/* Other names change in these directories, too. One that begins with ".." is a link that others lead over; an
 * event without a name says that a directory has gone, or that events were lost. */
static bool concerns(const struct supervisor *s, const struct inotify_event *event)
{
    if (event->len == 0 || strncmp(event->name, "..", 2) == 0) {
        return true;
    }
    const struct watched_file *file = s->watched;
    while (file && strcmp(file->name, event->name) != 0) {
        file = file->next;
    }
    return file != NULL;
}

static void hear(const struct inotify_event *event, void *ctx)
{
    struct supervisor *s = ctx;
    if (s->renew_us == 0 && !(event->mask & IN_IGNORED) && concerns(s, event)) {
        s->renew_us = clock_us() + SETTLE_US;
    }
}

void watched_read(struct supervisor *s)
{
    file_events_read(s->watched_fd, hear, s);
}

static void swap(const struct pool_conf *pool, void *ctx)
{
    const struct supervisor *s = ctx;
    const struct member *m = member_find(s, pool->name);
    for (int i = 0; m && i < m->seat_count; i++) {
        seat_swap(&m->seats[i], "its certificates or passwords have changed", clock_us());
    }
}

void watched_tick(struct supervisor *s, uint64_t now)
{
    if (s->renew_us == 0 || now < s->renew_us || s->phase != PHASE_RUNNING) {
        return; /* a reload reads everything anyway; if it is refused, this comes after it */
    }
    s->renew_us = 0;
    watch_all(s); /* first, since links may lead elsewhere now, and may change again */
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->renew) {
            frontends[i]->renew(s->config, swap, s);
        }
    }
}
