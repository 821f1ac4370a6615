/* OPcache in a threaded process.
 *
 * It restarts (empties) its memory when it is full or asked to, and it believes that nobody uses the memory
 * when no other process holds a lock on byte 1 of its lock file. Locks do not exclude threads, so a restart
 * in here would pull the memory from under running scripts. Hence the guard: that lock is held for as long as
 * this process lives, by nobody that is OPcache's own, and nothing is ever restarted; what would have been a
 * restart asks for a new generation instead, with fresh memory. How full the memory is, is read by a worker
 * now and then at the end of a request, through opcache_get_status(). The control thread acts on it.
 *
 * A new generation helps where memory is wasted (by former versions of scripts) or keys are (by former
 * spellings of paths). Where the code itself is too much it would be as full at once, so none is asked for:
 * the cache is closed, since a full one crashes threads (zend_accel_load_script), and new scripts run
 * uncached. Strings beyond their buffer are merely not shared. */
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/opcache_private.h"
#include "engine/php/override.h"
#include "engine/work/pool.h"

#define SAMPLE_EVERY_US (CLOCK_US_PER_SECOND / 4)
#define SAMPLE_CLOSE_US (CLOCK_US_PER_SECOND / 50) /* while it may be full soon */
#define CLOSE_PERCENT   50
#define LOUD_PERCENT    80
#define FULL_PERCENT    90
#define WASTE_PERCENT   5 /* of the memory: opcache.max_wasted_percentage's default */
#define KEYS_LIFE_US    (600 * CLOCK_US_PER_SECOND) /* keys that fill up sooner are those of the code */

static const char *const part_names[PARTS] = {"memory (opcache.memory_consumption)",
                                              "interned strings (opcache.interned_strings_buffer)",
                                              "hash keys (opcache.max_accelerated_files)"};

static _Atomic int percent[PARTS];     /* written by the worker that samples, read by the control thread */
static _Atomic int wasted_percent;     /* likewise */
static _Atomic bool grows = true;      /* likewise: more than the time before */
static _Atomic bool closed;            /* likewise: what is not in the cache now does not get in */
static _Atomic uint64_t sampled_at_us; /* claimed by compare and swap */
static uint64_t started_us;            /* constant after opcache_start */
static bool told_closed;               /* control thread, as the next */
static bool told[PARTS];               /* control thread */

static _Atomic bool restart_wanted; /* OPcache is off for the rest of this process's life */
static _Atomic unsigned resets;     /* by opcache_reset(), as far as they have said true */
static zif_handler reset_of_php;    /* constant after opcache_start, as the next */

enum { RESET = 2 }; /* ACCEL_RESTART_USER of ZendAccelerator.h, which is not installed */

static void ask_for_swap(int reason)
{
    if (!php_thread || !php_thread->request) {
        return;
    }
    if (reason == RESET) {
        pool_request_reset(php_thread->request->pool, "opcache_reset() was called");
    } else {
        pool_request_swap(php_thread->request->pool,
                          reason == 0 ? "OPcache is full" : "OPcache's table of scripts is full");
    }
}

/* OPcache asks for a restart: it switches itself off until one happens, which is never in this process. */
static void on_restart_wanted(int reason)
{
    restart_wanted = true;
    ask_for_swap(reason);
}

static bool may_use_api(void)
{
    const char *allowed = INI_STR("opcache.restrict_api");
    const char *script = SG(request_info).path_translated;

    return !allowed || !*allowed || (script && strncmp(script, allowed, strlen(allowed)) == 0);
}

/* OPcache's own function marks the memory for a restart, and from then on every request that begins runs
 * without it, until the successor serves. What is in there is listed first: afterwards nobody is told. A
 * reset by a later request is a success as well, as it is where the first one has been carried out already,
 * and what starts at this moment may have compiled what was there before it. To a request that ran before it,
 * the restart is still to come, and false is said. */
static PHP_FUNCTION(opcache_reset_by_swap)
{
    bool later = php_thread && php_thread->opcache_resets == resets;
    bool again = restart_wanted && later && INI_BOOL("opcache.enable") && may_use_api();

    if (!again && opcache_can_tell() && may_use_api() && !EG(exception)) {
        opcache_keep_list();
    }
    reset_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
#if PHP_VERSION_ID < 80400 /* no hook tells of it */
    if (Z_TYPE_P(return_value) == IS_TRUE) {
        on_restart_wanted(RESET);
    }
#endif
    if (again && Z_TYPE_P(return_value) == IS_FALSE && !EG(exception)) {
        ask_for_swap(RESET);
        ZVAL_TRUE(return_value);
    }
    if (Z_TYPE_P(return_value) == IS_TRUE) {
        resets++;
    }
}

