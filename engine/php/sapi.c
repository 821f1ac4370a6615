/* The server as PHP sees it: the functions of its sapi_module_struct.
 *
 * All run on a worker's thread inside a request, or (run_aside, -i) on the main thread with no request at
 * all; then output goes nowhere, or to stdout if sapi_prints. The request's own functions (work/request.h)
 * take its lock; nothing here holds it while PHP runs, so PHP's long jump out of an aborted write is
 * harmless. */
#include "engine/php/sapi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "ext/standard/head.h"
#include "php_output.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/boot_failure.h"
#include "engine/php/cgi.h"
#include "engine/php/ini.h"
#include "engine/php/messages.h"
#include "engine/php/vars.h"
#include "engine/php/worker_script.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool.h"
#include "engine/work/request.h"

#define LINES_ON_STACK 64

bool sapi_prints;

static struct request *current_request(void)
{
    return php_thread ? php_thread->request : NULL;
}

/* -- output -- */

/* PHP shows a notice between a call that failed and its look at errno (plain_wrapper.c), so what shows or
 * logs it leaves errno as it was. */
static size_t write_output(const char *p, size_t n)
{
    struct request *r = current_request();
    int saved = errno;

    if (!r) {
        if (php_thread) {
            boot_failure_said(php_thread, p, n);
        }
        return sapi_prints ? fwrite(p, 1, n, stdout) : n;
    }
    if (request_write(r, p, n) < 0) {
        php_handle_aborted_connection();
        n = 0;
    }
    errno = saved;
    return n;
}

static void flush_output(void *context)
{
    struct request *r = current_request();

    (void)context;
    if (!r) {
        if (sapi_prints) {
            fflush(stdout);
        }
        return;
    }
    if (r->finished) {
        return;
    }
    int saved = errno;

    sapi_send_headers();
    if (request_flush(r) < 0) {
        php_handle_aborted_connection();
    }
    errno = saved;
}

static bool header_is(const sapi_header_struct *h, const char *name, size_t n)
{
    return h->header_len > n && h->header[n] == ':' && strncasecmp(h->header, name, n) == 0;
}

static size_t collect_lines(sapi_headers_struct *headers, struct header_line *lines, int status)
{
    zend_llist_position at;
    size_t n = 0;

    for (sapi_header_struct *h = zend_llist_get_first_ex(&headers->headers, &at); h;
         h = zend_llist_get_next_ex(&headers->headers, &at)) {
        const char *colon = h->header_len ? memchr(h->header, ':', h->header_len) : NULL;

        if (!h->header_len || (status == 304 && header_is(h, "Content-Type", sizeof("Content-Type") - 1))) {
            continue;
        }
        lines[n++] = (struct header_line){
            .text = h->header,
            .len = (uint32_t)h->header_len,
            .name_len = colon ? (uint32_t)(colon - h->header) : (uint32_t)h->header_len,
        };
    }
    return n;
}

/* What a status line of the script's own ("HTTP/1.1 418 ...") says, else PHP's code. */
static int status_of(const sapi_headers_struct *headers)
{
    const char *space = headers->http_status_line ? strchr(headers->http_status_line, ' ') : NULL;
    int status = space ? atoi(space + 1) : 0;

    return status >= 100 && status <= 999 ? status : headers->http_response_code;
}

static int with_head(sapi_headers_struct *headers, int status,
                     int (*send)(struct request *, const struct response_head *))
{
    struct header_line on_stack[LINES_ON_STACK], *lines = on_stack;
    size_t count = zend_llist_count(&headers->headers);

    if (count > LINES_ON_STACK) {
        lines = safe_emalloc(count, sizeof *lines, 0);
    }
    struct response_head head = {
        .status = status,
        .status_line = str_of(headers->http_status_line),
        .lines = lines,
        .count = collect_lines(headers, lines, status),
        .no_body = SG(request_info).headers_only,
    };
    int sent = send(current_request(), &head);

    if (lines != on_stack) {
        efree(lines);
    }
    return sent;
}

static int send_headers(sapi_headers_struct *headers)
{
    if (!current_request() || SG(request_info).no_headers) {
        return SAPI_HEADER_SENT_SUCCESSFULLY;
    }
    int saved = errno;

    cgi_publish_rules();
    if (with_head(headers, status_of(headers), request_send_head) < 0) {
        php_handle_aborted_connection();
    }
    errno = saved;
    return SAPI_HEADER_SENT_SUCCESSFULLY;
}

