/* What an image leaves to the next one that it executes itself into: a memory file of lines, whose descriptor
 * is named in TOKIOPHP_STATE together with our pid, so that nobody else believes it. The lines of pools'
 * files and keys are read and written here, those of children are upgrade_state.c's.
 *
 * An image that inherits and then finds a bad configuration has nothing to go back to: it executes itself
 * again until it is good, and the children serve meanwhile. Supervisor's thread. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/supervisor.h"

#define VARIABLE      "TOKIOPHP_STATE"
#define KEYS_WORD     "keys"
#define COUNTERS_WORD "counters" /* these begin lines that need not be understood */
#define NOTES_WORD    "tasks"
#define STORY_WORD    "story"
#define RETRY_S       2

static int state_fd = -2; /* not looked for yet */

static int descriptor(void)
{
    int pid;
    if (state_fd == -2) {
        const char *text = getenv(VARIABLE);
        if (!text || sscanf(text, "%d:%d", &pid, &state_fd) != 2 || pid != (int)getpid() || state_fd < 0 ||
            fcntl(state_fd, F_SETFD, FD_CLOEXEC) != 0) {
            state_fd = -1;
        }
    }
    return state_fd;
}

bool inherited(void)
{
    return descriptor() >= 0;
}

void inherited_done(void)
{
    unsetenv(VARIABLE);
    if (descriptor() >= 0) {
        close(descriptor());
    }
}

void inherited_never(void)
{
    state_fd = -1;
}

void inherited_leave(int fd)
{
    char text[32];
    if (fd < 0) {
        unsetenv(VARIABLE);
        return;
    }
    snprintf(text, sizeof(text), "%d:%d", (int)getpid(), fd);
    setenv(VARIABLE, text, 1);
}

/* -- its lines -- */

int inherited_fd(int fd)
{
    return fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

FILE *inherited_open(void)
{
    int fd = descriptor() >= 0 ? fcntl(descriptor(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : -1;
    FILE *file = fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 ? fdopen(fd, "r") : NULL;
    if (!file && fd >= 0) {
        close(fd);
    }
    return file;
}

static const char *file_line(const char *line, const char *word, int *fd)
{
    size_t n = strlen(word);
    int name_at = 0;
    return strncmp(line, word, n) == 0 && sscanf(line + n, " %d %n", fd, &name_at) == 1 && name_at > 0
               ? line + n + name_at
               : NULL;
}

const char *inherited_file_line(const char *line, int *fd)
{
    const char *pool = file_line(line, COUNTERS_WORD, fd);
    pool = pool ? pool : file_line(line, STORY_WORD, fd);
    return pool ? pool : file_line(line, NOTES_WORD, fd);
}

bool inherited_line(FILE *file, char **line, size_t *size)
{
    ssize_t n = file ? getline(line, size, file) : -1;
    if (n > 0) {
        (*line)[n - 1] = '\0';
    }
    return n > 0;
}

static int find_file(const char *word, const char *pool)
{
    FILE *file = inherited_open();
    char *line = NULL;
    size_t size = 0;
    int found = -1, fd;
    while (found < 0 && inherited_line(file, &line, &size)) {
        const char *name = file_line(line, word, &fd);
        found = name && strcmp(name, pool) == 0 ? inherited_fd(fd) : -1;
    }
    free(line);
    if (file) {
        fclose(file);
    }
    return found;
}

int inherited_counters(const char *pool)
{
    return find_file(COUNTERS_WORD, pool);
}

int inherited_story(const char *pool)
{
    return find_file(STORY_WORD, pool);
}

bool inherited_write_story(int file, int fd, const char *pool)
{
    return dprintf(file, STORY_WORD " %d %s\n", fd, pool) > 0;
}

int inherited_task_notes(const char *pool)
{
    return find_file(NOTES_WORD, pool);
}

bool inherited_write_task_notes(int file, int fd, const char *pool)
{
    return dprintf(file, NOTES_WORD " %d %s\n", fd, pool) > 0;
}

bool inherited_write_counters(int file, int fd, const char *pool)
{
    return dprintf(file, COUNTERS_WORD " %d %s\n", fd, pool) > 0;
}

/* The keys' text, as long as text is. */
static const char *parse_keys(const char *line, unsigned long long *until, int *from, int *to)
{
    int name_at = 0;
    return sscanf(line, KEYS_WORD " %llu %n%*s%n %n", until, from, to, &name_at) == 1 && name_at > 0
               ? line + name_at
               : NULL;
}

const char *inherited_keys_line(const char *line)
{
    unsigned long long until;
    int from, to;
    return parse_keys(line, &until, &from, &to);
}

bool inherited_write_keys(int file, uint64_t until_us, const char *text, const char *pool)
{
    return dprintf(file, KEYS_WORD " %llu %s %s\n", (unsigned long long)until_us, text, pool) > 0;
}

/* Of this pool, or the first that comes (NULL). */
static char *find_keys(const char *pool, unsigned long long *until)
{
    FILE *file = inherited_open();
    char *line = NULL, *found = NULL;
    size_t size = 0;
    int from, to;
    while (!found && inherited_line(file, &line, &size)) {
        const char *name = parse_keys(line, until, &from, &to);
        if (name && (!pool || strcmp(name, pool) == 0)) {
            found = xstrndup(line + from, (size_t)(to - from));
        }
    }
    if (line) {
        explicit_bzero(line, size);
    }
    free(line);
    if (file) {
        fclose(file);
    }
    return found;
}

char *inherited_keys(const char *pool)
{
    unsigned long long until;
    return find_keys(pool, &until);
}

uint64_t inherited_keys_until(void)
{
    unsigned long long until = 0;
    char *text = find_keys(NULL, &until);
    if (text) {
        explicit_bzero(text, strlen(text));
    }
    free(text);
    return until;
}

/* -- a bad configuration -- */

void inherited_survive(const struct cli_options *cli)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGQUIT};
    static const struct timespec pause = {.tv_sec = RETRY_S};
    sigset_t set;
    if (descriptor() < 0) {
        return;
    }
    log_error(
        "the configuration was good when it was tested, and is not now: what serves goes on, next try in "
        "%d s",
        RETRY_S);
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        sigaddset(&set, stops[i]);
    }
    if (sigtimedwait(&set, NULL, &pause) < 0 && fcntl(descriptor(), F_SETFD, 0) == 0) {
        execvp(cli->argv[0], cli->argv);
        log_sys(LEVEL_ERROR, "execvp(\"%s\") failed", cli->argv[0]);
    }
}
