/* See worker_script.h. To PHP the whole life of a script is one request: its variables, objects and
 * connections live until it ends. The wait for a request happens inside of its call of
 * tokio_handle_request(), from where the worker looks for work (resident_serve); the request runs on top of
 * that, on the same stack. */
#include "engine/php/worker_script.h"

#include <errno.h>
#include <stdio.h>

#include "php_output.h"
#include "zend_exceptions.h"
#include "zend_fibers.h"

#include "engine/base/log.h"
#include "engine/php/boot_failure.h"
#include "engine/php/env.h"
#include "engine/php/fatal.h"
#include "engine/php/opcache.h"
#include "engine/php/paths.h"
#include "engine/php/run.h"
#include "engine/php/sapi.h"
#include "engine/work/pool.h"
#include "engine/work/resident.h"

/* -- waiting -- */

static bool is_used_up(const struct worker_script *s)
{
    return s->settings->worker_max_requests > 0 && s->served >= s->settings->worker_max_requests;
}

bool worker_script_is_full(const struct worker_script *s)
{
    return s->settings->worker_max_memory > 0 && s->memory > (size_t)s->settings->worker_max_memory;
}

/* It is to boot anew. */
static bool has_had_its_time(const struct php_thread *t)
{
    const struct worker_script *s = t->script;

    if (!is_used_up(s) && !worker_script_is_full(s)) {
        return false;
    }
    resident_ends(t->worker, is_used_up(s) ? RESTART_MAX_REQUESTS : RESTART_MAX_MEMORY);
    return true;
}

#define TOLD_MOST 100 /* whoever asks again and again would do nothing else for ever */

/* Says that it is to end; one that does not listen is ended here. */
static void tell_end(struct worker_script *s, zval *return_value)
{
    if (s->told++ < TOLD_MOST) {
        RETURN_FALSE;
    }
    log_limited(LEVEL_WARNING,
                "the worker script %s has been told that it is to end, and goes on calling "
                "tokio_handle_request(): it is "
                "ended; leave the loop when it returns false",
                s->settings->worker_script);
    zend_throw_unwind_exit();
}

static void note_memory_of_boot(const struct php_thread *t)
{
    const struct worker_script *s = t->script;
    size_t memory = zend_memory_usage(false);

    resident_keeps(t->worker, memory);
    if (s->settings->worker_max_memory > 0 && memory > (size_t)s->settings->worker_max_memory) {
        log_limited(
            LEVEL_WARNING,
            "the worker script %s keeps %zu bytes once it has booted: worker.max_memory ends it after "
            "each request",
            s->settings->worker_script, memory);
    }
}

static void boot_is_over(struct php_thread *t)
{
    struct worker_script *s = t->script;

    if (s->booted) {
        return;
    }
    s->booted = true;
    boot_failure_free(t);
    worker_state_free(s->state);
    s->state = worker_state_take(t);
    opcache_begin(t);
    note_memory_of_boot(t);
    resident_ready(t->worker);
}

ZEND_FUNCTION(tokio_handle_request)
{
    struct php_thread *t = php_thread;
    struct worker_script *s = t ? t->script : NULL;
    zend_fcall_info call;
    zend_fcall_info_cache cache;

    ZEND_PARSE_PARAMETERS_START(1, 1)
    Z_PARAM_FUNC(call, cache)
    ZEND_PARSE_PARAMETERS_END();
    if (!s || t->request || EG(active_fiber)) {
        zend_throw_error(NULL, "%s",
                         !s           ? "tokio_handle_request() is for the pool's worker.script"
                         : t->request ? "tokio_handle_request() cannot be called while a request is handled"
                                      : "tokio_handle_request() cannot be called in a fiber");
        RETURN_THROWS();
    }
    boot_is_over(t);
    if (has_had_its_time(t)) {
        tell_end(s, return_value);
        return;
    }
    s->call = call;
    s->call_cache = cache;
    s->end = CALLBACK_RETURNED;
    s->waits = true;
    bool served = resident_serve(t->worker);

    s->waits = false;
    if (s->end == CALLBACK_BAILED) {
        resident_ends(t->worker, RESTART_FATAL);
        zend_bailout();
    }
    if (s->end == CALLBACK_EXITED) {
        resident_ends(t->worker, RESTART_EXIT);
        zend_throw_unwind_exit();
        return;
    }
    if (!served) {
        tell_end(s, return_value);
        return;
    }
    RETURN_TRUE;
}

