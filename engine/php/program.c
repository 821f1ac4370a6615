/* Starting a program out of a process of many threads.
 *
 * As posix_spawn() of libc: a child that shares our memory until it executes the program, while the calling
 * thread sleeps (CLONE_VFORK), with every signal blocked meanwhile. What libc's cannot do: make every
 * descriptor that other requests hold close-on-exec, in the child's own table, where no other thread can open
 * one more; and enter the directory of a thread that has none of its own (paths.h).
 *
 * The child uses system calls, its stack and what the caller's order points to. Nothing of PHP's runs there.
 */
#include "engine/php/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/at_exec.h"
#include "engine/php/caller.h"
#include "engine/php/children.h"
#include "engine/php/env.h"
#include "engine/php/local_time.h"
#include "engine/php/paths.h"
#include "engine/php/signals.h"

#include "engine/work/worker_output.h"

#define STACK_BYTES  (64u << 10)
#define DEFAULT_PATH "/bin:/usr/bin"

extern char **environ;

/* Written by the caller before the clone, but for the error, which the child writes. */
struct start {
    const struct program_order *order;
    char *const *envp;
    const char *directory; /* NULL = where the thread is */
    const char *path;      /* to search for the file */
    HashTable *passed;     /* its numbers are the descriptors that a script passes; NULL = none */
    struct program_output output;
    int error;
};

/* -- descriptors: the child -- */

static bool become(const struct program_output *output, int fd, int target)
{
    fd = program_output_instead(output, fd);
    if (fd == target) {
        return syscall(SYS_fcntl, fd, F_SETFD, 0) == 0;
    }
    return dup2(fd, target) == target;
}

static bool open_as(const struct program_action *a)
{
    int fd = open(a->path, a->flags, a->mode);

    if (fd < 0 || fd == a->fd) {
        return fd == a->fd;
    }
    bool done = dup2(fd, a->fd) == a->fd;

    close(fd);
    return done;
}

static bool act(const struct program_action *a, const struct program_output *output)
{
    switch (a->kind) {
    case PROGRAM_CLOSE: close(a->fd); return true;
    case PROGRAM_CLOSE_FROM: return syscall(SYS_close_range, a->fd, ~0u, 0) == 0;
    case PROGRAM_DUP: return become(output, a->fd, a->target);
    case PROGRAM_OPEN: return open_as(a);
    case PROGRAM_CHDIR: return chdir(a->path) == 0;
    case PROGRAM_FCHDIR: return fchdir(a->fd) == 0;
    case PROGRAM_TERMINAL: return tcsetpgrp(a->fd, getpgrp()) == 0;
    }
    return false;
}

/* A pipe's end that already has the number wanted needs no action, says proc_open(). */
static void pass(HashTable *passed, const struct program_output *output)
{
    zend_ulong number;

    ZEND_HASH_FOREACH_NUM_KEY(passed, number)
    {
        if (number >= AT_EXEC_FIRST && number <= INT_MAX) {
            become(output, (int)number, (int)number);
        }
    }
    ZEND_HASH_FOREACH_END();
}

static bool arrange_descriptors(const struct start *s)
{
    const struct program_actions *actions = (const void *)s->order->actions;

    program_output_take(&s->output);
    at_exec_close_others();
    for (size_t i = 0; actions && i < actions->count; i++) {
        if (!act(&actions->list[i], &s->output)) {
            return false;
        }
    }
    if (s->passed) {
        pass(s->passed, &s->output);
    }
    return true;
}

/* -- what posix_spawnattr_t says: the child -- */

static bool obey_attributes(const posix_spawnattr_t *attributes)
{
    struct sched_param parameters;
    short flags = 0;
    pid_t group;
    int policy;

    if (!attributes) {
        return true;
    }
    posix_spawnattr_getflags(attributes, &flags);
    posix_spawnattr_getschedparam(attributes, &parameters);
    posix_spawnattr_getschedpolicy(attributes, &policy);
    posix_spawnattr_getpgroup(attributes, &group);
    if ((flags & POSIX_SPAWN_SETSCHEDULER) && sched_setscheduler(0, policy, &parameters) < 0) {
        return false;
    }
    if ((flags & (POSIX_SPAWN_SETSCHEDPARAM | POSIX_SPAWN_SETSCHEDULER)) == POSIX_SPAWN_SETSCHEDPARAM &&
        sched_setparam(0, &parameters) < 0) {
        return false;
    }
    if ((flags & POSIX_SPAWN_SETSID) && setsid() < 0) {
        return false;
    }
    if ((flags & POSIX_SPAWN_SETPGROUP) && setpgid(0, group) != 0) {
        return false;
    }
    /* Not setgid(): libc would tell all threads of a process that this is not. */
    return !(flags & POSIX_SPAWN_RESETIDS) ||
           (syscall(SYS_setresgid, -1, getgid(), -1) == 0 && syscall(SYS_setresuid, -1, getuid(), -1) == 0);
}

