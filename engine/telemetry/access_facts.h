/* What a line of the access log tells beside what is in the request. Made and read on the thread that writes
 * the line; texts live until the line is written. */
#ifndef ENGINE_TELEMETRY_ACCESS_FACTS_H
#define ENGINE_TELEMETRY_ACCESS_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/engine.h"

/* header: value of a response header, or NULL. Times and memory are of this request. */
struct access_facts {
    const char *pool; /* its name */
    pid_t worker_tid; /* of the thread that ran the request; 0 = none did */
    const char *(*header)(void *ctx, const char *name, size_t n, size_t *value_n);
    void *ctx;
    uint64_t user_us, system_us, duration_us;
    size_t memory_peak;
    uint64_t upstream_us; /* of r->upstream: from the question to the end of its answer, or of the wait */
};

#endif
