/* Helper threads that compress, so that no loop ever does. Two lanes: answers that a client waits for have a
 * few threads; compressed forms of static files, which can wait, have one of low priority. A thread starts
 * when there is a task that no idle thread takes, and stays. */
#ifndef HTTP_CONTENT_COMPRESS_POOL_H
#define HTTP_CONTENT_COMPRESS_POOL_H

#include <stdbool.h>

enum compress_lane { COMPRESS_ANSWERS, COMPRESS_FILES };

/* Embedded in whatever is to be done; the pool's from compress_pool_add() until it calls one of the two. */
struct compress_task {
    struct compress_task *next;              /* guarded by the pool's lock */
    void (*run)(struct compress_task *self); /* on a helper thread */
    void (*forget)(
        struct compress_task *self); /* instead of run, in compress_pool_stop(): the process ends */
};

struct compress_pool;

/* answer_threads: at most, 1 or more. NULL: out of memory. */
struct compress_pool *compress_pool_create(unsigned answer_threads);
/* Any thread. False: the lane is full, there is no thread, or the pool is stopped; the task stays the
 * caller's. */
bool compress_pool_add(struct compress_pool *pool, enum compress_lane lane, struct compress_task *task);
/* An answer has a compressor's memory until its end has come, so their number is limited. Any
 * thread. False: there are enough, or no thread. True: compress_pool_leave() is due. */
bool compress_pool_enter(struct compress_pool *pool);
void compress_pool_leave(struct compress_pool *pool);
/* Control thread: the threads finish the task that they have and end; the other tasks are forgotten. */
void compress_pool_stop(struct compress_pool *pool);
void compress_pool_destroy(struct compress_pool *pool); /* NULL is fine; stops it */

#endif
