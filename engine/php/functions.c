/* The functions that PHP code can call here. Each runs on a worker's thread inside a request; on the main
 * thread (preloading, -i) there is no request, and they say so by false or an empty value. */
#include "engine/php/functions.h"

#include "php_output.h"

#include "engine/base/clock.h"
#include "engine/php/functions_arginfo.h"
#include "engine/php/sapi.h"
#include "engine/php/worker_script.h"
#include "engine/work/pool.h"

static struct request *current_request(void)
{
    return php_thread ? php_thread->request : NULL;
}

/* -- who and where -- */

static PHP_FUNCTION(tokio_request_id)
{
    ZEND_PARSE_PARAMETERS_NONE();
    struct request *r = current_request();
    if (!r) {
        RETURN_EMPTY_STRING();
    }
    request_identify_once(r);
    RETURN_STRING(r->trace.id);
}

static PHP_FUNCTION(tokio_task_should_stop)
{
    ZEND_PARSE_PARAMETERS_NONE();
    RETURN_BOOL(current_request() && pool_draining(php_thread->worker->pool));
}

static PHP_FUNCTION(tokio_worker_id)
{
    ZEND_PARSE_PARAMETERS_NONE();
    RETURN_LONG(php_thread ? php_thread->worker->id : 0);
}

static PHP_FUNCTION(tokio_server_info)
{
    const struct request *r = current_request();

    ZEND_PARSE_PARAMETERS_NONE();
    array_init(return_value);
    add_assoc_string(return_value, "name", "tokiophp");
    add_assoc_string(return_value, "version", TOKIOPHP_VERSION);
    add_assoc_string(return_value, "build", TOKIOPHP_VERSION " (PHP " PHP_VERSION ", " __VERSION__ ")");
    add_assoc_string(return_value, "php_sapi", sapi_module.name);
    add_assoc_bool(return_value, "zts", true);
    if (r) {
        add_assoc_string(return_value, "pool", pool_conf(r->pool)->name);
        add_assoc_long(return_value, "workers", (zend_long)scoreboard_workers(pool_scoreboard(r->pool)));
        add_assoc_long(return_value, "started",
                       (zend_long)(pool_started_wall_us(r->pool) / CLOCK_US_PER_SECOND));
    }
}

static PHP_FUNCTION(tokio_request_heartbeat)
{
    zend_long seconds = 10;

    ZEND_PARSE_PARAMETERS_START(0, 1)
    Z_PARAM_OPTIONAL
    Z_PARAM_LONG(seconds)
    ZEND_PARSE_PARAMETERS_END();
    RETURN_BOOL(current_request() && worker_heartbeat(php_thread->worker, seconds));
}

/* -- the response -- */

static PHP_FUNCTION(fastcgi_finish_request)
{
    ZEND_PARSE_PARAMETERS_NONE();
    RETURN_BOOL(sapi_finish_early());
}

static PHP_FUNCTION(tokio_stream_flush)
{
    const struct request *r = current_request();

    ZEND_PARSE_PARAMETERS_NONE();
    if (!r || r->finished) {
        RETURN_FALSE;
    }
    php_output_flush_all();
    sapi_flush();
    RETURN_BOOL(!(PG(connection_status) & PHP_CONNECTION_ABORTED));
}

static PHP_FUNCTION(tokio_is_streaming)
{
    const struct request *r = current_request();

    ZEND_PARSE_PARAMETERS_NONE();
    RETURN_BOOL(r && r->head_sent && !r->finished);
}

static PHP_FUNCTION(apache_response_headers)
{
    zend_llist_position at;

    ZEND_PARSE_PARAMETERS_NONE();
    array_init(return_value);
    for (sapi_header_struct *h = zend_llist_get_first_ex(&SG(sapi_headers).headers, &at); h;
         h = zend_llist_get_next_ex(&SG(sapi_headers).headers, &at)) {
        const char *colon = memchr(h->header, ':', h->header_len);

        if (colon) {
            const char *value = colon + 1 + strspn(colon + 1, " ");

            add_assoc_stringl_ex(return_value, h->header, (size_t)(colon - h->header), value,
                                 (size_t)(h->header + h->header_len - value));
        }
    }
}