void opcache_start(void)
{
    started_us = clock_us();
    opcache_find_functions();
    override_function("opcache_reset", zif_opcache_reset_by_swap, &reset_of_php);
#if PHP_VERSION_ID >= 80400
    zend_accel_schedule_restart_hook = on_restart_wanted;
#endif
}

/* -- how full it is -- */

static zend_long number_of(const HashTable *table, const char *name)
{
    const zval *value = table ? zend_hash_str_find(table, name, strlen(name)) : NULL;

    return value ? zval_get_long((zval *)(uintptr_t)value) : 0;
}

static int percent_of(zend_long used, zend_long whole)
{
    return whole > 0 ? (int)(used * 100 / whole) : 0;
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

    grows = now[PART_MEMORY] > percent[PART_MEMORY] || now[PART_KEYS] > percent[PART_KEYS];
    for (int i = 0; i < PARTS; i++) {
        percent[i] = now[i];
    }
    wasted_percent = percent_of(number_of(memory, "wasted_memory"), whole);
    closed = now[PART_MEMORY] >= FULL_PERCENT || now[PART_KEYS] >= FULL_PERCENT;
#if PHP_VERSION_ID < 80400 /* there is no hook that would have told */
    const zval *pending = Z_TYPE(status) == IS_ARRAY
                              ? zend_hash_str_find(Z_ARRVAL(status), ZEND_STRL("restart_pending"))
                              : NULL;

    if (!restart_wanted && pending && Z_TYPE_P(pending) == IS_TRUE) {
        on_restart_wanted(0);
    }
#endif
    zval_ptr_dtor(&status);
}

int opcache_percent(enum opcache_part part)
{
    return percent[part];
}

/* A script that is larger than this is compiled without being stored; what is stored already is found first.
 * What ini_get() says stays. */
void opcache_begin(struct php_thread *t)
{
    bool now = atomic_load_explicit(&closed, memory_order_relaxed);
    zend_ini_entry *entry;

    t->opcache_resets = atomic_load_explicit(&resets, memory_order_relaxed);
    if (now == t->opcache_closed) {
        return;
    }
    t->opcache_closed = now;
    entry = zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("opcache.max_file_size"));
    if (entry && entry->on_modify) {
        entry->on_modify(entry, now ? ZSTR_CHAR('1') : entry->value, entry->mh_arg1, entry->mh_arg2,
                         entry->mh_arg3, ZEND_INI_STAGE_ACTIVATE);
    }
}

/* While it fills up, each request is looked at, so that it is closed before it is full. */
static uint64_t sample_every_us(void)
{
    int most = percent[PART_MEMORY] > percent[PART_KEYS] ? percent[PART_MEMORY] : percent[PART_KEYS];

    if (most >= FULL_PERCENT) {
        return SAMPLE_EVERY_US;
    }
    return grows ? 0 : most >= CLOSE_PERCENT ? SAMPLE_CLOSE_US : SAMPLE_EVERY_US;
}

void opcache_sample(struct php_thread *t)
{
    uint64_t now = clock_coarse_us(), last = atomic_load_explicit(&sampled_at_us, memory_order_relaxed);

    if (!opcache_can_tell() || now - last < sample_every_us()) {
        return;
    }
    if (CG(unclean_shutdown)) {
        return; /* a fatal error: its memory may be full, and asking would say so in its answer */
    }
    if (!atomic_compare_exchange_strong(&sampled_at_us, &last, now) || !may_use_api() || EG(exception)) {
        return;
    }
    opcache_measure();
    pool_scoreboard(t->request->pool)->numbers->opcache_used_percent = (uint32_t)percent[PART_MEMORY];
}

/* Would a new generation be less full? */
static const char *reason_for_swap(void)
{
    if (percent[PART_MEMORY] >= FULL_PERCENT && wasted_percent >= WASTE_PERCENT) {
        return "OPcache's memory is nearly full";
    }
    if (percent[PART_KEYS] >= FULL_PERCENT && clock_us() - started_us >= KEYS_LIFE_US) {
        return "OPcache's table of scripts is nearly full";
    }
    return NULL;
}

bool opcache_check(const char **why)
{
    for (int i = 0; i < PARTS; i++) {
        if (percent[i] >= LOUD_PERCENT && !told[i]) {
            log_warning("OPcache: %d%% of its %s are used; consider raising it", percent[i], part_names[i]);
            told[i] = true;
        }
    }
    const char *reason = reason_for_swap();

    if (reason) {
        *why = reason;
        return true;
    }
    if (closed && !told_closed) {
        log_warning("OPcache is full: scripts that are not in it are compiled at each request");
        told_closed = true;
    }
    return false;
}