static void open_signals(const posix_spawnattr_t *attributes)
{
    sigset_t mask;
    short flags = 0;

    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;

        if (sigaction(number, NULL, &now) == 0 && now.sa_handler != SIG_DFL) {
            sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        }
    }
    sigemptyset(&mask);
    if (attributes && posix_spawnattr_getflags(attributes, &flags) == 0 && (flags & POSIX_SPAWN_SETSIGMASK)) {
        posix_spawnattr_getsigmask(attributes, &mask);
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

/* -- the program: the child -- */

static bool may_be_elsewhere(int error)
{
    return error == EACCES || error == ENOENT || error == ENOTDIR || error == ESTALE || error == ENODEV ||
           error == ETIMEDOUT;
}

/* The error of the last try, or EACCES if there was one that may not be executed. */
static int execute_from_path(const struct start *s)
{
    const char *file = s->order->file;
    size_t file_n = strlen(file);
    bool forbidden = false;
    char whole[PATH_MAX + NAME_MAX];
    int error = ENOENT;

    if (file_n > NAME_MAX) {
        return ENAMETOOLONG;
    }
    for (const char *at = s->path;; at++) {
        size_t n = strcspn(at, ":");

        if (n < PATH_MAX - 1) {
            memcpy(whole, at, n);
            whole[n] = '/';
            memcpy(whole + n + (n > 0), file, file_n + 1);
            execve(whole, s->order->argv, s->envp);
            error = errno;
            forbidden = forbidden || error == EACCES;
        }
        at += n;
        if (!may_be_elsewhere(error) || !*at) {
            return forbidden && may_be_elsewhere(error) ? EACCES : error;
        }
    }
}

static int execute(const struct start *s)
{
    const struct program_order *order = s->order;

    if (order->search && *order->file && !strchr(order->file, '/')) {
        return execute_from_path(s);
    }
    execve(order->file, order->argv, s->envp);
    return errno;
}

static int child_main(void *context)
{
    struct start *s = context;
    const struct program_order *order = s->order;

    if ((s->directory && chdir(s->directory) != 0) || !obey_attributes(order->attributes) ||
        !arrange_descriptors(s)) {
        s->error = errno ? errno : EINVAL;
        _exit(127);
    }
    open_signals(order->attributes);
    s->error = execute(s);
    _exit(127);
}

/* -- the caller -- */

/* What a running proc_open() was told. */
static HashTable *descriptors_of_script(void)
{
    const zval *list = caller_argument("proc_open", 2);

    return list && Z_TYPE_P(list) == IS_ARRAY ? Z_ARRVAL_P(list) : NULL;
}

static int run_child(pid_t *child, struct start *s)
{
    void *stack =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    sigset_t all, before;
    int error = 0;

    if (stack == MAP_FAILED) {
        return errno;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t pid = clone(child_main, (char *)stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, s);

    if (pid < 0) {
        error = errno;
    } else if (s->error) {
        error = s->error;
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
    } else {
        *child = pid;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, STACK_BYTES);
    return error;
}

int program_start(pid_t *child, const struct program_order *order)
{
    bool is_ours = env_is_process(order->envp);
    char **own = is_ours ? env_vector() : NULL;
    const char *path = env_find("PATH");
    struct start s = {.order = order,
                      .envp = own ? own : order->envp,
                      .directory = paths_virtual_directory(),
                      .path = path ? path : DEFAULT_PATH,
                      .passed = descriptors_of_script()};
    pid_t pid = -1;

    program_output_find(&s.output, (const void *)order->actions, s.passed);
    int error = is_ours && !own ? ENOMEM : run_child(&pid, &s);

    if (own) {
        env_vector_free(own);
    }
    if (!error && child) {
        *child = pid;
    }
    return error;
}

/* -- fork() -- */

void (*program_in_child)(void);

static void set_up_fork(char **own)
{
    sigset_t none;

    if (own) {
        environ = own;
    }
    worker_output_in_child();
    at_exec_close_others();
    signals_give_up();
    children_give_up();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t program_fork(pid_t (*fork_of_libc)(void))
{
    char **own = php_thread ? env_vector() : NULL;
    const char *directory = php_thread ? paths_virtual_directory() : NULL;
    struct program_output output;

    program_output_find(&output, NULL, NULL);
    pid_t pid = fork_of_libc();

    if (pid == 0) {
        local_time_give_up();
    }
    if (pid == 0 && php_thread) {
        set_up_fork(own);
        if (directory && chdir(directory) != 0) {
            /* it stays where the process is */
        }
    } else if (pid == 0 && program_in_child) {
        program_in_child();
    } else if (own) {
        int saved = errno;

        env_vector_free(own);
        errno = saved;
    }
    return pid;
}