/* -- life -- */

/* putenv(), as if the boot had begun with it. */
static void fill_environment(struct php_thread *t)
{
    const struct pool_settings *s = t->script->settings;
    char number[32];

    env_set("FRANKENPHP_WORKER", "1");
    if (s->worker_max_requests > 0) {
        snprintf(number, sizeof number, "%lld", (long long)s->worker_max_requests);
        env_set("MAX_REQUESTS", number);
    }
    for (const struct setting_pair *p = s->worker_env; p; p = p->next) {
        env_set(p->key, p->value ? p->value : "");
    }
}

static void execute(struct php_thread *t)
{
    zend_file_handle file;

    errno = 0;
    PG(during_request_startup) = 0;
    if (php_fopen_primary_script(&file) == FAILURE) {
        t->script->open_error = errno;
    } else {
        run_file(&file);
    }
    if (!file.in_list) {
        zend_destroy_file_handle(&file);
    }
}

/* One line for the log: what PHP said last, or that it said nothing. */
static void note_why(struct php_thread *t)
{
    const char *script = t->script->settings->worker_script;
    char why[256];

    if (t->script->open_error) {
        snprintf(why, sizeof why, "the worker script %s cannot be opened: %s", script,
                 strerror(t->script->open_error));
    } else if (PG(last_error_message)) {
        snprintf(why, sizeof why, "the worker script %s did not boot: %.*s in %s:%d", script,
                 (int)strcspn(ZSTR_VAL(PG(last_error_message)), "\r\n"), ZSTR_VAL(PG(last_error_message)),
                 PG(last_error_file) ? ZSTR_VAL(PG(last_error_file)) : "-", PG(last_error_lineno));
    } else {
        snprintf(why, sizeof why, "the worker script %s ended without a call of tokio_handle_request()",
                 script);
    }
    resident_failed(t->worker, why, boot_failure_end(t, why));
}

static void begin(struct php_thread *t)
{
    EG(exit_status) = 0;
    t->interrupt = 0;
    SG(server_context) = NULL;
    SG(sapi_headers).http_response_code = 200;
    SG(request_info) = (sapi_request_info){.path_translated = estrdup(t->script->settings->worker_script)};
    fill_environment(t);
    paths_begin(true);
    opcache_begin(t);
    sapi_tap_log(true);
}

static void end(struct php_thread *t)
{
    zend_first_try
    {
        if (!t->script->booted) {
            note_why(t);
        }
        if (SG(request_info).path_translated) {
            efree(SG(request_info).path_translated);
            SG(request_info).path_translated = NULL;
        }
        vars_kept_drop(&t->script->server);
        worker_state_free(t->script->state);
        t->script->state = NULL;
    }
    zend_end_try();
    run_shut_down(t, t->script->settings->worker_script);
    sapi_tap_log(false);
}

void worker_script_hold(struct php_thread *t, const struct pool_conf *pool)
{
    struct worker_script script = {.settings = &pool->s};
    const char *name = pool->s.worker_script, *slash = strrchr(name, '/');

    snprintf(script.root, sizeof script.root, "%.*s", slash && slash > name ? (int)(slash - name) : 1, name);

    t->script = &script;
    zend_first_try
    {
        begin(t);
        if (php_request_startup() == SUCCESS) {
            SG(request_info).no_headers = 1; /* what it says before a request has no reader */
            boot_failure_begin(t, fatal_is_shown());
            execute(t);
        }
    }
    zend_end_try();
    end(t);
    t->script = NULL;
}
