/* libphp's life in one engine process.
 *
 * Main thread: load (load.c; module start-up must run on the thread that also ends it), start, check, warm,
 * stop. Worker threads: one TSRM entry each, made in thread_start and kept until the thread ends; in normal
 * operation threads do not end, because that is where extensions crash. */
#include "engine/php/runtime.h"
#include "engine/php/thread.h"

#include <malloc.h>
#include <stdio.h>

#include "TSRM.h"
#include "ext/standard/info.h"
#include "zend_extensions.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/backtrace.h"
#include "engine/php/boot_failure.h"
#include "engine/php/cgi.h"
#include "engine/php/env.h"
#include "engine/php/first_use.h"
#include "engine/php/hygiene.h"
#include "engine/php/ini.h"
#include "engine/php/ini_request.h"
#include "engine/php/interpose.h"
#include "engine/php/load.h"
#include "engine/php/messages.h"
#include "engine/php/noted.h"
#include "engine/php/opcache.h"
#include "engine/php/override.h"
#include "engine/php/paths.h"
#include "engine/php/preload.h"
#include "engine/php/run.h"
#include "engine/php/sapi.h"
#include "engine/php/stack.h"
#include "engine/php/std_streams.h"
#include "engine/php/timeout.h"
#include "engine/php/vars.h"
#include "engine/php/worker_script.h"
#include "engine/work/executor.h"

#define TRIM_EVERY_US (5 * CLOCK_US_PER_SECOND)
/* What the system gives a process that does not ask, and what larger frames need to go as deep. */
#define STACK_OF_PHP_FPM ((8u << 20) + (256u << 10))

static const struct pool_conf *pool_started; /* set before threads exist */
static _Atomic unsigned threads_alive;       /* workers between thread_start and thread_stop */
static void (*interrupt_before)(zend_execute_data *frame);

/* -- process -- */

/* PHP would say 500, which only replaces a 200. */
static void answer_with(int status)
{
    if (!SG(headers_sent)) {
        SG(sapi_headers).http_response_code = status;
        if (SG(sapi_headers).http_status_line) {
            efree(SG(sapi_headers).http_status_line);
            SG(sapi_headers).http_status_line = NULL;
        }
    }
}

/* Runs on the worker's thread inside the virtual machine, when interrupt() set the flag. */
static void on_interrupt(zend_execute_data *frame)
{
    struct php_thread *t = php_thread;
    int reason = t ? atomic_exchange(&t->interrupt, 0) : 0;

    if (interrupt_before) {
        interrupt_before(frame);
    }
    if (reason == INTERRUPT_TERMINATE + 1) {
        answer_with(504);
        zend_error_noreturn(E_ERROR, "Request terminated: request_terminate_timeout of %d seconds exceeded",
                            (int)pool_started->s.request_terminate_timeout);
    } else if (reason == INTERRUPT_DRAIN + 1) {
        answer_with(503);
        zend_error_noreturn(E_ERROR, "Request terminated: the server is being replaced or stopped");
    }
}

static int start(const struct cli_options *cli, const struct pool_conf *pool)
{
    (void)cli; /* load's */
    load_settle();
    pool_started = pool;
    ini_ban_late();
    ini_apply_pool(pool, true);
    timeout_thread_start();
    hygiene_install(pool); /* may still set a variable */
    env_start();
    vars_install();
    std_streams_start();
    paths_start();
    interrupt_before = zend_interrupt_function;
    zend_interrupt_function = on_interrupt;
    cgi_publish_rules();
    opcache_start();
    preload_start(pool);
    worker_request_install();
    if (pool && pool->s.worker_script) {
        noted_install();
    }
    return 0;
}

static void meanwhile(void)
{
    first_use_start();
    paths_are_answered(interpose_check());
}

static void stop(void)
{
    if (threads_alive) {
        return; /* a lost worker still holds PHP memory: the process's end takes it */
    }
    SG(server_context) = NULL;
    php_module_shutdown();
    sapi_shutdown();
    tsrm_shutdown();
}

/* -- threads -- */

/* What PHP counts ends where it ends in php-fpm; what it does not count (a chain of objects that is freed)
 * may go on, since its frames are larger in a PHP with threads. */
static void limit_stack(void)
{
#ifdef ZEND_CHECK_STACK_LIMIT
    if (EG(max_allowed_stack_size) == 0 && EG(stack_base) && EG(stack_limit)) {
        EG(stack_limit) = (char *)EG(stack_base) - STACK_OF_PHP_FPM + EG(reserved_stack_size);
    }
#endif
}

static int thread_start(struct worker *w)
{
    struct php_thread *t = calloc(1, sizeof *t);

    if (!t) {
        return -1;
    }
    messages_hush(true); /* the main thread has read the same settings */
    (void)ts_resource(0);
    ZEND_TSRMLS_CACHE_UPDATE();
    t->worker = w;
    t->executor = TSRMG_FAST_BULK_STATIC(executor_globals_offset, zend_executor_globals *);
    t->core = TSRMG_FAST_BULK_STATIC(core_globals_offset, php_core_globals *);
    t->body_fd = -1;
    w->executor_data = t;
    php_thread = t;
    threads_alive++;
    SG(request_info).path_translated = NULL;
    limit_stack();
    override_thread_start();
    hygiene_thread_start(t);
    timeout_thread_start();
    ini_apply_pool(pool_started, false);
    messages_hush(false);
    ini_keep_process_entries();
    cgi_publish_rules();
    return 0;
}

static void thread_stop(struct worker *w)
{
    struct php_thread *t = w->executor_data;

    if (!t) {
        return;
    }
    w->executor_data = NULL;
    boot_failure_free(t);
    php_thread = NULL;
    ts_free_thread();
    threads_alive--;
    free(t);
}

