/* Workers that wait for a lock which a crash has taken along. See the header.
 *
 * Looked for once a second, and only after a crash. A request may wait for many things, for as long as it
 * likes; these four together no legitimate one does:
 * - the kernel says that the thread sleeps in futex(2), so a signal does not cut anything short;
 * - in the handler of that signal the thread finds in its registers that it waits without a limit, and on
 *   which word, and it has not moved since;
 * - around that word is a lock as glibc makes them;
 * - the lock's owner is a thread that has crashed, or that waits for ever itself. One that names no owner, as
 *   malloc's, must have been contended for GRACE_US: who holds such a lock and lives needs microseconds.
 *
 * Where the kernel does not say (no /proc, no wchan) nobody is found, and the drain's deadline ends the wait.
 */
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/peek.h"
#include "engine/base/proc_file.h"
#include "engine/work/pool_private.h"

#define GRACE_US  (5 * CLOCK_US_PER_SECOND)
#define CONTENDED 2 /* glibc's word of a lock that somebody waits for */

/* -- the worker's thread -- */

struct futex_call {
    uintptr_t word;
    int operation;
    bool limited;
};

/* The call that a signal has interrupted and the kernel will repeat; false: it is another one, or unknown. */
static bool interrupted_futex(const ucontext_t *context, struct futex_call *call)
{
#if defined(__x86_64__)
    const greg_t *r = context->uc_mcontext.gregs;
    const unsigned char *next = (const unsigned char *)r[REG_RIP];

    *call = (struct futex_call){(uintptr_t)r[REG_RDI], (int)r[REG_RSI], r[REG_R10] != 0};
    return r[REG_RAX] == SYS_futex && next[0] == 0x0f && next[1] == 0x05;
#elif defined(__aarch64__)
    const mcontext_t *m = &context->uc_mcontext;

    *call = (struct futex_call){(uintptr_t)m->regs[0], (int)m->regs[1], m->regs[3] != 0};
    return m->regs[8] == SYS_futex && *(const uint32_t *)m->pc == 0xd4000001;
#else
    (void)context;
    (void)call;
    return false;
#endif
}

/* Not getrusage(): that is PHP's here. */
void stuck_answer(struct worker *w, const void *context)
{
    struct futex_call call;
    struct rusage usage;
    uintptr_t word = 0;

    if (interrupted_futex(context, &call) && !call.limited) {
        int operation = call.operation & FUTEX_CMD_MASK;

        w->wait.of_rwlock = operation == FUTEX_WAIT_BITSET;
        word = operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET ? call.word : 0;
    }
    atomic_store(&w->wait.word, word);
    syscall(SYS_getrusage, RUSAGE_THREAD, &usage);
    atomic_store(&w->wait.sleep, (uint64_t)usage.ru_nvcsw + 1); /* it goes back to it at once */
}

/* -- the control thread -- */

static bool read_task(const struct worker *w, const char *name, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)w->tid, name);
    return proc_file_read(path, text, size);
}

/* The number of the sleep that it is in, of all that it has had, if that is in futex(2); 0: it is not. */
static uint64_t sleep_in_futex(const struct worker *w)
{
    static const char name[] = "\nvoluntary_ctxt_switches:";
    char text[4096];

    if (!read_task(w, "wchan", text, sizeof(text)) || !strstr(text, "futex") ||
        !read_task(w, "status", text, sizeof(text))) {
        return 0;
    }
    const char *line = strstr(text, name);

    return line ? strtoumax(line + sizeof(name) - 1, NULL, 10) : 0;
}

static bool is_dead(const struct pool *pool, int tid)
{
    for (uint32_t i = 0; i < pool->lost_count; i++) {
        const struct worker *w = pool->lost[i];

        if (w->tid == tid && (w->crash_told || w->wait.for_ever)) {
            return true;
        }
    }
    return false;
}

static bool is_alive(int tid)
{
    return tid > 0 && syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

/* pthread_mutex_t has its owner's number 8 bytes behind the word that is waited on, pthread_rwlock_t its
 * writer's 12 or 16 bytes, as there are two such words. What is there may be no lock, and be gone by now. */
static bool nobody_releases(const struct pool *pool, const struct stuck_wait *wait, uint64_t lasted_us)
{
    int lock[5];

    if (!peek(lock, (const void *)atomic_load(&wait->word), sizeof(lock))) {
        return false;
    }
    if (wait->of_rwlock) {
        return is_dead(pool, lock[3]) || is_dead(pool, lock[4]);
    }
    return is_dead(pool, lock[2]) || (lock[0] == CONTENDED && !is_alive(lock[2]) && lasted_us >= GRACE_US);
}

static void give_up(struct pool *pool, struct worker *w, uint64_t now)
{
    if (pthread_mutex_trylock(&w->lock) != 0) {
        return;
    }
    atomic_store(&w->lost, true);
    w->wait.for_ever = true;
    w->abandon_status = 500;
    pthread_mutex_unlock(&w->lock);
    log_warning("[pool %s] child %d waits for a lock that a crash has taken along, and is written off",
                pool->conf->name, (int)w->tid);
    pool->lock_is_lost |= atomic_load(&w->life) == LIFE_STARTING;
    lost_add(pool, w, false, now);
}

static void look_at(struct pool *pool, struct worker *w, uint64_t now)
{
    enum worker_state state = worker_get_state(w);

    if (state == WORKER_IDLE || state == WORKER_PARKED || atomic_load(&w->lost) ||
        atomic_load(&w->crash.entered_us)) {
        return;
    }
    uint64_t sleep = sleep_in_futex(w);

    if (sleep == 0) {
        w->wait.since_us = 0;
    } else if (sleep != atomic_load(&w->wait.sleep)) { /* it has not said yet what it waits for */
        w->wait.since_us = 0;
        pthread_kill(w->thread, WORKER_SIGNAL_TRACE);
    } else if (atomic_load(&w->wait.word) != 0) {
        w->wait.since_us = w->wait.since_us ? w->wait.since_us : now;
        if (nobody_releases(pool, &w->wait, now - w->wait.since_us)) {
            give_up(pool, w, now);
        }
    }
}

static bool has_crashed(const struct pool *pool)
{
    for (uint32_t i = 0; i < pool->lost_count; i++) {
        if (pool->lost[i]->crash_told) {
            return true;
        }
    }
    return false;
}

void stuck_tick(struct pool *pool, uint64_t now)
{
    for (uint32_t i = 0; has_crashed(pool) && i < pool->worker_count; i++) {
        if (pool->workers[i]) {
            look_at(pool, pool->workers[i], now);
        }
    }
}
