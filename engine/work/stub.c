/* The executor of `engine = stub`: no PHP. Every request is read to its end and answered with one fixed text,
 * so that what is measured is the server. Worker threads; no state. */
#include <stdio.h>

#include "engine/work/executor.h"
#include "engine/work/request.h"
#include "engine/work/worker.h"

static const char answer[] = "tokiophp stub\n";

static int stub_start(const struct cli_options *cli, const struct pool_conf *pool)
{
    (void)cli;
    (void)pool;
    return 0;
}

static void stub_stop(void)
{
}

static int stub_thread_start(struct worker *worker)
{
    (void)worker;
    return 0;
}

static void stub_thread_stop(struct worker *worker)
{
    (void)worker;
}

static void stub_run(struct worker *worker, struct request *r)
{
    static const struct header_line lines[] = {
        {.text = "Content-Type: text/plain", .len = 24, .name_len = 12},
    };
    const struct response_head head = {
        .status = r->page == PAGE_ERROR ? r->error_status : 200,
        .lines = lines,
        .count = 1,
        .no_body = r->method && str_eq(str_of(r->method), STR("HEAD")),
    };
    char sink[16384];

    (void)worker;
    while (r->content_length != 0 && request_read_body(r, sink, sizeof(sink)) > 0) {
    }
    request_send_head(r, &head);
    if (!head.no_body) {
        request_write(r, answer, sizeof(answer) - 1);
    }
    request_finish(r);
}

/* It is never long in a request: reading and writing end by the front end's own deadlines. */
static void stub_interrupt(struct worker *worker, enum interrupt_reason reason)
{
    (void)worker;
    (void)reason;
}

const struct executor stub_executor = {
    .name = "stub",
    .start = stub_start,
    .stop = stub_stop,
    .thread_start = stub_thread_start,
    .thread_stop = stub_thread_stop,
    .run = stub_run,
    .interrupt = stub_interrupt,
};
