/* See children.h. The list is the process's: a program may live much longer than its request. */
#include "engine/php/children.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/heap.h"
#include "engine/php/caller.h"
#include "engine/php/thread.h"

#define LEFT_MOST 4096 /* who leaves more gets what php-fpm gives */
#define LOOK_MOST 32   /* at the end of a request */

struct left {
    pid_t pid;
    const struct php_thread *by; /* whose request may still wait for it; NULL = it is over */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list */
static struct left *list;
static size_t size, next; /* next: where the next look begins */
static _Atomic size_t count;

/* -- with the lock held -- */

static void drop(size_t i)
{
    size_t last = atomic_load(&count) - 1;

    list[i] = list[last];
    atomic_store(&count, last);
}

static void add(pid_t pid)
{
    size_t n = atomic_load(&count);

    if (n == size) {
        size_t more = size ? size * 2 : 64;
        struct left *grown = more <= LEFT_MOST ? heap_resize(list, more * sizeof *list) : NULL;

        if (!grown) {
            return;
        }
        list = grown;
        size = more;
    }
    list[n] = (struct left){pid, php_thread};
    atomic_store(&count, n + 1);
}

static void forget(pid_t pid)
{
    for (size_t i = 0; i < atomic_load(&count); i++) {
        if (list[i].pid == pid) {
            drop(i);
            return;
        }
    }
}

/* Not waitpid(): that is ours. */
static bool has_ended(pid_t pid)
{
    return syscall(SYS_wait4, pid, NULL, WNOHANG, NULL) != 0;
}

static void look(void)
{
    for (int i = 0; i < LOOK_MOST && atomic_load(&count) > 0; i++) {
        next = next < atomic_load(&count) ? next : 0;
        if (!list[next].by && has_ended(list[next].pid)) {
            drop(next);
        } else {
            next++;
        }
    }
}

/* -- any thread -- */

/* These options are those of a handle's end; pcntl_waitpid() is the script's own wish, and it may ask again,
 * in another request as well. */
pid_t children_wait(pid_t pid, int *status, int options, pid_t (*wait_of_libc)(pid_t, int *, int))
{
    pid_t got = wait_of_libc(pid, status, options);
    bool left = got == 0 && options == WNOHANG && pid > 0 && php_thread && !caller_is_of("pcntl");

    if (left || (got > 0 && atomic_load(&count) > 0)) {
        pthread_mutex_lock(&lock);
        if (left) {
            forget(pid);
            add(pid);
        } else {
            forget(got);
        }
        pthread_mutex_unlock(&lock);
    }
    return got;
}

void children_give_up(void)
{
    pthread_mutex_init(&lock, NULL); /* another thread may have had it */
    atomic_store(&count, 0);
}

void children_request_end(void)
{
    if (atomic_load_explicit(&count, memory_order_relaxed) == 0) {
        return;
    }
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < atomic_load(&count); i++) {
        list[i].by = list[i].by == php_thread ? NULL : list[i].by;
    }
    look();
    pthread_mutex_unlock(&lock);
}
