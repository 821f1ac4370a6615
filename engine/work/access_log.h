/* php-fpm's access log: access.format compiled once, one line per request. Worker threads. */
#ifndef ENGINE_WORK_ACCESS_LOG_H
#define ENGINE_WORK_ACCESS_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/settings.h"
#include "engine/engine.h"

struct access_log;

/* 0, or -1 with php-fpm's sentence ("Invalid token in the access.format (%z)") in error. */
int access_format_check(const char *format, char *error, size_t error_size);
/* fd stays the caller's; -1 = no log (NULL is returned). */
struct access_log *access_log_create(int fd, const char *format, const struct setting_pair *suppress);
void access_log_set_fd(struct access_log *log, int fd); /* reopened; any thread */
/* After the script ended and before PHP's request shutdown. header: value of a response header, or NULL.
 * cpu_us and memory are of this request. */
struct access_facts {
    const char *(*header)(void *ctx, const char *name, size_t n, size_t *value_n);
    void *ctx;
    uint64_t user_us, system_us, duration_us;
    size_t memory_peak;
};
/* The format shows CPU time: only then is it worth two system calls a request. NULL: no. */
bool access_log_wants_cpu(const struct access_log *log);
void access_log_destroy(struct access_log *log); /* NULL is fine */
void access_log_write(struct access_log *log, const struct request *r, const struct access_facts *facts);

#endif
