/* The server log: php-fpm's line format "[DD-Mon-YYYY HH:MM:SS] LEVEL: message" (microseconds and "pid N,
 * func(), line N:" at debug), to a file, stderr or syslog. Any thread; one write(2) a line. */
#ifndef ENGINE_BASE_LOG_H
#define ENGINE_BASE_LOG_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum log_level { LEVEL_DEBUG = 1, LEVEL_NOTICE, LEVEL_WARNING, LEVEL_ERROR, LEVEL_ALERT };

/* Where lines go. Called on the main thread before others exist, or with the writers' lock held inside. */
void log_to_fd(int fd);                                                /* the descriptor stays the caller's */
void log_to_syslog(const char *ident, int facility, const char *path); /* as system_log_open() */
void log_also_stderr(bool on); /* until "launched": NOTICE and above go to stderr too */
void log_begin_anew(void); /* a fork that speaks as a program that has just started: all of it as at first */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_limit(size_t bytes); /* longer lines are cut with "..." */
void log_set_buffering(bool on);  /* for writers of worker output; a line of ours is always one write(2) */
bool log_buffering(void);
/* How long a stuck reader of the log may hold a writer up: once for each time that it is stuck. A line that
 * does not go out by then is dropped, counted and said. Endless at first. Forgets what was counted. */
#define LOG_PATIENCE_ENDLESS (-1)
void log_set_patience(int ms);
uint64_t log_dropped(void); /* lines of this process since it was forked; any thread */
void log_set_timestamps(
    bool on); /* off in engine processes whose stderr the supervisor reads: "LEVEL: text" */
enum log_format { LOG_TEXT, LOG_JSON };
void log_set_format(enum log_format format, const char *service); /* service is copied; NULL = none */
const char *log_level_name(enum log_level level);                 /* "NOTICE" */
int log_fd(void);                                                 /* the current descriptor, -1 = syslog */
size_t log_limit(void);
/* Bytes before the message in a line that log_write would write now; for a writer that wraps. */
size_t log_prefix_size(enum log_level level, const char *function, int line);
/* A finished line as it is, of any level: undecorated output of workers. */
void log_raw(const char *p, size_t n);
/* Where workers' lines go. -2: to the log, as it is at first. -1: those of a thread with a tap to the tap
 * alone. >= 0: "LEVEL: text" to that descriptor (a worker's stderr, which the supervisor reads), for every
 * thread that does not call itself the server's. Set before threads exist. */
void log_set_worker_fd(int fd);
/* All the same, what workers' threads log themselves goes to the log, with the id of their request. As above.
 */
void log_set_worker_records(bool on);
extern _Thread_local bool log_as_server; /* this thread's lines go to the log in any case */

bool log_workers_are_read(void); /* log_set_worker_fd() was given a descriptor: frames may go there */
/* Who logs on this thread: for frames (frame.h) and JSON lines. Zero: the server. */
struct log_author {
    int worker;                        /* its thread's id */
    const char *request;               /* its request's id, NULL = none */
    const char *(*find_request)(void); /* the same, found out when it is wanted */
};
extern _Thread_local struct log_author log_author;

/* A record of something that a request's script had to say, and where. Texts may be NULL. */
struct log_record {
    const char *pool, *script; /* whose request, and the file that it asked for */
    const char *file;          /* where it was said */
    int line;                  /* 0 = unknown */
    const char *request;       /* its id */
    const char *told;          /* to the tap, instead of the message */
};
void log_set_record_ids(bool on); /* text lines of records have the request's id, as at first */
/* One line whatever is in the message, of this level, to the server's log, also from a worker. */
void log_write_record(enum log_level level, const char *message, const struct log_record *record);

/* Called with each finished message on the thread that logs (a worker sends it to FCGI_STDERR too); NULL =
 * none. */
typedef void (*log_tap_fn)(enum log_level level, const char *message, size_t n);
extern _Thread_local log_tap_fn log_tap;

void log_write(enum log_level level, const char *function, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define log_debug(...)                                                                                       \
    (log_get_level() <= LEVEL_DEBUG || log_tap ? log_write(LEVEL_DEBUG, __func__, __LINE__, __VA_ARGS__)     \
                                               : (void)0)
#define log_notice(...)  log_write(LEVEL_NOTICE, __func__, __LINE__, __VA_ARGS__)
#define log_warning(...) log_write(LEVEL_WARNING, __func__, __LINE__, __VA_ARGS__)
#define log_error(...)   log_write(LEVEL_ERROR, __func__, __LINE__, __VA_ARGS__)
#define log_alert(...)   log_write(LEVEL_ALERT, __func__, __LINE__, __VA_ARGS__)
/* The same with ": strerror (errno)" at the end. */
#define log_sys(level, format, ...)                                                                          \
    log_write(level, __func__, __LINE__, format ": %s (%d)", ##__VA_ARGS__, strerror(errno), errno)

/* For lines that a peer can cause: at most `burst` lines per 10 s and place, then one line that counts the
 * rest. */
struct log_limiter {
    _Atomic uint64_t window_start_us; /* atomics: any thread */
    _Atomic uint32_t count;
    _Atomic uint32_t dropped;
};
bool log_limiter_allows(struct log_limiter *limiter, uint32_t burst);
#define log_limited(level, ...)                                                                              \
    do {                                                                                                     \
        static struct log_limiter limiter_;                                                                  \
        if (log_limiter_allows(&limiter_, 10)) {                                                             \
            log_write(level, __func__, __LINE__, __VA_ARGS__);                                               \
        }                                                                                                    \
    } while (0)

#endif
