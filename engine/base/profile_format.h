/* Profiles as other programs read them. Pure; any thread. */
#ifndef ENGINE_BASE_PROFILE_FORMAT_H
#define ENGINE_BASE_PROFILE_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"

enum profile_format {
    PROFILE_FOLDED,     /* "cpu;GET /;/index.php;main;work 12": flamegraph.pl, and most others */
    PROFILE_SPEEDSCOPE, /* JSON of speedscope.app: one profile on the processor, one asleep */
    PROFILE_PPROF,      /* the protocol buffer of `go tool pprof`, not compressed */
};
/* False: there is no such word. */
bool profile_format_named(const char *word, enum profile_format *out);
const char *profile_format_type(enum profile_format format); /* its media type */

#define PROFILE_LINES_MAX (1u << 18)
#define PROFILE_KEPT_HZ   9 /* of the profile of the last hour */

struct profile_line {
    struct str stack; /* "cpu;..." */
    uint64_t count;
};
/* The next line; false: there is none. What is no sample, or has control characters, is left out. */
bool profile_next(struct str *rest, struct profile_line *out);

/* From lines of several processes, which may have a stack twice. hz: samples a second. Nobody vouches for
 * the lines: what is no sample, or has control characters, is left out. With more than PROFILE_LINES_MAX of
 * them, out fails; its limit bounds what is written. */
void profile_write(struct str folded, enum profile_format format, unsigned hz, struct buf *out);

#endif
