/* See php_pool.h. */
#include "tests/support/php_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool.h"

static struct pool *pool;
static struct scoreboard *board;
static struct pool_conf conf;
static struct setting_pair pairs[16];
static size_t pairs_used;
static char directory[] = "/tmp/tphp.XXXXXX";
static char *files[256];
static size_t file_count;

/* -- the front end -- */

static ssize_t read_body(struct request *r, char *p, size_t n)
{
    struct call *c = r->front;
    size_t left = c->post_n - c->body_at;

    if (left == 0) {
        return c->post_claimed > (int64_t)c->post_n ? -1 : 0;
    }
    n = n < left ? n : left;
    n = n > 1000 ? 1000 : n; /* in pieces, as a network would */
    memcpy(p, c->post + c->body_at, n);
    c->body_at += n;
    return (ssize_t)n;
}

static void add_lines(struct buf *out, const struct response_head *head)
{
    for (size_t i = 0; i < head->count; i++) {
        buf_add(out, head->lines[i].text, head->lines[i].len);
        buf_add(out, "\n", 1);
    }
    buf_add(out, "", 0);
}

static int send_head(struct request *r, const struct response_head *head)
{
    struct call *c = r->front;

    c->status = head->status;
    add_lines(&c->head, head);
    return 0;
}

static int send_interim(struct request *r, const struct response_head *head)
{
    struct call *c = r->front;

    buf_printf(&c->interim, "%d\n", head->status);
    add_lines(&c->interim, head);
    return 0;
}

static int write_body(struct request *r, const char *p, size_t n)
{
    struct call *c = r->front;

    c->written += n;
    if (c->gone_after && c->written > c->gone_after) {
        return -1;
    }
    buf_add(&c->body, p, n);
    return 0;
}

static int flush(struct request *r)
{
    struct call *c = r->front;

    c->flushes++;
    if (c->on_flush) {
        c->on_flush();
    }
    return 0;
}

static void finish(struct request *r)
{
    struct call *c = r->front;

    assert_false(c->finished);
    c->finished = true;
    c->finished_us = clock_us();
}

static void message(struct request *r, const char *text, size_t n)
{
    struct buf *all = &((struct call *)r->front)->messages;

    if (all->n) {
        buf_add(all, "; ", 2);
    }
    buf_add(all, text, n);
}

static void abandon(struct request *r, int status, bool locked)
{
    struct call *c = r->front;

    (void)locked;
    c->status = status;
}

static const struct request_io io = {
    .read_body = read_body,
    .send_head = send_head,
    .send_interim = send_interim,
    .write = write_body,
    .flush = flush,
    .finish = finish,
    .message = message,
    .abandon = abandon,
};

/* -- calls -- */

static void on_done(struct request *r)
{
    struct call *c = r->front;

    c->done_us = clock_us();
    sem_post(&c->done);
}

static void on_expired(struct request *r)
{
    on_done(r);
}

static void add_params(struct call *c)
{
    struct request *r = &c->request;

    request_param(r, STR("REQUEST_METHOD"), str_of(r->method));
    request_param(r, STR("SCRIPT_FILENAME"), str_of(r->script));
    request_param(r, STR("SCRIPT_NAME"), STR("/test.php"));
    request_param(r, STR("QUERY_STRING"), str_of(r->query));
    for (size_t i = 0; c->params[i]; i++) {
        const char *equals = strchr(c->params[i], '=');

        request_param(r, (struct str){c->params[i], (size_t)(equals - c->params[i])}, str_of(equals + 1));
    }
}

void call_submit(struct call *c)
{
    struct request *r = &c->request;

    c->arena = arena_create(16u << 20);
    sem_init(&c->done, 0, 0);
    request_init(r, pool, &io, c, c->arena);
    r->method = c->method ? c->method : c->post ? "POST" : "GET";
    r->script = c->script;
    r->uri = "/test.php";
    r->query = c->query ? c->query : "";
    r->content_type = c->content_type;
    r->content_length = c->length_unknown ? -1 : c->post_claimed ? c->post_claimed : (int64_t)c->post_n;
    r->cookie = c->cookie;
    r->authorization = c->authorization;
    r->php_value = c->php_value;
    r->php_admin_value = c->php_admin_value;
    r->document_root = directory;
    r->page = c->page;
    r->error_status = c->error_status;
    r->error_body = c->error_body;
    r->error_message = c->error_message;
    r->times.accepted = clock_us();
    add_params(c);
    c->submission = (struct submission){.request = r, .done = on_done, .expired = on_expired};
    assert_int_equal(pool_submit(pool, &c->submission), SUBMIT_OK);
}

