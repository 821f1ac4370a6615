/* A request inside of a worker script. PHP's own request startup and shutdown take everything away and build
 * it anew; here only what belongs to a client is made, and taken away again.
 *
 * begin: SAPI's half of php_request_startup(): output, headers, body, uploads, authentication, superglobals,
 * session, filter and random numbers; the script's own are put aside.
 *
 * end: php_request_shutdown()'s steps that are the request's, in its order: shutdown functions, output,
 * session and filter, headers, superglobals, body and uploads. Then the client has its answer, and
 * worker_state.c puts back what was changed.
 *
 * A bailout in any of it ends the script after the request. */
#include "engine/php/worker_script.h"

#include <unistd.h>

#pragma weak ps_globals_id /* sessions may be missing in a PHP of somebody else's */
#include "ext/session/php_session.h"
#include "ext/standard/basic_functions.h"
#include "ext/standard/url_scanner_ex.h"
#include "php_output.h"
#include "php_streams.h"
#include "zend_exceptions.h"

#include "engine/base/clock.h"
#include "engine/php/children.h"
#include "engine/php/fatal.h"
#include "engine/php/ini_request.h"
#include "engine/php/opcache.h"
#include "engine/php/run.h"
#include "engine/php/signals.h"
#include "engine/php/timeout.h"
#include "engine/php/worker_globals.h"
#include "engine/work/request.h"
#include "engine/work/resident.h"

/* What of the script's own is put aside while it has a request. */
struct aside {
    sapi_request_info info;
    sapi_headers_struct headers;
    unsigned char headers_sent, post_read;
    int64_t read_post_bytes;
    double request_time;
    zend_output_globals output;
    struct worker_globals globals;
    HashTable *shutdown_functions;
    zval error_handler;  /* UNDEF = there is none, or it is back */
    zend_long resources; /* handles from here on are the request's */
};

/* -- putting aside -- */

static zend_output_globals *output(void)
{
    return TSRMG_BULK_STATIC(output_globals_id, zend_output_globals *);
}

static void put_aside(struct aside *a)
{
    a->info = SG(request_info);
    a->headers = SG(sapi_headers);
    a->headers_sent = SG(headers_sent);
    a->post_read = SG(post_read);
    a->read_post_bytes = SG(read_post_bytes);
    a->request_time = SG(global_request_time);
    a->output = *output();
    worker_globals_aside(&a->globals);
    a->shutdown_functions = BG(user_shutdown_function_names);
    BG(user_shutdown_function_names) = NULL;
    a->error_handler = EG(user_error_handler);
    ZVAL_UNDEF(&EG(user_error_handler));
    a->resources = EG(regular_list).nNextFreeElement;
}

/* Of a body that is too long, for example, PHP warns before a script begins, where no script can have set
 * one: it may throw, and the callback would not run. */
static void take_error_handler_back(struct aside *a)
{
    if (Z_TYPE(a->error_handler) != IS_UNDEF) {
        EG(user_error_handler) = a->error_handler;
        ZVAL_UNDEF(&a->error_handler);
    }
}

static void take_back(struct aside *a)
{
    SG(server_context) = NULL;
    SG(request_info) = a->info;
    SG(sapi_headers) = a->headers;
    SG(headers_sent) = a->headers_sent;
    SG(post_read) = a->post_read;
    SG(read_post_bytes) = a->read_post_bytes;
    SG(global_request_time) = a->request_time;
    SG(sapi_started) = 1;
    *output() = a->output;
    worker_globals_take_back(&a->globals);
    BG(user_shutdown_function_names) = a->shutdown_functions;
}

/* -- extensions that have something of a request's -- */

static const char *const names[] = {"filter", "intl", "json", "random", "session", "zlib"};
enum extension { FILTER, INTL, JSON, RANDOM, SESSION, ZLIB, EXTENSIONS };
_Static_assert(sizeof names / sizeof *names == EXTENSIONS, "a name for each");
static const zend_module_entry
    *extensions[EXTENSIONS]; /* NULL = there is none; constant once there are workers */

void worker_request_install(void)
{
    for (size_t i = 0; i < EXTENSIONS; i++) {
        extensions[i] = zend_hash_str_find_ptr(&module_registry, names[i], strlen(names[i]));
    }
}

