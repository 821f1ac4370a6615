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
#define EVENTS_ABOVE (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR | IN_MASK_ADD)
#define DEPTH_MAX    64
#define FOLDERS_MAX  100000u

struct file_watch {
    int fd;
    char *patterns, *from;
    char **roots; /* the folders where patterns begin */
    uint32_t root_count;
    char **folders; /* by watch number, which the kernel counts up from 1; NULL = gone */
    uint32_t room, count;
    bool full; /* said so */
    bool news; /* something that fits was found in a new folder */
};

/* -- what fits -- */

/* The next pattern, without what it is marked by. */
static bool next_pattern(struct str *rest, struct str *pattern, bool *takes_out)
{
    if (!str_word(rest, pattern)) {
        return false;
    }
    *takes_out = pattern->p[0] == '!';
    *pattern = (struct str){pattern->p + *takes_out, pattern->n - *takes_out};
    if (str_starts(*pattern, STR("./"))) {
        *pattern = (struct str){pattern->p + 2, pattern->n - 2};
    }
    return true;
}

static bool is_absolute(struct str pattern)
{
    return pattern.n > 0 && pattern.p[0] == '/';
}

/* What of the path a pattern that does not begin with '/' is about. False: nothing. */
static bool cut_from(const struct file_watch *w, struct str *path)
{
    size_t n = strlen(w->from);

    if (path->n < n || memcmp(path->p, w->from, n) != 0 || (path->n > n && path->p[n] != '/')) {
        return false;
    }
    *path = path->n > n ? (struct str){path->p + n + 1, path->n - n - 1} : STR_NONE;
    return true;
}

static bool matches(const struct file_watch *w, struct str pattern, struct str path,
                    bool (*how)(struct str, struct str))
{
    return (is_absolute(pattern) || cut_from(w, &path)) && how(pattern, path);
}

static bool is_taken_out(const struct file_watch *w, struct str path)
{
    struct str rest = str_of(w->patterns), pattern;
    bool takes_out;

    while (next_pattern(&rest, &pattern, &takes_out)) {
        if (takes_out && matches(w, pattern, path, pattern_file_match)) {
            return true;
        }
    }
    return false;
}

static bool fits(const struct file_watch *w, struct str path, bool (*how)(struct str, struct str))
{
    struct str rest = str_of(w->patterns), pattern;
    bool takes_out;

    while (next_pattern(&rest, &pattern, &takes_out)) {
        if (!takes_out && matches(w, pattern, path, how)) {
            return !is_taken_out(w, path);
        }
    }
    return false;
}

/* -- where patterns begin -- */