void call_wait(struct call *c)
{
    uint64_t until = clock_us() + 60 * CLOCK_US_PER_SECOND;

    for (;;) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_nsec += 50000000;
        ts.tv_sec += ts.tv_nsec / 1000000000;
        ts.tv_nsec %= 1000000000;
        if (sem_timedwait(&c->done, &ts) == 0) {
            break;
        }
        pool_tick(pool);
        assert_true(clock_us() < until);
    }
    buf_add(&c->body, "", 0);
    buf_add(&c->messages, "", 0);
}

void call_run(struct call *c)
{
    call_submit(c);
    call_wait(c);
}

void call_free(struct call *c)
{
    buf_free(&c->head);
    buf_free(&c->body);
    buf_free(&c->messages);
    buf_free(&c->interim);
    request_release(&c->request);
    arena_destroy(c->arena);
    sem_destroy(&c->done);
}

/* -- the pool -- */

static struct setting_pair *make_pairs(const char *const *list)
{
    struct setting_pair *first = NULL, **end = &first;

    for (; *list; list += 2) {
        struct setting_pair *p = &pairs[pairs_used++];

        p->key = (char *)(uintptr_t)list[0];
        p->value = (char *)(uintptr_t)list[1];
        *end = p;
        end = &p->next;
    }
    return first;
}

void php_pool_start(const struct php_pool_options *o)
{
    static struct cli_options cli;

    assert_non_null(mkdtemp(directory));
    cli.no_php_ini = !o->with_php_ini;
    cli.php_defines = (char *)(uintptr_t)o->defines;
    conf.name = (char *)"test";
    conf.s.pm = PM_STATIC;
    conf.s.max_children = o->workers;
    conf.s.processes = 1;
    conf.s.request_terminate_timeout = o->terminate_timeout;
    conf.s.ping_response = (char *)"pong";
    conf.s.php_value = make_pairs(o->php_value);
    conf.s.php_admin_value = make_pairs(o->php_admin_value);
    log_set_worker_fd(-1);
    assert_int_equal(php_executor.load(&cli, &conf, NULL), 0);
    assert_int_equal(php_executor.start(&cli, &conf), 0);
    board = scoreboard_create(&conf);
    pool = pool_create(&conf, &php_executor, board, 1);
    pool_set_queue(pool, 100000, 0);
    assert_int_equal(pool_start(pool), 0);
    pool_open(pool);
}

void php_pool_stop(void)
{
    pool_drain(pool);
    for (int i = 0; i < 500 && !pool_stop(pool); i++) {
        usleep(10000);
    }
    pool_destroy(pool);
    php_executor.stop();
    scoreboard_destroy(board);
    for (size_t i = 0; i < file_count; i++) {
        unlink(files[i]);
        free(files[i]);
    }
    char sub[sizeof directory + 4];

    snprintf(sub, sizeof sub, "%s/sub", directory);
    rmdir(sub);
    rmdir(directory);
}

struct pool *php_pool(void)
{
    return pool;
}

const char *php_file(const char *name, const char *text)
{
    char *path = NULL;
    struct timespec old[2] = {{.tv_sec = time(NULL) - 60}, {.tv_sec = time(NULL) - 60}};

    assert_true(file_count < sizeof files / sizeof *files);
    assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
    char *slash = strrchr(path, '/');

    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    utimensat(AT_FDCWD, path, old, 0); /* OPcache does not take files that have just changed */
    files[file_count++] = path;
    return path;
}

const char *php_script(const char *text)
{
    char name[32];

    snprintf(name, sizeof name, "s%zu.php", file_count);
    return php_file(name, text);
}
