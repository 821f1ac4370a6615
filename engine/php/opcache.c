/* OPcache in a threaded process.
 *
 * It restarts (empties) its memory when it is full or asked to, and it believes that nobody uses the memory
 * when no other process holds a lock on byte 1 of its lock file. Locks do not exclude threads, so a restart
 * in here would pull the memory from under running scripts. Hence the guard: a tiny child holds that lock for
 * as long as this process lives, and nothing is ever restarted; what would have been a restart asks for a new
 * generation instead, with fresh memory. How full the memory is, is read by a worker now and then at the end
 * of a request, through opcache_get_status(). The control thread acts on it. */
#include "engine/php/opcache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "zend_exceptions.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/opcache_lock.h"
#include "engine/php/override.h"
#include "engine/php/run.h"
#include "engine/work/pool.h"

#define SAMPLE_EVERY_US (2 * CLOCK_US_PER_SECOND)
#define LOUD_PERCENT    80
#define SWAP_PERCENT    90
#define GROWTH_PERCENT  5  /* a new generation that is as full from the start would not help */
#define WARM_PERCENT    70 /* how far the old generation's scripts may fill the new one */
#define WARM_LOOK_EVERY 64 /* scripts */

enum part { PART_MEMORY, PART_STRINGS, PART_KEYS, PARTS };
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

static zend_function *status_function, *compile_function; /* constant after opcache_guard */
static pid_t guard = -1;                                  /* main thread */
static int guard_pipe = -1, lock_fd = -1;                 /* main thread */

/* ---- the guard ---- */

static bool is_lock_file(const char *link)
{
    return strncmp(link, "/memfd:opcache_lock", 19) == 0 || strstr(link, "/.ZendSem.") != NULL;
}

/* Without /proc (a chroot): the one empty file that has no name and knows of seals. */
static int guess_lock_file(void)
{
    struct stat st;

    for (int fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GET_SEALS) >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 0) {
            return fd;
        }
    }
    return -1;
}

static int find_lock_file(void)
{
    DIR *fds = opendir("/proc/self/fd");
    int found = -1;

    if (!fds) {
        return guess_lock_file();
    }
    for (struct dirent *e = readdir(fds); e && found < 0; e = readdir(fds)) {
        char link[256];
        ssize_t n = readlinkat(dirfd(fds), e->d_name, link, sizeof link - 1);

        if (n > 0) {
            link[n] = '\0';
            found = is_lock_file(link) ? atoi(e->d_name) : -1;
        }
    }
    closedir(fds);
    return found;
}

/* Everything but these three, which become 0, 1 and 2. Their numbers are all above 2: those were open. */
static void keep_only(int a, int b, int c)
{
    dup2(a, 0);
    dup2(b, 1);
    dup2(c, 2);
#ifdef HAVE_CLOSE_RANGE
    if (close_range(3, ~0u, 0) == 0) {
        return;
    }
#endif
    for (int fd = 3; fd < 65536; fd++) {
        close(fd);
    }
}

/* The child. Only async-signal-safe calls: the parent may have threads. */
static _Noreturn void guard_main(int parent, int ready)
{
    struct flock used = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    sigset_t all;
    char byte = 0;

    opcache_lock_skip(-1);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "opcache-guard");
    keep_only(parent, ready, lock_fd);
    if (fcntl(2, F_SETLK, &used) == 0 && write(1, &byte, 1) == 1) {
        close(1);
        while (read(0, &byte, 1) < 0 && errno == EINTR) {
        }
    }
    _exit(0);
}

static bool start_guard(void)
{
    int alive[2], ready[2];
    char byte;

    if (pipe2(alive, O_CLOEXEC) < 0) {
        return false;
    }
    if (pipe2(ready, O_CLOEXEC) < 0) {
        close(alive[0]);
        close(alive[1]);
        return false;
    }
    guard = fork();
    if (guard == 0) {
        close(alive[1]);
        guard_main(alive[0], ready[1]);
    }
    close(alive[0]);
    close(ready[1]);
    bool holds = guard > 0 && read(ready[0], &byte, 1) == 1;

    close(ready[0]);
    guard_pipe = alive[1];
    opcache_lock_skip(holds ? lock_fd : -1);
    return holds;
}

void opcache_guard_stop(void)
{
    if (guard_pipe >= 0) {
        close(guard_pipe);
        guard_pipe = -1;
    }
    if (guard > 0) {
        waitpid(guard, NULL, 0);
        guard = -1;
    }
}

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

void opcache_guard(void)
{
    for (int i = 0; i < PARTS; i++) {
        percent_first[i] = -1;
    }
    status_function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("opcache_get_status"));
    compile_function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("opcache_compile_file"));
    override_function("opcache_reset", zif_opcache_reset_by_swap, NULL);
    zend_accel_schedule_restart_hook = on_restart_wanted;
    lock_fd = find_lock_file();
    if (lock_fd >= 0 && !start_guard()) {
        log_warning(
            "OPcache's guard process could not be started: an opcache_reset() may crash this process");
    }
}

/* ---- how full it is ---- */