/* -- the request -- */

/* HTTP_X_FOO_BAR => X-Foo-Bar. out holds n bytes. */
static void header_name(const char *name, size_t n, char *out)
{
    bool first = true;

    for (size_t i = 0; i < n; i++) {
        char c = name[i];

        out[i] = c == '_' ? '-' : !first && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        first = c == '_';
    }
}

static void add_request_header(zval *out, const struct param *p)
{
    static const char prefix[] = "HTTP_";
    size_t skip = sizeof prefix - 1;
    const char *fixed = strcmp(p->name, "CONTENT_TYPE") == 0     ? "Content-Type"
                        : strcmp(p->name, "CONTENT_LENGTH") == 0 ? "Content-Length"
                                                                 : NULL;

    if (fixed) {
        add_assoc_stringl(out, fixed, p->value, p->value_len);
    } else if (p->name_len > skip && memcmp(p->name, prefix, skip) == 0) {
        zend_string *name = zend_string_alloc(p->name_len - skip, 0);
        zval value;

        header_name(p->name + skip, p->name_len - skip, ZSTR_VAL(name));
        ZSTR_VAL(name)[ZSTR_LEN(name)] = '\0';
        ZVAL_STRINGL(&value, p->value, p->value_len);
        zend_symtable_update(Z_ARRVAL_P(out), name, &value);
        zend_string_release(name);
    }
}

/* A later one of the same name would have replaced an earlier one, in php-fpm's table of parameters. */
static bool is_last_of_its_name(const struct request *r, const struct param *p)
{
    return request_param_find(r, (struct str){p->name, p->name_len}) == p;
}

static PHP_FUNCTION(apache_request_headers)
{
    const struct request *r = current_request();

    ZEND_PARSE_PARAMETERS_NONE();
    array_init(return_value);
    for (size_t i = r ? r->param_count : 0; i > 0; i--) {
        if (is_last_of_its_name(r, &r->params[i - 1])) {
            add_request_header(return_value, &r->params[i - 1]);
        }
    }
}

/* -- php-fpm's status as an array -- */

static void add_worker(zval *list, const struct worker_row *slot, uint64_t now_us, uint64_t wall_us)
{
    bool waits = slot->state == WORKER_IDLE || slot->state == WORKER_PARKED;
    uint64_t duration = waits ? slot->duration_us : now_us - slot->accepted_us;
    double cpu =
        waits && slot->duration_us ? 100.0 * (double)slot->last_cpu_us / (double)slot->duration_us : 0;
    zend_long start = (zend_long)(slot->start_wall_us / CLOCK_US_PER_SECOND);
    zval entry;

    array_init(&entry);
    add_assoc_long(&entry, "pid", slot->tid);
    add_assoc_string(&entry, "state", worker_state_name(slot->state));
    add_assoc_long(&entry, "start-time", start);
    add_assoc_long(&entry, "start-since", (zend_long)(wall_us / CLOCK_US_PER_SECOND) - start);
    add_assoc_long(&entry, "requests", (zend_long)slot->requests);
    add_assoc_long(&entry, "request-duration", (zend_long)duration);
    add_assoc_string(&entry, "request-method", *slot->method ? slot->method : "-");
    add_assoc_string(&entry, "request-uri", slot->uri);
    add_assoc_string(&entry, "query-string", slot->query);
    add_assoc_long(&entry, "request-length", (zend_long)slot->content_length);
    add_assoc_string(&entry, "user", *slot->user ? slot->user : "-");
    add_assoc_string(&entry, "script", *slot->script ? slot->script : "-");
    add_assoc_double(&entry, "last-request-cpu", cpu);
    add_assoc_long(&entry, "last-request-memory", waits ? (zend_long)slot->memory_peak : 0);
    add_next_index_zval(list, &entry);
}

