/* See file_watch.h. One inotify watch for each folder in which something could fit; its number leads to the
 * folder's path. A new folder is looked through, because what was made in it before it was watched is not
 * told. */
#include "engine/base/file_watch.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file_events.h"
#include "engine/base/log.h"
#include "engine/base/pattern.h"

#define EVENTS                                                                                               \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ONLYDIR | IN_EXCL_UNLINK)
#define DEPTH_MAX   64
#define FOLDERS_MAX 100000u

struct file_watch {
    int fd;
    char *patterns;
    char **folders; /* by watch number, which the kernel counts up from 1; NULL = gone */
    uint32_t room, count;
    bool full; /* said so */
    bool news; /* something that fits was found in a new folder */
};

/* -- what fits -- */

static bool is_taken_out(const struct file_watch *w, struct str path)
{
    struct str rest = str_of(w->patterns), pattern;

    while (str_word(&rest, &pattern)) {
        if (pattern.p[0] == '!' && pattern_file_match((struct str){pattern.p + 1, pattern.n - 1}, path)) {
            return true;
        }
    }
    return false;
}

static bool fits(const struct file_watch *w, struct str path, bool (*how)(struct str, struct str))
{
    struct str rest = str_of(w->patterns), pattern;

    while (str_word(&rest, &pattern)) {
        if (pattern.p[0] != '!' && how(pattern, path)) {
            return !is_taken_out(w, path);
        }
    }
    return false;
}

/* -- folders -- */

static bool remember(struct file_watch *w, int number, const char *path)
{
    if ((uint32_t)number >= w->room) {
        uint32_t room = (uint32_t)number + 256;
        char **grown = realloc(w->folders, room * sizeof(*grown));

        if (!grown) {
            return false;
        }
        memset(grown + w->room, 0, (room - w->room) * sizeof(*grown));
        w->folders = grown;
        w->room = room;
    }
    char *copy = strdup(path);

    w->count += copy && !w->folders[number];
    free(w->folders[number]);
    w->folders[number] = copy;
    return copy != NULL;
}

static bool add_folder(struct file_watch *w, const char *path)
{
    int number = w->count < FOLDERS_MAX ? inotify_add_watch(w->fd, path, EVENTS) : -1;

    if (number >= 0) {
        return remember(w, number, path);
    }
    if (!w->full && (w->count >= FOLDERS_MAX || errno == ENOSPC)) {
        w->full = true;
        log_warning("no more than %u folders can be watched for changes (fs.inotify.max_user_watches)",
                    w->count);
    }
    return false;
}

/* Watches the folder and those below in which something could fit. found: what fits already is news. */
static void walk(struct file_watch *w, const char *path, int depth, bool found)
{
    DIR *dir = depth < DEPTH_MAX && fits(w, str_of(path), pattern_file_below) && add_folder(w, path)
                   ? opendir(path)
                   : NULL;
    const struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL) {
        char below[PATH_MAX];
        int n = snprintf(below, sizeof(below), "%s/%s", strcmp(path, "/") == 0 ? "" : path, entry->d_name);
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || n >= (int)sizeof(below) ||
            (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN && !found)) {
            continue;
        }
        if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode)) {
            walk(w, below, depth + 1, found);
        } else {
            w->news |= found && fits(w, str_of(below), pattern_file_match);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

/* From the folder that the pattern's part without '*' names. */
static void walk_from(struct file_watch *w, struct str pattern)
{
    char path[PATH_MAX];
    const char *star = memchr(pattern.p, '*', pattern.n);
    size_t n = star ? (size_t)(star - pattern.p) : pattern.n;

    while (n > 1 && pattern.p[n - 1] != '/') {
        n--;
    }
    n -= n > 1;
    if (n < sizeof(path)) {
        memcpy(path, pattern.p, n);
        path[n] = '\0';
        walk(w, path, 0, false);
    }
}

/* -- life -- */

struct file_watch *file_watch_open(const char *patterns)
{
    struct file_watch *w = calloc(1, sizeof(*w));
    struct str rest, pattern;

    if (!w) {
        return NULL;
    }
    w->patterns = strdup(patterns);
    w->fd = file_events_open();
    if (!w->patterns || w->fd < 0) {
        int saved = errno;

        file_watch_close(w);
        errno = saved;
        return NULL;
    }
    rest = str_of(w->patterns);
    while (str_word(&rest, &pattern)) {
        if (pattern.p[0] == '/') {
            walk_from(w, pattern);
        }
    }
    return w;
}

void file_watch_close(struct file_watch *w)
{
    if (!w) {
        return;
    }
    for (uint32_t i = 0; i < w->room; i++) {
        free(w->folders[i]);
    }
    if (w->fd >= 0) {
        close(w->fd);
    }
    free(w->folders);
    free(w->patterns);
    free(w);
}

int file_watch_fd(const struct file_watch *w)
{
    return w->fd;
}

uint32_t file_watch_folders(const struct file_watch *w)
{
    return w->count;
}

/* -- news -- */

static void forget(struct file_watch *w, int number)
{
    w->count -= w->folders[number] != NULL;
    free(w->folders[number]);
    w->folders[number] = NULL;
}

/* A file that is written is news once it is closed; what is no file, a link for example, at once. */
static bool is_news(const char *path, uint32_t mask)
{
    struct stat st;

    return !(mask & IN_CREATE) || (lstat(path, &st) == 0 && !S_ISREG(st.st_mode));
}

static bool hear(struct file_watch *w, const struct inotify_event *event, char *name, size_t size)
{
    const char *folder = event->wd >= 0 && (uint32_t)event->wd < w->room ? w->folders[event->wd] : NULL;
    char path[PATH_MAX];

    if (event->mask & IN_Q_OVERFLOW) {
        snprintf(name, size, "so much that the system lost count");
        return true;
    }
    if (event->mask & IN_IGNORED && folder) {
        forget(w, event->wd);
    }
    if (!folder || event->mask & IN_IGNORED || event->len == 0 ||
        snprintf(path, sizeof(path), "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, event->name) >=
            (int)sizeof(path)) {
        return false;
    }
    snprintf(name, size, "%s", path);
    if (event->mask & IN_ISDIR) {
        bool comes = event->mask & (IN_CREATE | IN_MOVED_TO);

        w->news = false;
        if (comes) {
            walk(w, path, 1, true);
        }
        return comes ? w->news : fits(w, str_of(path), pattern_file_below) && event->mask & IN_MOVED_FROM;
    }
    return fits(w, str_of(path), pattern_file_match) && is_news(path, event->mask);
}

/* What is told of changes: the name of the first one that fits. */
struct report {
    struct file_watch *watch;
    char *name;
    size_t size;
    bool changed;
};

static void note(const struct inotify_event *event, void *ctx)
{
    struct report *report = ctx;
    char other[PATH_MAX];
    bool first = !report->changed;

    report->changed |=
        hear(report->watch, event, first ? report->name : other, first ? report->size : sizeof(other));
}

bool file_watch_changed(struct file_watch *w, char *name, size_t size)
{
    struct report report = {.watch = w, .name = name, .size = size};

    file_events_read(w->fd, note, &report);
    return report.changed;
}
