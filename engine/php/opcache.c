/* OPcache in a threaded process.
 *
 * It restarts (empties) its memory when it is full or asked to, and it believes that nobody uses the memory
 * when no other process holds a lock on byte 1 of its lock file. Locks do not exclude threads, so a restart
 * in here would pull the memory from under running scripts. Hence the guard: a tiny child holds that lock for
 * as long as this process lives, and nothing is ever restarted; what would have been a restart asks for a new
 * generation instead, with fresh memory. How full the memory is, is read by a worker now and then at the end
 * of a request, through opcache_get_status(). The control thread acts on it. */
#include "zend_exceptions.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/opcache_private.h"
#include "engine/php/override.h"
#include "engine/work/pool.h"

#define SAMPLE_EVERY_US (2 * CLOCK_US_PER_SECOND)
#define LOUD_PERCENT    80
#define SWAP_PERCENT    90
#define GROWTH_PERCENT  5 /* a new generation that is as full from the start would not help */

static const char *const part_names[PARTS] = {"memory (opcache.memory_consumption)",
                                              "interned strings (opcache.interned_strings_buffer)",
                                              "hash keys (opcache.max_accelerated_files)"};
static const char *const swap_reasons[PARTS] = {"OPcache's memory is nearly full",
                                                "OPcache's interned strings are nearly full",
                                                "OPcache's table of scripts is nearly full"};

static _Atomic int percent[PARTS];       /* written by the worker that samples, read by the control thread */
static _Atomic int percent_first[PARTS]; /* the first sample of this process, -1 = none yet */
static _Atomic uint64_t sampled_at_us;   /* claimed by compare and swap */
static bool told[PARTS];                 /* control thread */

static zend_function *status_function, *compile_function; /* constant after opcache_start */

/* OPcache asks for a restart: it switches itself off until one happens, which is never in this process. */
static void on_restart_wanted(int reason)
{
    static const char *const why[] = {"OPcache is full", "OPcache's table of scripts is full",
                                      "opcache_reset() was called"};

    if (php_thread && php_thread->request) {
        pool_request_swap(php_thread->request->pool, why[reason >= 0 && reason < 3 ? reason : 2]);
    }
}

static bool may_use_api(void)
{
    const char *allowed = INI_STR("opcache.restrict_api");
    const char *script = SG(request_info).path_translated;

    return !allowed || !*allowed || (script && strncmp(script, allowed, strlen(allowed)) == 0);
}

static PHP_FUNCTION(opcache_reset_by_swap)
{
    ZEND_PARSE_PARAMETERS_NONE();
    if (!may_use_api()) {
        zend_error(E_WARNING, "Zend OPcache API is restricted by \"restrict_api\" configuration directive");
        RETURN_FALSE;
    }
    if (!php_thread || !php_thread->request) {
        RETURN_FALSE;
    }
    pool_request_swap(php_thread->request->pool, "opcache_reset() was called");
    RETURN_TRUE;
}

void opcache_start(void)
{
    opcache_begin_anew();
    status_function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("opcache_get_status"));
    compile_function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("opcache_compile_file"));
    override_function("opcache_reset", zif_opcache_reset_by_swap, NULL);
    zend_accel_schedule_restart_hook = on_restart_wanted;
    if (!opcache_guard_start()) {
        log_warning(
            "OPcache's guard process could not be started: an opcache_reset() may crash this process");
    }
}

void opcache_stop(void)
{
    opcache_guard_stop();
}

/* -- how full it is -- */

static zend_long number_of(const HashTable *table, const char *name)
{
    const zval *value = table ? zend_hash_str_find(table, name, strlen(name)) : NULL;

    return value ? zval_get_long((zval *)(uintptr_t)value) : 0;
}

const HashTable *opcache_part_of(const zval *status, const char *name)
{
    const zval *part =
        Z_TYPE_P(status) == IS_ARRAY ? zend_hash_str_find(Z_ARRVAL_P(status), name, strlen(name)) : NULL;

    return part && Z_TYPE_P(part) == IS_ARRAY ? Z_ARRVAL_P(part) : NULL;
}

static int percent_of(zend_long used, zend_long whole)
{
    return whole > 0 ? (int)(used * 100 / whole) : 0;
}

static void call(zend_function *function, zval *argument, zval *result)
{
    ZVAL_NULL(result);
    zend_call_known_function(function, NULL, NULL, result, 1, argument, NULL);
    if (EG(exception)) {
        zend_clear_exception();
    }
}

void opcache_status(bool with_scripts, zval *status)
{
    zval argument;

    ZVAL_BOOL(&argument, with_scripts);
    call(status_function, &argument, status);
}

void opcache_compile(const char *path, size_t n)
{
    zval argument, result;

    ZVAL_STRINGL(&argument, path, n);
    call(compile_function, &argument, &result);
    zval_ptr_dtor(&result);
    zval_ptr_dtor(&argument);
}

void opcache_measure(void)
{
    zval status;

    opcache_status(false, &status);
    const HashTable *memory = opcache_part_of(&status, "memory_usage");
    const HashTable *strings = opcache_part_of(&status, "interned_strings_usage");
    const HashTable *numbers = opcache_part_of(&status, "opcache_statistics");
    zend_long unused = number_of(memory, "free_memory");
    zend_long whole = number_of(memory, "used_memory") + number_of(memory, "wasted_memory") + unused;
    int now[PARTS] = {
        [PART_MEMORY] = percent_of(whole - unused, whole),
        [PART_STRINGS] = percent_of(number_of(strings, "used_memory"), number_of(strings, "buffer_size")),
        [PART_KEYS] =
            percent_of(number_of(numbers, "num_cached_keys"), number_of(numbers, "max_cached_keys")),
    };

    for (int i = 0; i < PARTS; i++) {
        int none = -1;

        percent[i] = now[i];
        atomic_compare_exchange_strong(&percent_first[i], &none, now[i]);
    }
    zval_ptr_dtor(&status);
}

int opcache_percent(enum opcache_part part)
{
    return percent[part];
}

void opcache_begin_anew(void)
{
    for (int i = 0; i < PARTS; i++) {
        percent_first[i] = -1;
    }
}

bool opcache_can_tell(void)
{
    return opcache_guarded() && status_function;
}

bool opcache_can_compile(void)
{
    return opcache_can_tell() && compile_function;
}

void opcache_sample(struct php_thread *t)
{
    uint64_t now = clock_coarse_us(), last = atomic_load_explicit(&sampled_at_us, memory_order_relaxed);

    if (!opcache_can_tell() || now - last < SAMPLE_EVERY_US) {
        return;
    }
    if (!atomic_compare_exchange_strong(&sampled_at_us, &last, now) || !may_use_api() || EG(exception)) {
        return;
    }
    opcache_measure();
    pool_scoreboard(t->request->pool)->numbers->opcache_used_percent = (uint32_t)percent[PART_MEMORY];
}

bool opcache_check(const char **why)
{
    opcache_guard_look();
    for (int i = 0; i < PARTS; i++) {
        if (percent[i] >= LOUD_PERCENT && !told[i]) {
            log_warning("OPcache: %d%% of its %s are used; consider raising it", percent[i], part_names[i]);
            told[i] = true;
        }
        if (percent[i] >= SWAP_PERCENT && percent[i] >= percent_first[i] + GROWTH_PERCENT) {
            *why = swap_reasons[i];
            return true;
        }
    }
    return false;
}
