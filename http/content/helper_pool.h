/* Helper threads for what takes long, so that no loop ever does it. Three lanes: answers that are compressed
 * while a client waits for them have a few threads; compressed forms of static files, which can wait, have
 * one of low priority; so have passwords, so that who guesses at them takes nothing from anyone else. A
 * thread starts when there is a task that no idle thread takes, and stays. */
#ifndef HTTP_CONTENT_HELPER_POOL_H
#define HTTP_CONTENT_HELPER_POOL_H

#include <stdbool.h>

enum helper_lane { HELPERS_ANSWERS, HELPERS_FILES, HELPERS_PASSWORDS, HELPERS_LANES };

/* Embedded in whatever is to be done; the pool's from helper_pool_add() until it calls one of the two. */
struct helper_task {
    struct helper_task *next;                 /* guarded by the pool's lock */
    void (*run)(struct helper_task *self);    /* on a helper thread */
    void (*forget)(struct helper_task *self); /* instead of run, in helper_pool_stop(): the process ends */
};

struct helper_pool;

/* answer_threads: at most, 1 or more. NULL: out of memory. */
struct helper_pool *helper_pool_create(unsigned answer_threads);
/* Any thread. False: the lane is full, there is no thread, or the pool is stopped; the task stays the
 * caller's. */
bool helper_pool_add(struct helper_pool *pool, enum helper_lane lane, struct helper_task *task);
/* An answer has a compressor's memory until its end has come, so their number is limited. Any
 * thread. False: there are enough, or no thread. True: helper_pool_leave() is due. */
bool helper_pool_enter(struct helper_pool *pool);
void helper_pool_leave(struct helper_pool *pool);
/* Control thread: the threads finish the task that they have and end; the other tasks are forgotten. */
void helper_pool_stop(struct helper_pool *pool);
void helper_pool_destroy(struct helper_pool *pool); /* NULL is fine; stops it */

#endif
