/* What the files of the log share: log.c decides what is written, log_line.c puts a line together,
 * log_target.c gets it out. Nobody else includes this. Any thread, unless log.h says otherwise. */
#ifndef ENGINE_BASE_LOG_PRIVATE_H
#define ENGINE_BASE_LOG_PRIVATE_H

#include <stdarg.h>

#include "engine/base/buf.h"
#include "engine/base/log.h"

/* -- log_line.c -- */
#define LOG_LINE_STACK 4096 /* longer limits allocate */

/* A finished line: prefix, message, newline. Its writer's, on the stack. */
struct log_line {
    char *p;
    size_t n, size;
    char stack[LOG_LINE_STACK];
};

/* What does not fit in size bytes is cut with "..."; one byte is left for the newline. */
void log_line_open(struct log_line *line, size_t size);
void log_line_close(struct log_line *line);
void log_line_printf(struct log_line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_line_vprintf(struct log_line *line, const char *format, va_list args);
void log_line_prefix(struct log_line *line, enum log_level level, const char *function, int number);
bool log_line_is_json(void);
/* The whole line for a message; record: NULL = it is the server's own. */
void log_line_json(struct buf *out, enum log_level level, const char *message, size_t n,
                   const struct log_record *record);

/* -- log_target.c -- */
/* A whole line, its newline included. false: it did not go out. */
bool log_target_write(enum log_level level, const char *p, size_t n);
void log_target_missed(void); /* counts a line that did not go out */
/* How many of them nobody has been told of; from then on none, unless the caller takes it back. */
uint32_t log_target_unsaid(void);
void log_target_still_unsaid(uint32_t n);

#endif