static void start(enum extension which)
{
    const zend_module_entry *m = extensions[which];

    if (m && m->request_startup_func) {
        m->request_startup_func(m->type, m->module_number);
    }
}

static void stop(enum extension which)
{
    const zend_module_entry *m = extensions[which];

    if (m && m->request_shutdown_func) {
        m->request_shutdown_func(m->type, m->module_number);
    }
}

/* -- begin -- */

static void begin_output(void)
{
    php_output_activate();
    if (PG(output_handler) && PG(output_handler)[0]) {
        zval name;

        ZVAL_STRING(&name, PG(output_handler));
        php_output_start_user(&name, 0, PHP_OUTPUT_HANDLER_STDFLAGS);
        zval_ptr_dtor(&name);
    } else if (PG(output_buffering)) {
        php_output_start_user(NULL, PG(output_buffering) > 1 ? (size_t)PG(output_buffering) : 0,
                              PHP_OUTPUT_HANDLER_STDFLAGS);
    } else if (PG(implicit_flush)) {
        php_output_set_implicit_flush(1);
    }
}

static void begin(struct php_thread *t, struct request *r, const struct aside *a)
{
    EG(exit_status) = 0;
    PG(connection_status) = PHP_CONNECTION_NORMAL;
    PG(header_is_being_sent) = 0;
    PG(ignore_user_abort) = 1; /* a client that leaves is not worth a boot */
    zend_memory_reset_peak_usage();
    SG(request_info) = (sapi_request_info){.request_method = NULL};
    run_describe(t, r);
    if (r->php_value || r->php_admin_value) {
        ini_apply_request(t, r);
    }
    timeout_begin_input(t);
    begin_output();
    sapi_activate();
    if (PG(expose_php)) {
        sapi_add_header(SAPI_PHP_VERSION_HEADER, sizeof SAPI_PHP_VERSION_HEADER - 1, true);
    }
    worker_globals_make(&a->globals);
    start(JSON); /* no last error */
    start(RANDOM);
    start(ZLIB); /* what encoding this client understands */
    start(SESSION);
    r->times.php_started = clock_us();
    timeout_begin_script(t);
}

/* -- the callback -- */

/* As PHP calls it where there is no frame below: what the handler throws is no less fatal. */
static void call_exception_handler(void)
{
    zend_object *exception = EG(exception);
    zval handler, argument, result;

    EG(exception) = NULL;
    ZVAL_COPY(&handler, &EG(user_exception_handler));
    zend_stack_push(&EG(user_exception_handlers), &EG(user_exception_handler));
    ZVAL_UNDEF(&EG(user_exception_handler));
    ZVAL_OBJ(&argument, exception);
    ZVAL_UNDEF(&result);
    call_user_function(NULL, NULL, &handler, &result, 1, &argument);
    zval_ptr_dtor(&result);
    zval_ptr_dtor(&handler);
    OBJ_RELEASE(exception);
}

static bool is_exit(void)
{
    return zend_is_unwind_exit(EG(exception)) || zend_is_graceful_exit(EG(exception));
}

/* What nobody has caught ends here, as a fatal error in the log. False: it was exit(). */
static bool report_exception(void)
{
    if (!EG(exception)) {
        return true;
    }
    if (is_exit()) {
        OBJ_RELEASE(EG(exception));
        EG(exception) = NULL;
        return false;
    }
    zend_exception_error(EG(exception), E_ERROR);
    if (SG(server_context) && !SG(headers_sent) && SG(sapi_headers).http_response_code == 200) {
        SG(sapi_headers).http_response_code = 500;
    }
    return true;
}

static enum callback_end call(struct worker_script *s)
{
    zval result;

    ZVAL_UNDEF(&result);
    s->call.retval = &result;
    zend_call_function(&s->call, &s->call_cache);
    zval_ptr_dtor(&result);
    if (EG(exception) && !is_exit() && Z_TYPE(EG(user_exception_handler)) != IS_UNDEF) {
        call_exception_handler();
    }
    return report_exception() ? CALLBACK_RETURNED : CALLBACK_EXITED;
}

/* -- end -- */

static void end_session(void)
{
    if (&ps_globals_id) {
        PS(in_save_handler) = 0;
    }
    stop(SESSION);
    worker_globals_end_session();
}

