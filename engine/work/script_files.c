/* worker.watch: when one of these files changes, what the booted worker script holds is out of date, and the
 * process is replaced. Control thread. */
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool_private.h"

/* A change is acted on once nothing has changed for so long, or so long after the first one. */
#define FILES_QUIET_US (CLOCK_US_PER_SECOND / 5)
#define FILES_WAIT_US  (2 * CLOCK_US_PER_SECOND)

void script_files_open(struct pool *pool)
{
    const char *patterns = pool->conf->s.worker_watch;

    if (!patterns || !*patterns) {
        return;
    }
    pool->files = file_watch_open(pool->conf->s.worker_watch_from, patterns);
    if (!pool->files || wakeup_add(pool, file_watch_fd(pool->files)) != 0) {
        log_sys(LEVEL_WARNING, "[pool %s] worker.watch: files cannot be watched", pool->conf->name);
    } else if (!file_watch_has_folder(pool->files)) {
        log_warning("[pool %s] worker.watch: there is no folder to watch", pool->conf->name);
    }
}

/* Once for all that changes together: an editor writes a file in steps, a deployment many files. */
void script_files_tick(struct pool *pool, uint64_t now)
{
    char name[256];

    if (pool->files && file_watch_changed(pool->files, name, sizeof(name))) {
        pool->files_first_us = pool->files_changed_us ? pool->files_first_us : now;
        pool->files_changed_us = now;
        log_notice("[pool %s] changed: %s", pool->conf->name, name);
    }
    if (pool->files_changed_us &&
        (now - pool->files_changed_us >= FILES_QUIET_US || now - pool->files_first_us >= FILES_WAIT_US)) {
        pool->files_changed_us = 0;
        pool_request_renewal(pool, "a file of worker.watch has changed");
    }
}