static bool is_at_or_below(const char *path, const char *folder)
{
    size_t n = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool is_in_a_root(const struct file_watch *w, const char *path)
{
    for (uint32_t i = 0; i < w->root_count; i++) {
        if (is_at_or_below(path, w->roots[i])) {
            return true;
        }
    }
    return false;
}

static bool leads_to_a_root(const struct file_watch *w, const char *path)
{
    for (uint32_t i = 0; i < w->root_count; i++) {
        if (is_at_or_below(w->roots[i], path)) {
            return true;
        }
    }
    return false;
}

/* The folder that the pattern's part without '*' names; malloc'ed or NULL. */
static char *root_of(const struct file_watch *w, struct str pattern)
{
    const char *star = memchr(pattern.p, '*', pattern.n);
    int n = (int)(star ? (size_t)(star - pattern.p) : pattern.n);
    char *root;

    if (asprintf(&root, "%s%s%.*s", is_absolute(pattern) ? "" : w->from, is_absolute(pattern) ? "" : "/", n,
                 pattern.p) < 0) {
        return NULL;
    }
    char *slash = strrchr(root, '/');

    slash[slash == root] = '\0';
    return root;
}

static bool find_roots(struct file_watch *w)
{
    struct str rest = str_of(w->patterns), pattern;
    bool takes_out;

    while (next_pattern(&rest, &pattern, &takes_out)) {
        char **grown = realloc(w->roots, (w->root_count + 1) * sizeof(*grown));

        if (!grown) {
            return false;
        }
        w->roots = grown;
        if (!takes_out && (w->roots[w->root_count] = root_of(w, pattern)) != NULL) {
            w->root_count++;
        }
    }
    return true;
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

static bool add_folder(struct file_watch *w, const char *path, uint32_t events)
{
    int number = w->count < FOLDERS_MAX ? inotify_add_watch(w->fd, path, events) : -1;

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

/* One in which something could fit, or one that leads to such a folder and may get it anew. */
static bool watch_folder(struct file_watch *w, const char *path)
{
    if (is_in_a_root(w, path) && fits(w, str_of(path), pattern_file_below)) {
        return add_folder(w, path, EVENTS);
    }
    return leads_to_a_root(w, path) && add_folder(w, path, EVENTS_ABOVE);
}

/* Watches the folder and those below in which something could fit. found: what fits already is news. */
static void walk(struct file_watch *w, const char *path, int depth, bool found)
{
    DIR *dir = depth < DEPTH_MAX && watch_folder(w, path) ? opendir(path) : NULL;
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

/* From the folder around it, which is where it comes back after it was removed; or from the nearest one that
 * there is. The root itself may be reached by links. */
static void walk_root(struct file_watch *w, const char *root)
{
    char *above = strdup(root);
    struct stat st;

    do {
        char *slash = above ? strrchr(above, '/') : NULL;

        if (!slash || slash[1] == '\0') {
            break;
        }
        slash[slash == above] = '\0';
    } while (stat(above, &st) != 0 || !S_ISDIR(st.st_mode));
    if (above && strcmp(above, root) != 0) {
        watch_folder(w, above);
    }
    free(above);
    walk(w, root, 0, false);
}

/* -- life -- */

static void walk_all(struct file_watch *w)
{
    for (uint32_t i = 0; i < w->root_count; i++) {
        walk_root(w, w->roots[i]);
    }
}

struct file_watch *file_watch_open(const char *from, const char *patterns)
{
    struct file_watch *w = calloc(1, sizeof(*w));

    if (!w) {
        return NULL;
    }
    w->patterns = strdup(patterns);
    w->from = strdup(from);
    w->fd = file_events_open();
    if (!w->patterns || !w->from || w->fd < 0 || !find_roots(w)) {
        int saved = errno;

        file_watch_close(w);
        errno = saved;
        return NULL;
    }
    walk_all(w);
    return w;
}

static void free_texts(char **texts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(texts[i]);
    }
    free(texts);
}

void file_watch_close(struct file_watch *w)
{
    if (!w) {
        return;
    }
    free_texts(w->folders, w->room);
    free_texts(w->roots, w->root_count);
    if (w->fd >= 0) {
        close(w->fd);
    }
    free(w->from);
    free(w->patterns);
    free(w);
}

int file_watch_fd(const struct file_watch *w)
{
    return w->fd;
}

bool file_watch_has_folder(const struct file_watch *w)
{
    for (uint32_t i = 0; i < w->room; i++) {
        if (w->folders[i] && is_in_a_root(w, w->folders[i])) {
            return true;
        }
    }
    return false;
}

/* -- news -- */

static void forget(struct file_watch *w, uint32_t number)
{
    w->count -= w->folders[number] != NULL;
    free(w->folders[number]);
    w->folders[number] = NULL;
}

/* One that was moved away, and what is below it: if it is still somewhere here, that is told next. */
static void forget_folder(struct file_watch *w, const char *path)
{
    for (uint32_t i = 0; i < w->room; i++) {
        if (w->folders[i] && is_at_or_below(w->folders[i], path)) {
            inotify_rm_watch(w->fd, (int)i);
            forget(w, i);
        }
    }
}

/* A folder, or a link to one that is on the way to a root, came or went. */
static bool hear_folder(struct file_watch *w, const char *path, uint32_t mask)
{
    if (mask & (IN_CREATE | IN_MOVED_TO)) {
        w->news = false;
        walk(w, path, 1, true);
        return w->news;
    }
    if (mask & IN_MOVED_FROM) {
        forget_folder(w, path);
    }
    return mask & IN_MOVED_FROM && is_in_a_root(w, path) && fits(w, str_of(path), pattern_file_below);
}

static bool is_folder(const struct file_watch *w, const char *path, uint32_t mask)
{
    struct stat st;

    return mask & IN_ISDIR || (leads_to_a_root(w, path) && stat(path, &st) == 0 && S_ISDIR(st.st_mode));
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
        walk_all(w); /* folders may have come */
        return true;
    }
    if (event->mask & IN_IGNORED && folder) {
        forget(w, (uint32_t)event->wd);
    }
    if (!folder || event->mask & IN_IGNORED || event->len == 0 ||
        snprintf(path, sizeof(path), "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, event->name) >=
            (int)sizeof(path)) {
        return false;
    }
    snprintf(name, size, "%s", path);
    if (is_folder(w, path, event->mask)) {
        return hear_folder(w, path, event->mask);
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
