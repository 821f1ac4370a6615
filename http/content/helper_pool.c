/* Helper threads. See the header. One lock for everything: a task is tens of kilobytes of work, a lock a
 * moment. */
#include "http/content/helper_pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/thread.h"

#define THREADS_MAX   32
#define FILES_MAX     64  /* that wait */
#define PASSWORDS_MAX 64  /* that wait: a few seconds of them */
#define ANSWERS_MAX   128 /* at a time: brotli of level 4 takes up to 4 MB, gzip a quarter of one */

struct lane {
    struct helper_pool *pool;
    const char *name; /* of its threads */
    int nice;
    unsigned limit, max; /* tasks that may wait, threads */
    pthread_cond_t wake;
    struct helper_task *first, *last;
    unsigned count, idle, started;
    pthread_t threads[THREADS_MAX];
};

struct helper_pool {
    pthread_mutex_t lock; /* guards everything */
    struct lane lanes[HELPERS_LANES];
    unsigned answers;
    bool stopping;
};

static void init_lane(struct helper_pool *pool, enum helper_lane which, const char *name, unsigned threads,
                      unsigned limit, int nice)
{
    struct lane *lane = &pool->lanes[which];
    lane->pool = pool;
    lane->name = name;
    lane->nice = nice;
    lane->limit = limit;
    lane->max = threads < THREADS_MAX ? threads : THREADS_MAX;
    pthread_cond_init(&lane->wake, NULL);
}

struct helper_pool *helper_pool_create(unsigned answer_threads)
{
    struct helper_pool *pool = calloc(1, sizeof *pool);
    if (pool) {
        pthread_mutex_init(&pool->lock, NULL);
        init_lane(pool, HELPERS_ANSWERS, "http-compress", answer_threads, ANSWERS_MAX, 0);
        init_lane(pool, HELPERS_FILES, "http-compress", 1, FILES_MAX, 10);
        init_lane(pool, HELPERS_PASSWORDS, "http-password", 1, PASSWORDS_MAX, 10);
    }
    return pool;
}

static struct helper_task *take(struct lane *lane)
{
    struct helper_task *task = lane->first;
    lane->first = task->next;
    lane->last = lane->first ? lane->last : NULL;
    lane->count--;
    return task;
}

static void *helper(void *arg)
{
    struct lane *lane = arg;
    struct helper_pool *pool = lane->pool;
    pthread_setname_np(pthread_self(), lane->name);
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), lane->nice); /* Linux: of this thread */
    pthread_mutex_lock(&pool->lock);
    while (!pool->stopping) {
        if (!lane->first) {
            lane->idle++;
            pthread_cond_wait(&lane->wake, &pool->lock);
            lane->idle--;
            continue;
        }
        struct helper_task *task = take(lane);
        pthread_mutex_unlock(&pool->lock);
        task->run(task);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Lock held. Starts a thread if no idle one is left for one task more; false: the lane has none at all.
 */
static bool staffed(struct lane *lane)
{
    if (lane->started > 0 && (lane->count < lane->idle || lane->started == lane->max)) {
        return true;
    }
    lane->started += thread_start(&lane->threads[lane->started], helper, lane) == 0;
    return lane->started > 0;
}

bool helper_pool_add(struct helper_pool *pool, enum helper_lane which, struct helper_task *task)
{
    struct lane *lane = &pool->lanes[which];
    pthread_mutex_lock(&pool->lock);
    bool taken = !pool->stopping && lane->count < lane->limit && staffed(lane);
    if (taken) {
        task->next = NULL;
        *(lane->first ? &lane->last->next : &lane->first) = task;
        lane->last = task;
        lane->count++;
        pthread_cond_signal(&lane->wake);
    }
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

bool helper_pool_enter(struct helper_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool room = !pool->stopping && pool->answers < ANSWERS_MAX && staffed(&pool->lanes[HELPERS_ANSWERS]);
    pool->answers += room;
    pthread_mutex_unlock(&pool->lock);
    return room;
}

void helper_pool_leave(struct helper_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->answers--;
    pthread_mutex_unlock(&pool->lock);
}

void helper_pool_stop(struct helper_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true; /* no thread starts from here on */
    for (int i = 0; i < HELPERS_LANES; i++) {
        pthread_cond_broadcast(&pool->lanes[i].wake);
    }
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < HELPERS_LANES; i++) {
        struct lane *lane = &pool->lanes[i];
        for (; lane->started > 0; lane->started--) {
            pthread_join(lane->threads[lane->started - 1], NULL);
        }
        while (lane->first) {
            struct helper_task *task = take(lane);
            task->forget(task);
        }
    }
}

void helper_pool_destroy(struct helper_pool *pool)
{
    if (!pool) {
        return;
    }
    helper_pool_stop(pool);
    for (int i = 0; i < HELPERS_LANES; i++) {
        pthread_cond_destroy(&pool->lanes[i].wake);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
