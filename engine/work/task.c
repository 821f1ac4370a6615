/* See task.h. */
#include "engine/work/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/work/cron.h"
#include "engine/work/pool_private.h"
#include "engine/work/request.h"
#include "engine/work/task_notes.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_DOUBLES  8                          /* up to 25.6 s */
#define LONG_ENOUGH_US   (10 * CLOCK_US_PER_SECOND) /* a run after which the next one is not held back */
#define SLICE_MS         50
#define LINE_MAX_BYTES   1024
#define WORDS            64

struct task {
    const struct setting_pair *pair; /* its name, its script and arguments */
    uint64_t number;                 /* of those that run the same */
    char *words[WORDS + 1];          /* its script and its arguments, in text */
    int word_count;
    struct task_note *note; /* NULL = none */
    unsigned short_runs;    /* in a row */
    uint64_t not_before_us;
    _Atomic uint64_t started_us; /* of the run */
    char line[LINE_MAX_BYTES];   /* of what it prints, so far */
    size_t line_n;
    bool replaced; /* control thread: its worker was lost, and another one has its place */
    char text[];
};

/* What a CLI has and a request has not: no limit of time, each line as it is printed, and $argv. */
static const char settings[] = "max_execution_time=0\nmax_input_time=0\noutput_buffering=0\n"
                               "implicit_flush=1\nhtml_errors=0\nregister_argc_argv=1\n";

/* -- what it prints -- */

static void say_line(struct request *r)
{
    struct task *task = r->front;

    log_as_server = true;
    if (task->line_n > 0) {
        log_notice("[pool %s] task %s: %.*s", r->pool->conf->name, task->pair->key, (int)task->line_n,
                   task->line);
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
    r.uri = task->pair->key;
    r.script = task->words[0];
    r.argv = task->words;
    r.argc = task->word_count;
    r.content_length = 0;
    r.php_value = settings;
    r.times.accepted = clock_us();
    if (add(&r, "SCRIPT_FILENAME", r.script) && add(&r, "SCRIPT_NAME", r.script) &&
        add(&r, "PHP_SELF", r.script) && add(&r, "TOKIO_TASK", task->pair->key)) {
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

static unsigned backoff_ms(unsigned short_runs)
{
    return short_runs > 0 ? BACKOFF_FIRST_MS << (short_runs - 1) : 0;
}

static unsigned count_run(unsigned short_runs, uint64_t ran_us)
{
    return ran_us >= LONG_ENOUGH_US ? 0 : short_runs + (short_runs < BACKOFF_DOUBLES);
}

/* How it went before, in this process or another one. */
static void begin_where_others_ended(struct task *task, const struct pool *pool)
{
    uint64_t longest = clock_us() + backoff_ms(BACKOFF_DOUBLES) * 1000ULL;

    if (task->note && !task->not_before_us) {
        task->short_runs = atomic_load(&task->note->short_runs);
        task->short_runs = task->short_runs < BACKOFF_DOUBLES ? task->short_runs : BACKOFF_DOUBLES;
        task->not_before_us = atomic_load(&task->note->not_before_us);
    }
    wait_slices(pool, task->not_before_us < longest ? task->not_before_us : longest, is_over);
}

static void say_how_it_went(const struct worker *w, enum log_level level, const char *how, uint64_t ran_us)
{
    log_as_server = true;
    log_write(level, __func__, __LINE__, "[pool %s] task %s has %s after %llu.%03llu seconds%s",
              w->pool->conf->name, w->task->pair->key, how,
              (unsigned long long)(ran_us / CLOCK_US_PER_SECOND), (unsigned long long)(ran_us / 1000 % 1000),
              is_over(w->pool) ? "" : ", and is started again");
    log_as_server = false;
}

/* What its thread does instead of looking for work; returns at the process's end. */
static bool live(struct worker *w)
{
    struct task *task = w->task;
    struct pool *pool = w->pool;

    worker_stands(w);
    begin_where_others_ended(task, pool);
    while (!is_over(pool)) {
        uint64_t began = clock_us();

        atomic_store(&task->started_us, began);
        int status = run(w);
        uint64_t ran = clock_us() - began;

        worker_set_state(w, WORKER_IDLE);
        task->short_runs = count_run(task->short_runs, ran);

        say_how_it_went(w, status >= 500 ? LEVEL_WARNING : LEVEL_NOTICE, status >= 500 ? "failed" : "ended",
                        ran);
        wait_slices(pool, clock_us() + backoff_ms(task->short_runs) * 1000ULL, is_over);
    }
    wait_slices(pool, UINT64_MAX, is_ending);
    return true;
}

/* -- made and unmade -- */

void pool_set_task_notes(struct pool *pool, int fd)
{
    pool->task_notes = task_notes_open(fd);
}

/* A script, whose full path the configuration is checked for, and words for it. */
static void take_words(struct task *task, const char *value)
{
    char *rest = strcpy(task->text, value), *word;

    while (task->word_count < WORDS && (word = strtok_r(rest, " \t", &rest))) {
        task->words[task->word_count++] = word;
    }
    MUST(task->word_count > 0);
}

static void start_one(struct pool *pool, const struct setting_pair *pair, uint64_t number,
                      unsigned short_runs, uint64_t not_before_us)
{
    struct task *task = calloc(1, sizeof(*task) + strlen(pair->value) + 1);

    if (!task) {
        log_error("[pool %s] no memory for task %s", pool->conf->name, pair->key);
        return;
    }
    take_words(task, pair->value);
    task->pair = pair;
    task->number = number;
    task->short_runs = short_runs;
    task->not_before_us = not_before_us;
    task->note = task_note_find(pool->task_notes, "task", pair->key, number);
    if (workers_add(pool, &(struct worker_plan){.kind = KIND_TASK, .work = live, .task = task}) != 0) {
        free(task);
    }
}

static void replace(const struct worker *w)
{
    struct task *task = w->task;
    uint64_t now = clock_us(), began = atomic_load(&task->started_us);
    uint64_t ran = began ? now - began : 0; /* it may be lost before its first run */
    unsigned short_runs = count_run(task->short_runs, ran);
    uint64_t not_before = now + backoff_ms(short_runs) * 1000ULL;

    if (task->note) {
        atomic_store(&task->note->short_runs, short_runs);
        atomic_store(&task->note->not_before_us, not_before);
    }
    say_how_it_went(w, LEVEL_WARNING, w->crash_told ? "crashed" : "been given up", ran);
    if (!is_over(w->pool)) {
        start_one(w->pool, task->pair, task->number, short_runs, not_before);
    }
}

void tasks_start(struct pool *pool)
{
    const struct pool_conf *of = pool->conf->tasks_of;

    for (const struct setting_pair *pair = of ? of->s.task_script : NULL; pair; pair = pair->next) {
        for (int64_t i = 0; i < of->s.task_num; i++) {
            start_one(pool, pair, (uint64_t)i, 0, 0);
        }
    }
    if (of && of->s.cron) {
        pool->cron = cron_start(pool->conf->name, of->s.cron, pool->task_notes, &pool->open, &pool->draining);
    }
}

void tasks_replace(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->lost_count; i++) {
        struct task *task = pool->lost[i]->task;

        if (task && !task->replaced) {
            task->replaced = true;
            replace(pool->lost[i]);
        }
    }
}
