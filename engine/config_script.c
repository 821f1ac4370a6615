/* worker.script: what can be known of it before it boots. Supervisor's thread. */
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "engine/config.h"

/* The script's name is what PHP sees: in a pool with a root directory of its own, from there. */
static bool is_file(const struct pool_settings *s)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s%s", s->chroot ? s->chroot : "", s->worker_script);

    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int config_check_script(struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;

    if (s->worker_num == 0) {
        s->worker_num = s->max_children;
    }
    if (!s->worker_script) {
        return 0;
    }
    if (!is_file(s)) {
        log_error("[pool %s] the worker.script '%s' does not exist or is not a file", pool->name,
                  s->worker_script);
        return -1;
    }
    return 0;
}
