/* How many workers a pool has: php-fpm's rules for pm, and "auto" from the machine's size. Supervisor's
 * thread. Sentences and levels are php-fpm's. */
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "engine/base/log.h"
#include "engine/base/machine.h"
#include "engine/config.h"

#define WORKERS_PER_CPU    4 /* PHP waits for databases most of the time */
#define WORKERS_AUTO_MIN   4
#define WORKER_AUTO_MEMORY (64u << 20) /* what auto reckons for a worker and its scripts */

static int64_t automatic_workers(void)
{
    int64_t workers = (int64_t)machine_cpus() * WORKERS_PER_CPU;
    int64_t fitting = (int64_t)(machine_memory() / WORKER_AUTO_MEMORY);

    if (workers < WORKERS_AUTO_MIN) {
        workers = WORKERS_AUTO_MIN;
    }
    if (fitting > 0 && workers > fitting) {
        workers = fitting;
    }
    return workers;
}

static int check_spares(struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;
    const char *name = pool->name;

    if (s->min_spare_servers <= 0) {
        log_alert("[pool %s] pm.min_spare_servers(%" PRId64 ") must be a positive value", name,
                  s->min_spare_servers);
    } else if (s->max_spare_servers <= 0) {
        log_alert("[pool %s] pm.max_spare_servers(%" PRId64 ") must be a positive value", name,
                  s->max_spare_servers);
    } else if (s->min_spare_servers > s->max_children || s->max_spare_servers > s->max_children) {
        log_alert("[pool %s] pm.min_spare_servers(%" PRId64 ") and pm.max_spare_servers(%" PRId64
                  ") cannot be greater than pm.max_children(%" PRId64 ")",
                  name, s->min_spare_servers, s->max_spare_servers, s->max_children);
    } else if (s->max_spare_servers < s->min_spare_servers) {
        log_alert("[pool %s] pm.max_spare_servers(%" PRId64
                  ") must not be less than pm.min_spare_servers(%" PRId64 ")",
                  name, s->max_spare_servers, s->min_spare_servers);
    } else {
        return 0;
    }
    return -1;
}

static int check_dynamic(struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;

    if (check_spares(pool) < 0) {
        return -1;
    }
    if (s->start_servers <= 0) {
        s->start_servers = s->min_spare_servers + (s->max_spare_servers - s->min_spare_servers) / 2;
        log_notice("[pool %s] pm.start_servers is not set. It's been set to %" PRId64 ".", pool->name,
                   s->start_servers);
    } else if (s->start_servers < s->min_spare_servers || s->start_servers > s->max_spare_servers) {
        log_alert("[pool %s] pm.start_servers(%" PRId64
                  ") must not be less than pm.min_spare_servers(%" PRId64
                  ") and not greater than pm.max_spare_servers(%" PRId64 ")",
                  pool->name, s->start_servers, s->min_spare_servers, s->max_spare_servers);
        return -1;
    }
    if (s->max_spawn_rate < 1) {
        log_alert("[pool %s] pm.max_spawn_rate must be a positive value", pool->name);
        return -1;
    }
    return 0;
}

static int check_ondemand(struct config *c, struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;
    const char *events = c->global.events_mechanism;

    if (events && *events && strcasecmp(events, "epoll") != 0) {
        log_alert("[pool %s] ondemand process manager can ONLY be used when events.mechanism is either epoll "
                  "(Linux) or kqueue (*BSD).",
                  pool->name);
        return -1;
    }
    if (s->process_idle_timeout < 1) {
        log_alert("[pool %s] pm.process_idle_timeout(%" PRId64 "s) must be greater than 0s", pool->name,
                  s->process_idle_timeout);
        return -1;
    }
    s->start_servers = s->min_spare_servers = s->max_spare_servers = 0;
    return 0;
}

int config_check_workers(struct config *c, struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;
    bool automatic = s->max_children == MAX_CHILDREN_AUTO;

    if (!c->cli->as_php_fpm) {
        automatic = automatic || s->max_children == 0;
        s->pm = s->pm == PM_UNSET ? PM_STATIC : s->pm;
    }
    if (s->pm == PM_UNSET) {
        log_alert("[pool %s] the process manager is missing (static, dynamic or ondemand)", pool->name);
        return -1;
    }
    if (automatic) {
        s->max_children = automatic_workers();
    }
    if (s->max_children < 1) {
        log_alert("[pool %s] pm.max_children must be a positive value", pool->name);
        return -1;
    }
    if (s->pm == PM_DYNAMIC) {
        return check_dynamic(pool);
    }
    return s->pm == PM_ONDEMAND ? check_ondemand(c, pool) : 0;
}