bool sapi_send_interim(int status)
{
    struct request *r = current_request();
    const char *line = SG(sapi_headers).http_status_line;

    if (!r || r->head_sent || r->finished) {
        return false;
    }
    SG(sapi_headers).http_status_line = NULL;
    bool sent = with_head(&SG(sapi_headers), status, request_send_interim) == 0;
    SG(sapi_headers).http_status_line = (char *)line;
    return sent;
}

bool sapi_send_head_now(void)
{
    struct request *r = current_request();

    if (!r || r->finished || r->gone) {
        return false;
    }
    sapi_send_headers();
    return request_flush(r) == 0;
}

bool sapi_finish_early(void)
{
    struct request *r = current_request();

    if (!r || r->finished) {
        return false;
    }
    php_output_end_all();
    php_header();
    request_finish(r);
    metrics_count(pool_scoreboard(r->pool), TOTAL_EARLY, 1);
    return true;
}

/* -- input -- */

static int open_body_file(struct php_thread *t)
{
    if (t->body_fd < 0) {
        t->body_fd = open(t->request->body_file, O_RDONLY | O_CLOEXEC);
        if (t->body_fd < 0) {
            php_error(E_WARNING, "REQUEST_BODY_FILE: open('%s') failed: %s (%d)", t->request->body_file,
                      strerror(errno), errno);
        }
    }
    return t->body_fd;
}

static ssize_t read_some(struct php_thread *t, char *p, size_t n)
{
    if (!t->request->body_file || !*t->request->body_file) {
        return request_read_body(t->request, p, n);
    }
    return open_body_file(t) < 0 ? -1 : read(t->body_fd, p, n);
}

/* PHP takes a short answer for the end of the body, so the buffer is filled as far as the body goes. */
static size_t read_post(char *p, size_t n)
{
    struct php_thread *t = php_thread;
    size_t got = 0;

    if (!t || !t->request) {
        return 0;
    }
    if (t->request->content_length >= 0) {
        uint64_t left = (uint64_t)t->request->content_length - (uint64_t)SG(read_post_bytes);

        n = n < left ? n : (size_t)left;
    }
    while (got < n) {
        ssize_t more = read_some(t, p + got, n - got);

        if (more < 0 && errno == EINTR && t->body_fd >= 0) {
            continue;
        }
        if (more <= 0) {
            break;
        }
        got += (size_t)more;
    }
    return got;
}

static char *read_cookies(void)
{
    struct request *r = current_request();

    return r ? (char *)r->cookie : NULL;
}

static char *get_variable(const char *name, size_t n)
{
    struct request *r = current_request();
    const struct param *p = r ? request_param_find(r, (struct str){name, n}) : NULL;

    return p ? (char *)p->value : NULL;
}

static zend_result get_request_time(double *out)
{
    struct request *r = current_request();

    if (!r) {
        return FAILURE;
    }
    uint64_t now = clock_us(), began = r->times.accepted ? r->times.accepted : now;

    *out = (double)(clock_wall_us() - (now > began ? now - began : 0)) / (double)CLOCK_US_PER_SECOND;
    return SUCCESS;
}

/* -- messages -- */

/* Lines of the log that this thread writes while it runs a request: to the web server as well. */
static void tap(enum log_level level, const char *message, size_t n)
{
    struct php_thread *t = php_thread;

    (void)level;
    if (!t || !t->request || !n || !CGIG(logging)) {
        return;
    }
    request_message(t->request, message, n);
}

void sapi_tap_log(bool on)
{
    log_tap = on ? tap : NULL;
}

/* -- life -- */

static int activate(void)
{
    struct request *r = current_request();
    const struct worker_script *script = php_thread ? php_thread->script : NULL;

    if (r && r->head_counts) {
        SG(request_info).headers_only = 0;
    }
    if (script && !r) { /* it boots: its directory's settings are those of all its requests */
        ini_activate(&(struct request){.document_root = script->root});
    } else if (!script && r && SG(request_info).path_translated) {
        ini_activate(r);
    }
    return SUCCESS;
}

static int deactivate(void)
{
    return SUCCESS;
}

sapi_module_struct sapi_table = {
    .name = (char *)"fpm-fcgi",
    .pretty_name = (char *)"FPM/FastCGI",
    .shutdown = php_module_shutdown_wrapper,
    .activate = activate,
    .deactivate = deactivate,
    .ub_write = write_output,
    .flush = flush_output,
    .getenv = get_variable,
    .sapi_error = php_error,
    .send_headers = send_headers,
    .read_post = read_post,
    .read_cookies = read_cookies,
    .register_server_variables = vars_register_server,
    .log_message = messages_log,
    .get_request_time = get_request_time,
};
