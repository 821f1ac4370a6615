/* The one start of programs: exec(), proc_open(), popen(), mail() and whatever a C library starts on the way
 * of interpose.c come here. A program starts as from a shell: with an empty signal mask and default
 * dispositions, in the directory and with the environment of the request, and with no descriptor but 0 to 2
 * and what it is passed. */
#ifndef ENGINE_PHP_PROGRAM_H
#define ENGINE_PHP_PROGRAM_H

#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/php/thread.h"

/* -- program_actions.c: posix_spawn_file_actions_t, in a layout that we know -- */

enum program_kind {
    PROGRAM_CLOSE,
    PROGRAM_CLOSE_FROM,
    PROGRAM_DUP,      /* fd becomes target */
    PROGRAM_OPEN,     /* path, flags and mode become fd */
    PROGRAM_CHDIR,    /* path */
    PROGRAM_FCHDIR,   /* fd */
    PROGRAM_TERMINAL, /* fd: the new process group is its foreground */
};

struct program_action {
    enum program_kind kind;
    int fd, target, flags;
    mode_t mode;
    char *path; /* own copy */
};

/* Lies in the caller's posix_spawn_file_actions_t. */
struct program_actions {
    struct program_action *list;
    size_t count, size;
};

void program_actions_init(posix_spawn_file_actions_t *of);
void program_actions_destroy(posix_spawn_file_actions_t *of);
/* 0, EBADF for a number below 0, or ENOMEM. action->path is copied. */
int program_actions_add(posix_spawn_file_actions_t *of, const struct program_action *action);

/* -- program.c -- */

struct program_order {
    const char *file;
    bool search; /* in PATH, if it has no slash */
    char *const *argv, *const *envp;
    const posix_spawn_file_actions_t *actions; /* NULL = none */
    const posix_spawnattr_t *attributes;       /* NULL = as usual */
};

/* 0, or the error of whatever failed, up to and with execve(2): then there is no child. Any thread. */
int program_start(pid_t *child, const struct program_order *order);
/* fork() for whoever calls it on a worker's thread: the child is set up as above, but for descriptors, which
 * it keeps until it executes a program. */
pid_t program_fork(pid_t (*fork_of_libc)(void));
/* What a child of fork() does first that PHP makes without a worker, as OPcache for preloading; NULL =
 * nothing. Set before PHP starts. */
extern void (*program_in_child)(void);

/* -- program_output.c: stdout and stderr that a program inherits -- */

struct program_output {
    ino_t inodes[STDERR_FILENO + 1]; /* of the process's pipes, by number; 0 = it is none */
    bool wanted[STDERR_FILENO + 1];
    int own[STDERR_FILENO + 1]; /* what the program gets instead; -1 = the process's */
};

/* Worker's thread; another one's programs get what the process has. passed: as in program.c, NULL = none. */
void program_output_find(struct program_output *out, const struct program_actions *actions,
                         HashTable *passed);
/* The child, before anything else is done with descriptors; then for each that is copied or passed. */
void program_output_take(const struct program_output *out);
int program_output_instead(const struct program_output *out, int fd);

/* -- program_stream.c: popen(), pclose() and system() -- */

FILE *program_popen(const char *command, const char *mode);
/* The wait status; -1 with errno. `other`: for streams that are not from program_popen. */
int program_pclose(FILE *stream, int (*other)(FILE *));
int program_system(const char *command);

#endif
