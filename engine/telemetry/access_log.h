/* The access log: one line per request, in php-fpm's access.format (compiled once), JSON, or the combined
 * form. Worker threads, and loops. */
#ifndef ENGINE_TELEMETRY_ACCESS_LOG_H
#define ENGINE_TELEMETRY_ACCESS_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/settings.h"
#include "engine/telemetry/access_facts.h"

struct access_log;

/* format: php-fpm's letters, "json" or "combined". fd stays the caller's; -1 = no log (NULL is returned). */
struct access_log *access_log_create(int fd, const char *format, const struct setting_pair *suppress);
/* From here on a thread of its own writes, and nobody waits for the log's reader. dropped: on that thread, or
 * on one that makes lines, for those that were lost. 0, or -1: lines go on being written by those who make
 * them. That is also so for php-fpm's form where a write does not wait (a file, a non-blocking pipe): as with
 * php-fpm, a line is out before its response ends, and lines of requests that followed each other are in that
 * order. */
int access_log_start(struct access_log *log, const char *service, void (*dropped)(void *ctx, uint64_t lines),
                     void *ctx);
/* What is waiting is written, for at most wait_ms. NULL is fine. */
void access_log_stop(struct access_log *log, unsigned wait_ms);
/* The format shows CPU time: only then is it worth two system calls a request. NULL: no. */
bool access_log_wants_cpu(const struct access_log *log);
/* The format shows what the script took, CPU time or memory. NULL: no. */
bool access_log_shows_usage(const struct access_log *log);
/* The line tells what the whole response was: it is written when the request is over, not before PHP's
 * shutdown. NULL: no. */
bool access_log_waits(const struct access_log *log);
void access_log_destroy(struct access_log *log); /* NULL is fine */
/* After the script ended and before PHP's request shutdown. */
void access_log_write(struct access_log *log, struct request *r, const struct access_facts *facts);

#endif
