/* What is told of a crash in a worker: to the log, and to the supervisor, which keeps it as a file and
 * counts. Engine process, control thread. */
#ifndef ENGINE_SUPERVISE_CRASH_REPORT_H
#define ENGINE_SUPERVISE_CRASH_REPORT_H

#include <stddef.h>

struct pool;
struct worker;

void crash_report_init(int channel);
/* The report's text; bytes written. */
size_t crash_report_text(const struct pool *pool, const struct worker *worker, char *out, size_t size);

#endif
