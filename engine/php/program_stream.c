/* popen(), pclose() and system(), which in libc start their shell by a way that nobody can change. A list
 * says which program belongs to a stream. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/php/program.h"

struct running {
    struct running *next;
    FILE *stream;
    pid_t pid;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static struct running *all;

extern char **environ;

static int start_shell(pid_t *pid, const char *command, const posix_spawn_file_actions_t *actions)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)command, NULL};

    return program_start(
        pid, &(struct program_order){.file = "/bin/sh", .argv = argv, .envp = environ, .actions = actions});
}

/* "r" or "w"; "e" and what stdio ignores may follow: our end is close-on-exec in any case. */
static bool is_mode(const char *mode)
{
    return (mode[0] == 'r' || mode[0] == 'w') && strspn(mode + 1, "be") == strlen(mode + 1);
}

static int start_with_pipe(struct running *new, const char *command, bool reads)
{
    posix_spawn_file_actions_t actions;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    int ours = ends[reads ? 0 : 1], theirs = ends[reads ? 1 : 0];
    int target = reads ? STDOUT_FILENO : STDIN_FILENO;

    program_actions_init(&actions);
    int error = program_actions_add(
        &actions, &(struct program_action){.kind = PROGRAM_DUP, .fd = theirs, .target = target});

    new->stream = error ? NULL : fdopen(ours, reads ? "r" : "w");
    error = new->stream ? start_shell(&new->pid, command, &actions) : error ? error : errno;
    program_actions_destroy(&actions);
    close(theirs);
    if (error && new->stream) {
        fclose(new->stream);
    } else if (error) {
        close(ours);
    }
    return error;
}

FILE *program_popen(const char *command, const char *mode)
{
    struct running *new = is_mode(mode) ? malloc(sizeof *new) : NULL;

    if (!new) {
        errno = is_mode(mode) ? ENOMEM : EINVAL;
        return NULL;
    }
    int error = start_with_pipe(new, command, mode[0] == 'r');

    if (error) {
        free(new);
        errno = error;
        return NULL;
    }
    pthread_mutex_lock(&lock);
    new->next = all;
    all = new;
    pthread_mutex_unlock(&lock);
    return new->stream;
}

static pid_t forget(const FILE *stream)
{
    pid_t pid = -1;

    pthread_mutex_lock(&lock);
    for (struct running **link = &all; *link; link = &(*link)->next) {
        struct running *found = *link;

        if (found->stream == stream) {
            pid = found->pid;
            *link = found->next;
            free(found);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return status;
}

int program_pclose(FILE *stream, int (*other)(FILE *))
{
    pid_t pid = forget(stream);

    if (pid < 0) {
        return other(stream);
    }
    fclose(stream);
    return wait_for(pid);
}

int program_system(const char *command)
{
    pid_t pid;

    if (!command) {
        return 1; /* there is a shell */
    }
    int error = start_shell(&pid, command, NULL);

    if (error) {
        errno = error;
        return error == EAGAIN || error == ENOMEM ? -1 : 127 << 8;
    }
    return wait_for(pid);
}
