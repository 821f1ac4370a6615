/* See fcgi_pool.h. What the query string may say, several with '&':
 *   body      answer with the request's body        params    with every variable, "NAME=value\n"
 *   size=N    answer with N bytes "x"               sleep=MS  wait before answering
 *   flush     flush behind the head                 early     finish before sleeping
 *   later=MS  wait behind that
 *   message   send two messages                     status=N  with this status
 *   wait      write and flush until the client is gone */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/work/pool.h"
#include "engine/work/request.h"
#include "fcgi/fcgi.h"
#include "tests/support/fcgi_pool.h"

struct fcgi_pool {
    struct pool_conf conf;
    struct fcgi_settings front;
    struct listener listener;
    struct scoreboard *board;
    struct pool *pool;
    pthread_t control;
    _Atomic bool stop;
};

static long asked(const struct request *r, const char *name)
{
    const char *at = strstr(r->query, name);

    if (!at) {
        return -1;
    }
    at += strlen(name);
    return *at == '=' ? atol(at + 1) : 0;
}

static void send_params(struct request *r)
{
    for (size_t i = 0; i < r->param_count; i++) {
        request_write(r, r->params[i].name, r->params[i].name_len);
        request_write(r, "=", 1);
        request_write(r, r->params[i].value, r->params[i].value_len);
        request_write(r, "\n", 1);
    }
}

static void send_body(struct request *r)
{
    char buf[20000];
    ssize_t n;

    while ((n = request_read_body(r, buf, sizeof(buf))) > 0) {
        request_write(r, buf, (size_t)n);
    }
    if (n < 0) {
        request_write(r, "BROKEN", 6);
    }
}

static char x[100000]; /* all 'x' once a pool has started */

static void send_size(struct request *r, long size)
{
    while (size > 0) {
        long n = size < (long)sizeof(x) ? size : (long)sizeof(x);

        if (request_write(r, x, (size_t)n) < 0) {
            return;
        }
        size -= n;
    }
}

static void nap(long ms)
{
    if (ms > 0) {
        usleep((useconds_t)ms * 1000);
    }
}

static void send_answer(struct request *r)
{
    if (r->page == PAGE_ERROR) {
        request_write(r, r->error_body, strlen(r->error_body));
    } else if (asked(r, "params") >= 0) {
        send_params(r);
    } else if (asked(r, "body") >= 0) {
        send_body(r);
    } else if (asked(r, "size") >= 0) {
        send_size(r, asked(r, "size"));
    } else if (asked(r, "wait") >= 0) {
        while (request_write(r, "tick\n", 5) == 0 && request_flush(r) == 0) {
            nap(5);
        }
    } else {
        request_write(r, "hello\n", 6);
    }
}

static void run(struct worker *worker, struct request *r)
{
    static const struct header_line line = {"Content-Type: text/plain", 24, 12};
    long status = asked(r, "status");
    struct response_head head = {.status = status > 0 ? (int)status : 200, .lines = &line, .count = 1};

    (void)worker;
    if (r->page == PAGE_ERROR) {
        head.status = r->error_status;
    }
    if (asked(r, "early") < 0) {
        nap(asked(r, "sleep"));
    }
    if (asked(r, "message") >= 0) {
        request_message(r, "one", 3);
        request_message(r, "two", 3);
    }
    request_send_head(r, &head);
    if (asked(r, "flush") >= 0) {
        request_flush(r);
    }
    nap(asked(r, "later"));
    send_answer(r);
    request_finish(r);
    if (asked(r, "early") >= 0) {
        nap(asked(r, "sleep"));
    }
}

static int start(const struct cli_options *cli, const struct pool_conf *pool)
{
    (void)cli;
    (void)pool;
    return 0;
}

static void stop(void)
{
}

static int thread_start(struct worker *worker)
{
    (void)worker;
    cgi_rules.fix_pathinfo = true;
    return 0;
}

static void thread_stop(struct worker *worker)
{
    (void)worker;
}

static void interrupt(struct worker *worker, enum interrupt_reason reason)
{
    (void)worker;
    (void)reason;
}

static const struct executor executor = {.name = "test",
                                         .start = start,
                                         .stop = stop,
                                         .thread_start = thread_start,
                                         .thread_stop = thread_stop,
                                         .run = run,
                                         .interrupt = interrupt};

static void *control(void *arg)
{
    struct fcgi_pool *p = arg;
    uint64_t second = clock_us();

    while (!atomic_load(&p->stop)) {
        pool_tick(p->pool);
        if (clock_us() - second > 1000000) {
            second = clock_us();
            fcgi_frontend.tick(p->pool);
        }
        nap(20);
    }
    return NULL;
}

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(2);
    }
}

struct fcgi_pool *fcgi_pool_start(const char *path, int workers, const struct pool_settings *settings)
{
    struct fcgi_pool *p = calloc(1, sizeof(*p));
    char error[256];

    must(p != NULL, "calloc");
    memset(x, 'x', sizeof(x));
    unlink(path);
    if (settings) {
        p->conf.s = *settings;
    }
    p->conf.name = (char *)"test";
    p->conf.s.pm = PM_STATIC;
    p->conf.s.max_children = workers;
    p->conf.s.limit_extensions = (char *)"";
    for (int i = 0; i < CONFIG_MAX_FRONTENDS; i++) {
        p->conf.frontend_settings[i] = &p->front;
    }
    must(sock_parse(path, &p->listener.address, error, sizeof(error)) == 0, error);
    p->listener.options =
        (struct sock_options){.backlog = -1, .owner = (uid_t)-1, .group = (gid_t)-1, .mode = 0600};
    p->listener.frontend = &fcgi_frontend;
    p->listener.pool = &p->conf;
    p->listener.fd = sock_listen(&p->listener.address, &p->listener.options, error, sizeof(error));
    must(p->listener.fd >= 0, error);
    p->board = scoreboard_create(&p->conf);
    must(p->board != NULL, "scoreboard");
    p->pool = pool_create(&p->conf, &executor, p->board, 1);
    must(p->pool != NULL, "pool");
    must(fcgi_frontend.start(p->pool, &p->listener) == 0, "front end");
    must(pool_start(p->pool) == 0, "pool_start");
    pool_open(p->pool);
    must(fcgi_frontend.open(p->pool) == 0, "front end, open");
    must(pthread_create(&p->control, NULL, control, p) == 0, "thread");
    return p;
}

unsigned fcgi_pool_open_connections(struct fcgi_pool *p)
{
    struct fcgi_front *front = pool_front(p->pool, &fcgi_frontend);

    return atomic_load(&front->open);
}

struct fcgi_front *fcgi_pool_front(struct fcgi_pool *p)
{
    return pool_front(p->pool, &fcgi_frontend);
}

bool fcgi_pool_stop(struct fcgi_pool *p, unsigned seconds)
{
    uint64_t until = clock_us() + seconds * CLOCK_US_PER_SECOND;
    bool clean = false;

    atomic_store(&p->stop, true);
    pthread_join(p->control, NULL);
    fcgi_frontend.drain(p->pool);
    pool_drain(p->pool);
    while (!(clean = fcgi_frontend.drained(p->pool) && pool_idle(p->pool)) && clock_us() < until) {
        pool_tick(p->pool);
        nap(10);
    }
    clean = pool_stop(p->pool) && clean;
    fcgi_frontend.stop(p->pool);
    pool_destroy(p->pool);
    scoreboard_destroy(p->board);
    close(p->listener.fd);
    unlink(p->listener.address.text);
    free(p);
    return clean;
}
