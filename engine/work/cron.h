/* Commands at certain times (cron[NAME] = "0 4 * * * * COMMAND"), started by a thread of the process of a
 * pool's tasks with /bin/sh, one at a time of each name, also across processes that replace each other.
 * What they print goes where the workers' output goes. */
#ifndef ENGINE_WORK_CRON_H
#define ENGINE_WORK_CRON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/settings.h"
#include "engine/work/task_notes.h"

struct cron;

/* Control thread. pool: its name; it, the pairs, the notes and both flags outlive the process. Nothing is
 * started before *open and after *draining. notes: NULL = nobody went before, and nobody follows. NULL: it
 * could not be had (reported). */
struct cron *cron_start(const char *pool, const struct setting_pair *jobs, struct task_notes *notes,
                        _Atomic bool *open, _Atomic bool *draining);
uint32_t cron_running(const struct cron *cron); /* commands; NULL = 0; any thread */
void cron_terminate(struct cron *cron);         /* asks those that run to end (SIGTERM); NULL is fine */

#endif