static zend_long number_of(const HashTable *table, const char *name)
{
    const zval *value = table ? zend_hash_str_find(table, name, strlen(name)) : NULL;

    return value ? zval_get_long((zval *)(uintptr_t)value) : 0;
}

static const HashTable *part_of(const zval *status, const char *name)
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

static void get_status(bool with_scripts, zval *status)
{
    zval argument;

    ZVAL_BOOL(&argument, with_scripts);
    call(status_function, &argument, status);
}

static void sample(void)
{
    zval status;

    get_status(false, &status);
    const HashTable *memory = part_of(&status, "memory_usage");
    const HashTable *strings = part_of(&status, "interned_strings_usage");
    const HashTable *numbers = part_of(&status, "opcache_statistics");
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

void opcache_sample(struct php_thread *t)
{
    uint64_t now = clock_coarse_us(), last = atomic_load_explicit(&sampled_at_us, memory_order_relaxed);

    if (lock_fd < 0 || !status_function || now - last < SAMPLE_EVERY_US) {
        return;
    }
    if (!atomic_compare_exchange_strong(&sampled_at_us, &last, now) || !may_use_api() || EG(exception)) {
        return;
    }
    sample();
    pool_scoreboard(t->request->pool)->opcache_used_percent = (uint32_t)percent[PART_MEMORY];
}

static void look_after_guard(void)
{
    if (guard > 0 && waitpid(guard, NULL, WNOHANG) == guard) {
        log_warning("OPcache's guard process has ended; starting another");
        opcache_lock_skip(-1);
        close(guard_pipe);
        guard_pipe = -1;
        guard = -1;
        start_guard();
    }
}

bool opcache_check(const char **why)
{
    look_after_guard();
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

/* ---- what the next generation should know ---- */

struct warming {
    const char *list;
    size_t n;
    uint64_t until_us;
    unsigned compiled;
};

static void compile(const char *path, size_t n)
{
    zval argument, result;

    ZVAL_STRINGL(&argument, path, n);
    call(compile_function, &argument, &result);
    zval_ptr_dtor(&result);
    zval_ptr_dtor(&argument);
}

/* Deleted since: not worth a warning. */
static bool is_there(const char *path, size_t n)
{
    char terminated[4096];

    if (n >= sizeof terminated) {
        return false;
    }
    memcpy(terminated, path, n);
    terminated[n] = '\0';
    return access(terminated, R_OK) == 0;
}

static bool has_room(unsigned compiled)
{
    if (compiled % WARM_LOOK_EVERY == 0) {
        sample();
    }
    return percent[PART_MEMORY] < WARM_PERCENT && percent[PART_KEYS] < WARM_PERCENT;
}

static void compile_list(void *context)
{
    struct warming *w = context;

    EG(error_reporting) = 0;
    while (w->n && clock_us() < w->until_us && has_room(w->compiled)) {
        const char *end = memchr(w->list, '\n', w->n), *path = w->list;
        size_t n = end ? (size_t)(end - path) : w->n;

        w->list += end ? n + 1 : n;
        w->n -= end ? n + 1 : n;
        w->compiled++;
        if (n && is_there(path, n)) {
            compile(path, n);
        }
    }
}

void opcache_warm(const char *list, size_t n, unsigned budget_ms)
{
    uint64_t began = clock_us();
    struct warming w = {.list = list, .n = n, .until_us = began + budget_ms * 1000ull};

    if (lock_fd < 0 || !compile_function || !status_function || !n) {
        return;
    }
    /* A script that PHP cannot get over ends the request; the next request goes on behind it. */
    while (w.n && clock_us() < w.until_us) {
        size_t before = w.n;

        if (run_aside(compile_list, &w) || w.n == before) {
            break;
        }
    }
    log_debug("OPcache: %u scripts compiled in %u ms, %d%% of the memory used", w.compiled,
              (unsigned)((clock_us() - began) / 1000), percent[PART_MEMORY]);
    for (int i = 0; i < PARTS; i++) {
        percent_first[i] = -1;
    }
}

struct listing {
    char *out;
    size_t size, n;
};

static void list_scripts(void *context)
{
    struct listing *l = context;
    zend_string *path;
    zval status, *script;

    get_status(true, &status);
    const HashTable *scripts = part_of(&status, "scripts");

    if (scripts) {
        ZEND_HASH_FOREACH_STR_KEY_VAL(scripts, path, script)
        {
            (void)script;
            if (path && l->n + ZSTR_LEN(path) + 1 <= l->size && !strchr(ZSTR_VAL(path), '\n')) {
                memcpy(l->out + l->n, ZSTR_VAL(path), ZSTR_LEN(path));
                l->n += ZSTR_LEN(path);
                l->out[l->n++] = '\n';
            }
        }
        ZEND_HASH_FOREACH_END();
    }
    zval_ptr_dtor(&status);
}

size_t opcache_warm_list(char *out, size_t size)
{
    struct listing l = {.out = out, .size = size};

    if (lock_fd >= 0 && status_function) {
        run_aside(list_scripts, &l);
    }
    return l.n;
}