static void add_workers(zval *out, const struct view *view, const struct pool_view *pool)
{
    uint64_t now = clock_us(), wall = clock_wall_us();
    zval list;

    array_init(&list);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker_row *row = &view->workers[pool->first_worker + i];

        if (worker_row_visible(row)) {
            add_worker(&list, row, now, wall);
        }
    }
    add_assoc_zval(out, "procs", &list);
}

static void add_status(zval *out, const struct view *view, const struct pool_view *pool)
{
    static const char *const kinds[] = {"static", "static", "dynamic", "ondemand"};
    zend_long start = (zend_long)(pool->start_wall_us / CLOCK_US_PER_SECOND);

    array_init(out);
    add_assoc_string(out, "pool", pool->name);
    add_assoc_string(out, "process-manager", kinds[pool->pm & 3]);
    add_assoc_long(out, "start-time", start);
    add_assoc_long(out, "start-since", (zend_long)(clock_wall_us() / CLOCK_US_PER_SECOND) - start);
    add_assoc_long(out, "accepted-conn", (zend_long)pool->accepted);
    add_assoc_long(out, "listen-queue", pool->listen_queue);
    add_assoc_long(out, "max-listen-queue", pool->listen_queue_max);
    add_assoc_long(out, "listen-queue-len", pool->listen_queue_len);
    add_assoc_long(out, "idle-processes", pool->idle);
    add_assoc_long(out, "active-processes", pool->active);
    add_assoc_long(out, "total-processes", (zend_long)pool->idle + pool->active);
    add_assoc_long(out, "max-active-processes", pool->active_max);
    add_assoc_long(out, "max-children-reached", pool->max_children_reached);
    add_assoc_long(out, "slow-requests", (zend_long)pool->slow_requests);
    add_assoc_long(out, "memory-peak", (zend_long)pool->memory_peak);
    add_workers(out, view, pool);
}

static PHP_FUNCTION(fpm_get_status)
{
    const struct request *r = current_request();

    ZEND_PARSE_PARAMETERS_NONE();
    struct view *view = r ? pool_look(r->pool) : NULL;
    const struct pool_view *pool = view ? view_find(view, pool_conf(r->pool)->name) : NULL;

    if (pool) {
        add_status(return_value, view, pool);
    } else {
        RETVAL_FALSE;
    }
    view_free(view);
}

/* -- tables -- */

/* clang-format off */
static const zend_function_entry table[] = {
    PHP_FE(fastcgi_finish_request, arginfo_none_bool)
    PHP_FALIAS(tokio_finish_request, fastcgi_finish_request, arginfo_none_bool)
    PHP_FE(apache_request_headers, arginfo_none_array)
    PHP_FALIAS(getallheaders, apache_request_headers, arginfo_none_array)
    PHP_FE(apache_response_headers, arginfo_none_array)
    PHP_FE(fpm_get_status, arginfo_none_array_or_false)
    PHP_FE(tokio_request_id, arginfo_none_string)
    PHP_FE(tokio_worker_id, arginfo_none_int)
    PHP_FE(tokio_task_should_stop, arginfo_none_bool)
    PHP_FE(tokio_server_info, arginfo_none_array)
    PHP_FE(tokio_request_heartbeat, arginfo_tokio_request_heartbeat)
    PHP_FE(tokio_send_headers, arginfo_tokio_send_headers)
    PHP_FE(tokio_stream_flush, arginfo_none_bool)
    PHP_FE(tokio_is_streaming, arginfo_none_bool)
    PHP_FE(tokio_handle_request, arginfo_tokio_handle_request)
    PHP_FALIAS(frankenphp_finish_request, fastcgi_finish_request, arginfo_none_bool)
    PHP_FALIAS(frankenphp_request_headers, apache_request_headers, arginfo_none_array)
    PHP_FALIAS(frankenphp_response_headers, apache_response_headers, arginfo_none_array)
    PHP_FE(frankenphp_log, arginfo_frankenphp_log)
    PHP_FE(headers_send, arginfo_headers_send)
    PHP_FALIAS(frankenphp_handle_request, tokio_handle_request, arginfo_tokio_handle_request)
    PHP_FE_END
};
/* clang-format on */

const zend_function_entry *functions_table(void)
{
    return table;
}
