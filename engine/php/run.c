/* One request from PHP's request startup to its shutdown.
 *
 * Worker's thread. Memory of the request is PHP's (freed by its shutdown) or the front end's (the arena). PHP
 * leaves a fatal error by a long jump ("bailout") to the nearest zend_try; one outside of any would end the
 * process, so everything here happens inside one. */
#include "engine/php/run.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#pragma weak ps_globals_id /* sessions may be missing in a PHP of somebody else's */
#include "ext/session/php_session.h"
#include "ext/standard/php_standard.h"
#include "php_output.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/cgi.h"
#include "engine/php/children.h"
#include "engine/php/fatal.h"
#include "engine/php/ini_request.h"
#include "engine/php/opcache.h"
#include "engine/php/paths.h"
#include "engine/php/preload.h"
#include "engine/php/sapi.h"
#include "engine/php/signals.h"
#include "engine/php/timeout.h"
#include "engine/telemetry/status.h"
#include "engine/work/pool.h"
#include "engine/work/request.h"

#define UNTOUCHED(p) ((char *)(uintptr_t)(p)) /* PHP's struct says char *, and PHP only reads it */

static uint64_t microseconds(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * CLOCK_US_PER_SECOND + (uint64_t)tv->tv_usec;
}

/* -- before -- */

static void fill_request_info(const struct request *r)
{
    sapi_request_info *info = &SG(request_info);

    SG(server_context) = (void *)(uintptr_t)r;
    SG(sapi_headers).http_response_code = 200;
    info->request_method = r->method;
    info->query_string = UNTOUCHED(r->query);
    info->request_uri = UNTOUCHED(r->uri);
    info->content_type = r->content_type ? r->content_type : "";
    info->content_length = r->content_length > 0 ? (zend_long)r->content_length : 0;
    info->cookie_data = NULL;
    info->path_translated = r->script ? estrdup(r->script) : NULL;
    info->proto_num = r->proto;
    info->argc = r->argc;
    info->argv = (char **)(uintptr_t)r->argv;
    php_handle_auth_data(r->authorization);
}

/* Who it is was not known when the request was described first. */
static void show_user(const struct php_thread *t, struct request *r)
{
    r->auth_user = SG(request_info).auth_user;
    if (r->auth_user) {
        scoreboard_describe(t->worker->slot, &(struct scoreboard_texts){.method = r->method,
                                                                        .uri = r->uri,
                                                                        .query = r->query,
                                                                        .script = r->script,
                                                                        .user = r->auth_user});
    }
}

static bool wants_cpu(const struct request *r)
{
    return r->usage_wanted || access_log_wants_cpu(pool_access_log(r->pool));
}

void run_describe(struct php_thread *t, struct request *r)
{
    if (wants_cpu(r)) {
        getrusage(RUSAGE_THREAD, &t->usage_before);
    }
    fill_request_info(r);
    show_user(t, r);
}

/* false: its settings ended the request. */
static bool begin(struct php_thread *t, struct request *r)
{
    t->request = r;
    EG(exit_status) = 0;
    worker_set_state(t->worker, WORKER_INFO);
    t->interrupt = 0;
    zend_first_try
    {
        run_describe(t, r);
    }
    zend_end_try();
    sapi_tap_log(true);
    bool own_settings = r->php_value || r->php_admin_value;

    paths_begin(own_settings);
    bool good = !own_settings || ini_apply_request(t, r);

    opcache_begin(t);
    preload_begin(r);
    timeout_begin_input(t);
    return good;
}

/* -- what a request can be -- */

static void header_line(const char *line)
{
    sapi_add_header_ex((char *)(uintptr_t)line, strlen(line), true, true);
}

static void page_headers(const char *content_type)
{
    char line[128];

    snprintf(line, sizeof line, "Content-Type: %s", content_type);
    header_line(line);
    header_line("Expires: Thu, 01 Jan 1970 00:00:00 GMT");
    header_line("Cache-Control: no-cache, no-store, must-revalidate, max-age=0");
}

static void ping_page(const struct request *r)
{
    const char *answer = pool_conf(r->pool)->s.ping_response;

    page_headers("text/plain");
    SG(sapi_headers).http_response_code = 200;
    if (!SG(request_info).headers_only) {
        PUTS(answer ? answer : "pong");
    }
}

static void status_page(const struct request *r)
{
    struct buf text = {0};
    const char *content_type = "text/plain";
    struct view *view = pool_look(r->pool);
    const struct pool_view *pool = view ? view_find(view, pool_conf(r->pool)->name) : NULL;

    if (pool) {
        status_render(view, pool, r->query, &text, &content_type);
    }
    view_free(view);
    zend_try
    {
        page_headers(content_type);
        if (!SG(request_info).headers_only && text.n) {
            PHPWRITE(text.p, text.n);
        }
    }
    zend_end_try();
    buf_free(&text);
}