static void run(struct worker *w, struct request *r)
{
    struct php_thread *t = w->executor_data;

    if (t->script) {
        worker_request_run(t, r);
    } else {
        run_request(t, r);
    }
}

static void hold(struct worker *w)
{
    worker_script_hold(w->executor_data, pool_started);
}

static void explain(struct worker *w, struct request *r)
{
    boot_failure_answer(w->executor_data, r);
}

static void interrupt(struct worker *w, enum interrupt_reason reason)
{
    struct php_thread *t = w->executor_data;

    if (!t || !w->request) {
        return;
    }
    if (reason == INTERRUPT_PHP_TIME) {
        timeout_interrupt(t);
        return;
    }
    t->interrupt = (int)reason + 1;
    zend_atomic_bool_store_ex(&t->executor->vm_interrupt, true);
}

/* Before 8.4 PHP gives back the heap's first chunk as well if nothing is in it, and what is known of the heap
 * is in there. A whole page comes from the first chunk that has one free, so while we hold one that chunk
 * stays. */
static void tidy_heap(void)
{
#if PHP_VERSION_ID < 80400
    zend_set_memory_limit(SIZE_MAX); /* nobody is here whom an error could tell */
    void *page = emalloc(4096);
#endif
    zend_mm_gc(zend_mm_get_heap());
#if PHP_VERSION_ID < 80400
    efree(page);
    zend_set_memory_limit((size_t)PG(memory_limit));
#endif
}

/* PHP's heap is the thread's; malloc's is everybody's, so one of the idle workers tidies it for all. */
static void idle(struct worker *w)
{
    static _Atomic uint64_t trimmed_at_us;
    uint64_t now = clock_coarse_us(), last = trimmed_at_us;

    (void)w;
    tidy_heap();
    if (now - last > TRIM_EVERY_US && atomic_compare_exchange_strong(&trimmed_at_us, &last, now)) {
        malloc_trim(0);
    }
}

static int backtrace(struct worker *w, int fd, int depth)
{
    return w->executor_data ? backtrace_write(w->executor_data, fd, depth) : -1;
}

static int look(struct worker *w, struct call_stack *out)
{
    return w->executor_data ? stack_read(w->executor_data, out) : -1;
}

static size_t memory_peak(struct worker *w)
{
    const struct php_thread *t = w->executor_data;

    return t ? t->memory_peak : 0;
}

const struct executor php_executor = {
    .name = "php",
    .inherit = preload_take,
    .load = load_php,
    .start = start,
    .meanwhile = meanwhile,
    .afterwards = interpose_check_others,
    .stop = stop,
    .thread_start = thread_start,
    .thread_stop = thread_stop,
    .run = run,
    .hold = hold,
    .explain = explain,
    .interrupt = interrupt,
    .idle = idle,
    .backtrace = backtrace,
    .look = look,
    .memory_peak = memory_peak,
    .check = opcache_check,
    .stale = preload_stale,
    .looks = preload_looks,
    .warm = opcache_warm,
    .forget = opcache_forget,
    .warm_list = opcache_warm_list,
};

/* -- what -i, -m and -v print -- */

static int by_module_name(Bucket *a, Bucket *b)
{
    return strcasecmp(((zend_module_entry *)Z_PTR(a->val))->name, ((zend_module_entry *)Z_PTR(b->val))->name);
}

static int by_extension_name(const zend_llist_element **a, const zend_llist_element **b)
{
    return strcmp(((const zend_extension *)(*a)->data)->name, ((const zend_extension *)(*b)->data)->name);
}

static void print_extension(void *extension)
{
    php_printf("%s\n", ((zend_extension *)extension)->name);
}

static void print_modules(void)
{
    HashTable sorted;
    zend_module_entry *module;
    zend_llist extensions;

    php_printf("[PHP Modules]\n");
    zend_hash_init(&sorted, 64, NULL, NULL, 0);
    zend_hash_copy(&sorted, &module_registry, NULL);
    zend_hash_sort(&sorted, by_module_name, 0);
    ZEND_HASH_FOREACH_PTR(&sorted, module)
    {
        php_printf("%s\n", module->name);
    }
    ZEND_HASH_FOREACH_END();
    zend_hash_destroy(&sorted);
    php_printf("\n[Zend Modules]\n");
    zend_llist_copy(&extensions, &zend_extensions);
    extensions.dtor = NULL;
    zend_llist_sort(&extensions, by_extension_name);
    zend_llist_apply(&extensions, print_extension);
    zend_llist_destroy(&extensions);
    php_printf("\n");
}

static void print_version(void)
{
#if PHP_VERSION_ID >= 80400
    php_print_version(&sapi_module);
#else
    php_printf("PHP %s (%s) (built: %s %s) (ZTS)\nCopyright (c) The PHP Group\n%s", PHP_VERSION,
               sapi_module.name, __DATE__, __TIME__, get_zend_version());
#endif
}

static void print_info(void *what)
{
    switch (*(char *)what) {
    case 'm': print_modules(); break;
    case 'v': print_version(); break;
    default: php_print_info(0xFFFFFFFF); break;
    }
    php_output_end_all();
}

int php_info_main(const struct cli_options *cli, char what)
{
    sapi_table.phpinfo_as_text = 1;
    sapi_prints = true;
    if (load_php(cli, NULL, NULL) < 0) {
        return 70;
    }
    bool done = run_aside(print_info, &what);

    php_module_shutdown();
    sapi_shutdown();
    tsrm_shutdown();
    return done ? 0 : 70;
}
