/* The crash report: what ran, where it broke, in PHP and in C. Made on the engine process's control thread
 * from the note that the crashed thread left; the crashed thread sleeps for ever and may hold any lock, so
 * nothing here allocates, and the supervisor has been asked for a replacement before the first line is made:
 * if this thread should get stuck, the process is killed at its drain deadline all the same.
 *
 * Addresses get their names from backtrace_symbols_fd, which does not allocate, through a memory file. */
#include "engine/supervise/crash_report.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/str.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/generation.h"
#include "engine/work/crash.h"
#include "engine/work/pool.h"

static int channel_fd = -1;

struct text {
    char *p;
    size_t n, size;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->p + t->n, t->size - t->n, format, args);
    va_end(args);
    if (n > 0) {
        t->n += (size_t)n < t->size - t->n ? (size_t)n : t->size - t->n - 1;
    }
}

static void add_request(struct text *t, const struct worker *w)
{
    struct worker_row slot;
    const struct scoreboard *board = pool_scoreboard(w->pool);
    if (w->slot_index < 0 || !board_worker(&(struct board_source){.fd = board->fd, .size = board->size},
                                           (uint32_t)w->slot_index, &slot)) {
        return;
    }
    add(t, "request: %s %s%s%s\n", slot.method[0] ? slot.method : "-", slot.uri[0] ? slot.uri : "-",
        slot.query[0] ? "?" : "", slot.query);
    add(t, "script: %s\n", slot.script[0] ? slot.script : "-");
}

static void add_symbols(struct text *t, const struct crash_note *note)
{
    int fd = note->frame_count > 0 ? memfd_create("frames", MFD_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    backtrace_symbols_fd(note->frames, note->frame_count, fd);
    lseek(fd, 0, SEEK_SET);
    ssize_t n = read(fd, t->p + t->n, t->size - t->n - 1);
    if (n > 0) {
        t->n += (size_t)n;
        t->p[t->n] = '\0';
    }
    close(fd);
}

size_t crash_report_text(const struct pool *pool, const struct worker *w, char *out, size_t size)
{
    struct text t = {out, 0, size};
    const struct crash_note *note = &w->crash;
    struct tm broken;
    char stamp[40];
    time_t now = time(NULL);
    localtime_r(&now, &broken);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S %z", &broken);
    out[0] = '\0';
    add(&t, "crash: %s (signal %d, code %d) at address %p\n", crash_signal_name(note->signal), note->signal,
        note->code, note->address);
    add(&t, "time: %s\npool: %s\n", stamp, pool_conf(pool)->name);
    add(&t, "process: %d, generation %u, worker %d, thread %d\n", (int)getpid(), pool_generation(pool), w->id,
        (int)w->tid);
    add_request(&t, w);
    add(&t, "PHP backtrace:\n%.*s", (int)note->php_backtrace_n, note->php_backtrace);
    if (note->php_backtrace_n == 0) {
        add(&t, "  (none that could be read)\n");
    }
    add(&t, "C backtrace:\n");
    add_symbols(&t, note);
    return t.n;
}

/* The log gets every line by itself, so that each has its time and pool. */
static void log_lines(const struct pool *pool, const char *text, size_t n)
{
    struct str rest = {text, n}, line;
    while (str_split(&rest, '\n', &line)) {
        if (line.n > 0) {
            log_warning("[pool %s] %.*s", pool_conf(pool)->name, (int)line.n, line.p);
        }
    }
}

static void on_crash(struct pool *pool, const struct worker *w)
{
    static char text[CHANNEL_TEXT_MAX];
    size_t n = crash_report_text(pool, w, text, sizeof(text));
    channel_send(channel_fd, CHANNEL_CRASH, w->crash.signal, text, NULL, 0);
    log_lines(pool, text, n);
}

/* On the crashed thread, in its handler: whatever happens to this process now, a replacement comes. */
static void on_alarm(void)
{
    channel_send(channel_fd, CHANNEL_SWAP, SWAP_DAMAGED, "a worker crashed", NULL, 0);
}

void crash_report_init(int channel)
{
    void *frames[2];
    channel_fd = channel;
    pool_on_crash = on_crash;
    pool_crash_alarm = on_alarm;
    if (backtrace(frames, 2) < 0) { /* loads libgcc_s now: later it could need a lock that a crash holds */
        log_debug("no backtraces here");
    }
}
