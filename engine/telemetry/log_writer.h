/* A thread that writes lines for others: they put whole lines into rings, one ring a thread, and never wait.
 * A line that finds its ring full is dropped, and counted exactly. */
#ifndef ENGINE_TELEMETRY_LOG_WRITER_H
#define ENGINE_TELEMETRY_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_WRITER_RING (128u << 10) /* bytes a thread may be ahead */
#define LOG_WRITER_LINE 16384        /* a longer line is not taken */

struct log_writer;

/* fd is read before every write and may be exchanged (dup3) at any time; it stays the caller's. dropped: on
 * the writer's thread, whenever lines were lost since the last call; may be NULL. NULL with errno. */
struct log_writer *log_writer_create(const _Atomic int *fd, const char *name,
                                     void (*dropped)(void *ctx, uint64_t lines), void *ctx);
/* Any thread. text ends with its newline. False: dropped. */
bool log_writer_put(struct log_writer *w, const char *text, size_t n);
/* Writes what is in the rings for at most wait_ms, counts the rest as dropped, ends the thread. Threads that
 * still put are not waited for; their lines go nowhere. */
void log_writer_stop(struct log_writer *w, unsigned wait_ms);
/* After stop, when no thread puts any more. */
void log_writer_destroy(struct log_writer *w);

#endif