/* php://input that somebody kept would read a body that is gone. */
static void close_input(zend_long first)
{
    zend_resource *resource;

    ZEND_HASH_REVERSE_FOREACH_PTR(&EG(regular_list), resource)
    {
        if (resource->handle < first) {
            break;
        }
        const php_stream *stream = resource->type == php_file_le_stream() ? resource->ptr : NULL;

        if (stream && strcmp(stream->ops->label, "Input") == 0) {
            zend_list_close(resource);
        }
    }
    ZEND_HASH_FOREACH_END();
    if (SG(request_info).request_body) {
        php_stream_close(SG(request_info).request_body);
    }
}

struct end_of {
    struct php_thread *t;
    struct aside *a;
};

static void run_shutdown_functions(const struct end_of *e)
{
    (void)e;
    run_add_error_header();
    php_call_shutdown_functions();
    php_free_shutdown_functions();
}

static void end_output(const struct end_of *e)
{
    (void)e;
    php_output_end_all();
}

static void show_fatal(const struct end_of *e)
{
    (void)e;
    fatal_show();
}

static void end_modules(const struct end_of *e)
{
    (void)e;
    end_session();
    stop(FILTER);
    stop(ZLIB);
    stop(INTL); /* its last error */
    php_url_scanner_reset_vars();
    php_url_scanner_reset_session_vars();
}

static void end_headers(const struct end_of *e)
{
    (void)e;
    php_output_deactivate();
}

static void end_request(const struct end_of *e)
{
    fatal_forget(e->t);
    signals_end_fork();
    request_finish(e->t->request);
    if (e->t->body_fd >= 0) {
        close(e->t->body_fd);
        e->t->body_fd = -1;
    }
    close_input(e->a->resources);
    worker_globals_end();
    sapi_deactivate();
}

static void put_back(const struct end_of *e)
{
    take_back(e->a);
    if (e->t->script->end == CALLBACK_RETURNED) { /* else all of it ends now */
        worker_state_put_back(e->t, e->t->script->state);
    }
}

static void end(struct php_thread *t, struct aside *a)
{
    static void (*const steps[])(const struct end_of *) = {
        run_shutdown_functions, end_output, show_fatal, end_modules, end_headers, end_request, put_back};
    const struct end_of e = {t, a};

    for (volatile size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        volatile bool done = false;

        zend_try
        {
            steps[i](&e);
            report_exception(); /* of a shutdown function, a destructor */
            done = true;
        }
        zend_end_try();
        if (!done) {
            t->script->end = CALLBACK_BAILED;
        }
        if (EG(exception)) {
            OBJ_RELEASE(EG(exception));
            EG(exception) = NULL;
        }
    }
}

/* Between two requests, with nobody waiting: objects that only hold each other end here rather than in the
 * middle of somebody else's request. */
#define GARBAGE_WORTH_LOOKING 1000

static void collect_garbage(struct worker_script *s)
{
    zend_gc_status status;

    s->memory = zend_memory_usage(false);
    zend_gc_get_status(&status);
    if ((status.num_roots < GARBAGE_WORTH_LOOKING && !worker_script_is_full(s)) ||
        s->end != CALLBACK_RETURNED) {
        return;
    }
    zend_try
    {
        zend_gc_collect_cycles();
        report_exception(); /* of a destructor */
        s->memory = zend_memory_usage(false);
    }
    zend_catch
    {
        s->end = CALLBACK_BAILED;
    }
    zend_end_try();
}

void worker_request_run(struct php_thread *t, struct request *r)
{
    struct worker_script *s = t->script;
    struct aside aside;

    t->request = r;
    t->interrupt = 0;
    s->waits = false;
    s->served++;
    s->end = CALLBACK_BAILED;
    opcache_begin(t);
    put_aside(&aside);
    zend_try
    {
        begin(t, r, &aside);
        take_error_handler_back(&aside);
        worker_set_state(t->worker, WORKER_RUNNING);
        s->end = call(s);
    }
    zend_end_try();
    take_error_handler_back(&aside);
    zend_try
    {
        opcache_sample(t);
        run_script_done(t);
    }
    zend_end_try();
    end(t, &aside);
    timeout_end(t);
    ini_request_end(t);
    children_request_end();
    t->request = NULL;
    t->interrupt = 0;
    collect_garbage(s);
    resident_keeps(t->worker, s->memory);
}