static void error_page(const struct request *r)
{
    if (r->error_message) {
        log_write(r->error_level ? (enum log_level)r->error_level : LEVEL_ERROR, __func__, __LINE__, "%s",
                  r->error_message);
    }
    SG(sapi_headers).http_response_code = r->error_status;
    if (r->error_body) {
        PUTS(r->error_body);
    }
}

static void cannot_open(const struct request *r, int error)
{
    log_error("Unable to open primary script: %s (%s)", r->script, strerror(error));
    if (error == EMFILE || error == ENFILE || error == ENOMEM) { /* it may well be there */
        SG(sapi_headers).http_response_code = 503;
        PUTS("Service Unavailable\n");
        return;
    }
    SG(sapi_headers).http_response_code = error == EACCES ? 403 : 404;
    PUTS(error == EACCES ? "Access denied.\n" : "No input file specified.\n");
}

/* -- the script -- */

/* In the script's directory, and back: what PHP does too, but it asks the kernel more often. */
void run_file(zend_file_handle *file)
{
    cwd_state before;

    paths_enter(file->filename ? ZSTR_VAL(file->filename) : NULL, &before);
    SG(options) |= SAPI_OPTION_NO_CHDIR;
    php_execute_script(file);
    SG(options) &= ~SAPI_OPTION_NO_CHDIR;
    paths_leave(&before);
}

static void run_script(struct php_thread *t)
{
    zend_file_handle file;

    paths_begin(false); /* .user.ini may have an open_basedir */
    errno = 0;
    if (php_fopen_primary_script(&file) == FAILURE) {
        cannot_open(t->request, errno);
    } else {
        timeout_begin_script(t);
        run_file(&file);
    }
    if (!file.in_list) {
        zend_destroy_file_handle(&file);
    }
}

static void run_what_it_is(struct php_thread *t)
{
    const struct request *r = t->request;

    PG(during_request_startup) = 0;
    worker_set_state(t->worker, WORKER_RUNNING);
    switch (r->page) {
    case PAGE_PING: ping_page(r); break;
    case PAGE_STATUS: status_page(r); break;
    case PAGE_ERROR: error_page(r); break;
    case PAGE_SCRIPT:
        if (r->method && SG(request_info).path_translated) {
            run_script(t);
        }
        break;
    }
}

/* -- after -- */

/* fastcgi.error_header: a header for a request that ended in a fatal error. */
void run_add_error_header(void)
{
    if (EG(exit_status) == 255 && CGIG(error_header) && *CGIG(error_header) && !SG(headers_sent)) {
        sapi_header_line line = {.line = CGIG(error_header), .line_len = strlen(CGIG(error_header))};

        sapi_header_op(SAPI_HEADER_REPLACE, &line);
    }
}

static const char *find_header(void *context, const char *name, size_t n, size_t *value_n)
{
    zend_llist_position at;

    (void)context;
    for (sapi_header_struct *h = zend_llist_get_first_ex(&SG(sapi_headers).headers, &at); h;
         h = zend_llist_get_next_ex(&SG(sapi_headers).headers, &at)) {
        if (h->header_len > n && h->header[n] == ':' && strncasecmp(h->header, name, n) == 0) {
            const char *value = h->header + n + 1, *end = h->header + h->header_len;

            while (value < end && *value == ' ') {
                value++;
            }
            *value_n = (size_t)(end - value);
            return value;
        }
    }
    return NULL;
}

static void note_usage(const struct php_thread *t, struct request *r)
{
    struct request_usage *usage = &r->usage;
    struct rusage used;

    *usage = (struct request_usage){.known = true, .memory_peak = t->memory_peak};
    if (wants_cpu(r)) {
        getrusage(RUSAGE_THREAD, &used);
        usage->user_us = microseconds(&used.ru_utime) - microseconds(&t->usage_before.ru_utime);
        usage->system_us = microseconds(&used.ru_stime) - microseconds(&t->usage_before.ru_stime);
    }
}

static void write_access_log(struct request *r)
{
    struct access_log *log = pool_access_log(r->pool);

    if (!log || r->counted_elsewhere) {
        return;
    }
    if (access_log_waits(log)) {
        r->auth_user = r->auth_user ? arena_dup(r->arena, r->auth_user, strlen(r->auth_user)) : NULL;
        return;
    }
    struct access_facts facts = pool_access_facts(r);

    facts.header = find_header;
    facts.duration_us = r->times.script_done - r->times.started;
    r->logged = true;
    access_log_write(log, r, &facts);
}

