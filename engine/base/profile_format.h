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

/* From lines of several processes, which may have a stack twice. hz: samples a second. */
void profile_write(struct str folded, enum profile_format format, unsigned hz, struct buf *out);

#endif
