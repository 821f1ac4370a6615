/* Executors without PHP. The one of `engine = stub` reads every request to its end and answers it with one
 * fixed text, so that what is measured is the server. The stand-in answers for a pool whose PHP does not
 * start: 503, try again. Worker threads; no state. */
#include <stdio.h>

#include "engine/work/executor.h"
#include "engine/work/request.h"
#include "engine/work/worker.h"

static const struct header_line lines[] = {
    {.text = "Content-Type: text/plain", .len = 24, .name_len = 12},
    {.text = "Retry-After: 10", .len = 15, .name_len = 11},
};

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

static void answer_with(struct request *r, struct response_head head, struct str text)
{
    char sink[16384];

    head.no_body = r->method && str_eq(str_of(r->method), STR("HEAD")) && !r->head_counts;
    while (r->content_length != 0 && request_read_body(r, sink, sizeof(sink)) > 0) {
    }
    request_send_head(r, &head);
    if (!head.no_body) {
        request_write(r, text.p, text.n);
    }
    request_finish(r);
}

static void stub_run(struct worker *worker, struct request *r)
{
    (void)worker;
    answer_with(r,
                (struct response_head){
                    .status = r->page == PAGE_ERROR ? r->error_status : 200, .lines = lines, .count = 1},
                STR("tokiophp stub\n"));
}

const char *standin_reason;

/* Only the status page says why: it is for those who run the server. */
static void standin_status(struct request *r, struct response_head head)
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "pool:                 %s\nstate:                crash loop\n"
                     "reason:               %s\n",
                     pool_conf(r->pool)->name, standin_reason ? standin_reason : "unknown");
    answer_with(r, head, (struct str){text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1});
}

static void standin_run(struct worker *worker, struct request *r)
{
    (void)worker;
    if (r->page == PAGE_STATUS) {
        standin_status(r, (struct response_head){.status = 503, .lines = lines, .count = 2});
        return;
    }
    answer_with(r, (struct response_head){.status = 503, .lines = lines, .count = 2},
                STR("This site cannot be served at the moment. Please try again.\n"));
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

const struct executor standin_executor = {
    .name = "stand-in",
    .start = stub_start,
    .stop = stub_stop,
    .thread_start = stub_thread_start,
    .thread_stop = stub_thread_stop,
    .run = standin_run,
    .interrupt = stub_interrupt,
};
