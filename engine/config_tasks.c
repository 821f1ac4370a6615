/* task.script and cron: checked, and the pools that they get. Supervisor's thread.
 *
 * A pool with tasks has a second one beside it, "NAME:tasks", which has no section, no listener and no
 * workers but theirs. So they have an engine process of their own, with the pool's user, directories, limits,
 * environment and PHP settings, and everything that happens to processes happens to it as to others. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/cron_time.h"
#include "engine/base/log.h"
#include "engine/config.h"
#include "engine/engine.h"

static int check_script(const struct pool_conf *pool, struct setting_pair *task)
{
    const char *root = pool->s.chroot ? pool->s.chroot : "";
    char path[PATH_MAX];
    struct stat st;
    int script_n = (int)strcspn(task->value, " \t"); /* then its arguments */
    int n = snprintf(path, sizeof(path), "%s%.*s", root, script_n, task->value);

    if (task->value[0] == '/' && n > 0 && (size_t)n < sizeof(path) && stat(path, &st) == 0 &&
        S_ISREG(st.st_mode)) {
        return 0;
    }
    log_error("[pool %s] the task.script[%s] '%.*s' is not the full path of a file", pool->name, task->key,
              script_n, task->value);
    return -1;
}

static int check_cron(const struct pool_conf *pool, const struct setting_pair *job)
{
    struct str text = str_of(job->value);
    struct cron_time when;

    if (cron_time_read(&when, &text) && text.n > 0) {
        return 0;
    }
    log_error(
        "[pool %s] cron[%s] = \"%s\": expected five fields of crontab(5), or @daily and the like, and a "
        "command",
        pool->name, job->key, job->value);
    return -1;
}

int config_check_tasks(struct pool_conf *pool)
{
    for (struct setting_pair *p = pool->s.task_script; p; p = p->next) {
        if (check_script(pool, p) < 0) {
            return -1;
        }
    }
    for (const struct setting_pair *p = pool->s.cron; p; p = p->next) {
        if (check_cron(pool, p) < 0) {
            return -1;
        }
    }
    return 0;
}

static int64_t count_threads(const struct pool_settings *s)
{
    int64_t count = 0;

    for (const struct setting_pair *p = s->task_script; p; p = p->next) {
        count += s->task_num;
    }
    return count;
}

/* What is the pool's stays its own: the copy points to it, and config_free leaves it alone. */
static void become_tasks_of(struct pool_conf *tasks, const struct pool_conf *of)
{
    struct pool_settings *s = &tasks->s;

    tasks->tasks_of = of;
    *s = of->s;
    s->worker_script = s->worker_routes = NULL;
    s->preload = 0;
    s->task_script = s->cron = NULL;
    s->status_path = s->status_listen = s->ping_path = NULL;
    s->access_log = s->slowlog = NULL;
    s->request_slowlog_timeout = s->request_terminate_timeout = s->max_requests = 0;
    s->pm = PM_ONDEMAND; /* nobody connects: no other worker is ever made */
    s->max_children = count_threads(&of->s) + 1;
    s->start_servers = s->min_spare_servers = s->max_spare_servers = 0;
    s->processes = 1;
    s->catch_workers_output = true;
}

static int add_defaults(void *ctx, const struct setting_table *table, void *in)
{
    (void)ctx;
    if (table != &engine_pool_table) {
        settings_apply_defaults(table, in);
    }
    return 0;
}

static struct pool_conf *make(const struct pool_conf *of)
{
    struct pool_conf *tasks = xcalloc(1, sizeof(*tasks));

    tasks->name = xasprintf("%s:tasks", of->name);
    tasks->file = of->file;
    tasks->line = of->line;
    for (int i = 0; frontends[i]; i++) {
        tasks->frontend_settings[i] = xcalloc(1, frontends[i]->pool_table->struct_size);
    }
    config_each_table(tasks, add_defaults, NULL);
    become_tasks_of(tasks, of);
    return tasks;
}

void config_add_tasks(struct config *config)
{
    struct pool_conf *first = NULL, **end = &first;

    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        if (pool->s.task_script || pool->s.cron) {
            *end = make(pool);
            end = &(*end)->next;
            config->pool_count++;
        }
    }
    for (end = &config->pools; *end;) {
        end = &(*end)->next;
    }
    *end = first;
}