/* The script's own part is over; shutdown functions, destructors and the last flush are still to come. */
void run_script_done(struct php_thread *t)
{
    struct request *r = t->request;

    r->times.script_done = clock_us();
    if (!r->finished) {
        worker_set_state(t->worker, WORKER_ENDING);
    }
    if (!r->head_sent) {
        r->status = SG(sapi_headers).http_response_code;
    }
    r->auth_user = SG(request_info).auth_user;
    t->memory_peak = zend_memory_peak_usage(true);
    note_usage(t, r);
    write_access_log(r);
    if (!access_log_waits(pool_access_log(r->pool))) {
        r->auth_user = NULL; /* PHP frees it in its shutdown */
    }
    if (SG(request_info).path_translated) {
        efree(SG(request_info).path_translated);
        SG(request_info).path_translated = NULL;
    }
}

static void forget_last_error(void)
{
    /* The strings were the request's memory, which is gone. */
    PG(last_error_message) = NULL;
    PG(last_error_file) = NULL;
    PG(last_error_type) = 0;
    PG(last_error_lineno) = 0;
}

/* A fatal error while a script is compiled leaves the scanner with that script's conversion (zend.multibyte),
 * and PHP resets it only for scripts that have one themselves: those of the next request would be converted
 * as well, or what is not even a result be freed. */
static void forget_conversion(void)
{
    LANG_SCNG(script_org) = NULL;
    LANG_SCNG(script_org_size) = 0;
    LANG_SCNG(script_filtered) = NULL;
    LANG_SCNG(script_filtered_size) = 0;
    LANG_SCNG(input_filter) = NULL;
    LANG_SCNG(output_filter) = NULL;
    LANG_SCNG(script_encoding) = NULL;
}

static bool shut_down_once(void)
{
    volatile bool done = false;

    zend_first_try
    {
        php_request_shutdown(NULL);
        done = true;
    }
    zend_end_try();
    children_request_end();
    return done;
}

void run_shut_down(struct php_thread *t, const char *script)
{
    if (&ps_globals_id) {
        PS(in_save_handler) = 0; /* else a script that was ended inside of one keeps its session locked */
    }
    if (!shut_down_once() && !shut_down_once()) {
        log_error("PHP could not end a request properly (script %s); asking for a new process",
                  script ? script : "-");
        pool_request_swap(t->worker->pool, "PHP could not end a request properly");
    }
    signals_end_fork();
    forget_last_error();
    forget_conversion();
    SG(server_context) = NULL;
    SG(request_info).request_method = NULL;
    SG(request_info).cookie_data = NULL;
}

static void end(struct php_thread *t)
{
    struct request *r = t->request;

    timeout_end(t);
    fatal_forget(t);
    if (t->body_fd >= 0) {
        close(t->body_fd);
        t->body_fd = -1;
    }
    request_finish(r);
    ini_request_end(t);
    paths_request_end();
    cgi_publish_rules();
    sapi_tap_log(false);
    t->request = NULL;
}

/* PHP could not even begin. */
static void answer_broken_start(struct request *r)
{
    if (!r->head_sent) {
        request_send_head(r, &(struct response_head){.status = 500});
    }
}

void run_request(struct php_thread *t, struct request *r)
{
    volatile bool started = false, good = begin(t, r);

    zend_first_try
    {
        started = php_request_startup() == SUCCESS;
        r->times.php_started = clock_us();
        if (started && good) {
            run_what_it_is(t);
        } else if (started) {
            SG(sapi_headers).http_response_code = 500;
        }
    }
    zend_end_try();
    zend_first_try
    {
        if (started) {
            run_add_error_header();
            opcache_sample(t);
            preload_learn_end(t);
        }
        run_script_done(t);
    }
    zend_end_try();
    run_shut_down(t, r->script);
    if (!started) {
        answer_broken_start(r);
    }
    end(t);
}

bool run_aside(void (*body)(void *ctx), void *ctx)
{
    volatile bool done = false;

    SG(server_context) = NULL;
    SG(request_info).request_method = NULL;
    SG(request_info).path_translated = NULL;
    SG(sapi_headers).http_response_code = 200;
    zend_first_try
    {
        if (php_request_startup() == SUCCESS) {
            SG(headers_sent) = 1;
            SG(request_info).no_headers = 1;
            body(ctx);
            done = true;
        }
    }
    zend_end_try();
    shut_down_once();
    forget_last_error();
    forget_conversion();
    return done;
}
