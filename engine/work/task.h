/* Background tasks: scripts that run for long beside a pool's requests (task.script), each on a thread of its
 * own, in the engine process of a pool that has nothing else: engine/config_tasks.c makes it. To PHP and to
 * all that watches over workers a run of a script is one request, without a client: what it prints goes to
 * the log. A script that ends is started again; while the process drains it is not, and those that run are
 * told by tokio_task_should_stop(). Commands at certain times (cron) are in cron.c. */
#ifndef ENGINE_WORK_TASK_H
#define ENGINE_WORK_TASK_H

#include <stdbool.h>

struct pool;

/* Control thread, in pool_start: a worker for each, and cron's thread. */
void tasks_start(struct pool *pool);
/* Control thread, each tick: a task whose script has crashed PHP is started again on another thread, after a
 * while; in the next process, if that comes first. */
void tasks_replace(struct pool *pool);

#endif
