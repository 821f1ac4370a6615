/* See task.h. */
#include "engine/work/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/cron.h"
#include "engine/work/pool_private.h"
#include "engine/work/request.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_DOUBLES  8                          /* up to 25.6 s */
#define LONG_ENOUGH_US   (10 * CLOCK_US_PER_SECOND) /* a run after which the next one is not held back */
#define SLICE_MS         50
#define LINE_MAX_BYTES   1024

struct task {
    const char *name, *script; /* the configuration's */
    unsigned short_runs;       /* in a row */
    char line[LINE_MAX_BYTES]; /* of what it prints, so far */
    size_t line_n;
};

/* What a CLI has and a request has not: no limit of time, and each line as it is printed. */
static const char settings[] =
    "max_execution_time=0\nmax_input_time=0\noutput_buffering=0\nimplicit_flush=1\nhtml_errors=0\n";

/* -- what it prints -- */

static void say_line(struct request *r)
{
    struct task *task = r->front;

    log_as_server = true;
    if (task->line_n > 0) {
        log_notice("[pool %s] task %s: %.*s", r->pool->conf->name, task->name, (int)task->line_n, task->line);
    }
    log_as_server = false;
    task->line_n = 0;
}

static int task_write(struct request *r, const char *p, size_t n)
{
    struct task *task = r->front;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n' || task->line_n == sizeof(task->line)) {
            say_line(r);
        }
        if (p[i] != '\n') {
            task->line[task->line_n++] = p[i];
        }
    }
    return 0;
}

static ssize_t no_body(struct request *r, char *buf, size_t n)
{
    (void)r;
    (void)buf;
    (void)n;
    return 0;
}

static int no_head(struct request *r, const struct response_head *head)
{
    (void)r;
    (void)head;
    return 0;
}

static int no_flush(struct request *r)
{
    (void)r;
    return 0;
}

static void nobody_to_tell(struct request *r, int status, bool locked)
{
    (void)r;
    (void)status;
    (void)locked;
}

static const struct request_io task_io = {
    .read_body = no_body,
    .send_head = no_head,
    .write = task_write,
    .flush = no_flush,
    .finish = say_line,
    .abandon = nobody_to_tell,
};

/* -- a run -- */

static bool add(struct request *r, const char *name, const char *value)
{
    return request_param(r, str_of(name), str_of(value)) == 0;
}

/* Its HTTP status: 500 after a fatal error. */
static int run(struct worker *w)
{
    struct task *task = w->task;
    struct request r;

    request_init(&r, w->pool, &task_io, task, w->arena);
    r.method = "TASK";
    r.uri = task->name;
    r.script = task->script;
    r.content_length = 0;
    r.php_value = settings;
    r.times.accepted = clock_us();
    if (add(&r, "SCRIPT_FILENAME", task->script) && add(&r, "SCRIPT_NAME", task->script) &&
        add(&r, "PHP_SELF", task->script) && add(&r, "TOKIO_TASK", task->name)) {
        request_run(w, &r);
    }
    int status = r.status;

    request_release(&r);
    arena_reset(w->arena);
    return status;
}

static bool is_over(const struct pool *pool)
{
    return atomic_load(&pool->ending) || atomic_load(&pool->draining);
}

static void wait_slices(const struct pool *pool, uint64_t until, bool (*over)(const struct pool *))
{
    while (!over(pool) && clock_us() < until) {
        nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000L}, NULL);
    }
}

static bool is_ending(const struct pool *pool)
{
    return atomic_load(&pool->ending);
}

void task_life(struct worker *w)
{
    struct task *task = w->task;
    struct pool *pool = w->pool;

    worker_stands(w);
    while (!is_over(pool)) {
        uint64_t began = clock_us();
        int status = run(w);
        uint64_t ran = clock_us() - began;

        worker_set_state(w, WORKER_IDLE);
        task->short_runs =
            ran >= LONG_ENOUGH_US ? 0 : task->short_runs + (task->short_runs < BACKOFF_DOUBLES);
        unsigned ms = task->short_runs > 0 ? BACKOFF_FIRST_MS << (task->short_runs - 1) : 0;

        log_as_server = true;
        log_write(status >= 500 ? LEVEL_WARNING : LEVEL_NOTICE, __func__, __LINE__,
                  "[pool %s] task %s has %s after %llu.%03llu seconds%s", pool->conf->name, task->name,
                  status >= 500 ? "failed" : "ended", (unsigned long long)(ran / CLOCK_US_PER_SECOND),
                  (unsigned long long)(ran / 1000 % 1000), is_over(pool) ? "" : ", and is started again");
        log_as_server = false;
        wait_slices(pool, clock_us() + (uint64_t)ms * 1000, is_over);
    }
    wait_slices(pool, UINT64_MAX, is_ending);
}

/* -- made and unmade -- */

static void start_one(struct pool *pool, const struct setting_pair *pair)
{
    struct task *task = calloc(1, sizeof(*task));

    if (!task) {
        log_error("[pool %s] no memory for task %s", pool->conf->name, pair->key);
        return;
    }
    *task = (struct task){.name = pair->key, .script = pair->value};
    pool->next_task = task;
    if (pool_add_worker(pool, KIND_TASK) != 0 && pool->next_task) {
        free(task);
    }
    pool->next_task = NULL;
}

void tasks_start(struct pool *pool)
{
    const struct pool_conf *of = pool->conf->tasks_of;

    for (const struct setting_pair *pair = of ? of->s.task_script : NULL; pair; pair = pair->next) {
        for (int64_t i = 0; i < of->s.task_num; i++) {
            start_one(pool, pair);
        }
    }
    if (of && of->s.cron) {
        pool->cron = cron_start(pool->conf->name, of->s.cron, &pool->open, &pool->draining);
    }
}

void task_free(struct worker *w)
{
    free(w->task);
    w->task = NULL;
}
