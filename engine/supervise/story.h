/* What the server remembers of a pool beside its counters: an hour in steps of five seconds, and which
 * scripts were slow or had errors in processes that are gone. In memory, of a fixed size; the next image gets
 * it. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_STORY_H
#define ENGINE_SUPERVISE_STORY_H

#include "engine/base/buf.h"
#include "engine/telemetry/script_facts.h"

#define STORY_STEP_S 5
#define STORY_STEPS  720 /* an hour */

/* What happened in a step, and how it was at its end. A step in which nothing happened need not be there. */
struct story_step {
    uint32_t at; /* its end, seconds of the wall clock */
    uint32_t requests, classes[4] /* 2xx to 5xx */, p50_us, p95_us, p99_us;
    uint32_t busy, workers, pending, connections, memory_mb, rejected, crashes;
};

/* Written to the next image as it is. */
struct story {
    char layout[VIEW_LAYOUT_MAX];
    uint32_t next, count;
    struct story_step steps[STORY_STEPS]; /* a ring; next: where the next one goes */
    struct script_facts scripts;          /* of processes that are gone */
};

struct member;
struct supervisor;

/* Of each pool: an earlier image's, or an empty one. */
void story_open(struct supervisor *s);
/* For the next image: a descriptor, or -1. */
int story_save(const struct story *story);
void story_tick(struct supervisor *s, uint64_t now);
uint64_t story_next_us(const struct supervisor *s); /* when story_tick has something to do; 0 = never */

/* JSON of all pools, or of one. */
void story_history(const struct supervisor *s, const struct member *only, struct buf *out);
void story_scripts(const struct supervisor *s, const struct member *only, struct buf *out);
/* The scripts for `top`: lines of words with tabs between. */
void story_lines(const struct supervisor *s, struct buf *out);

#endif
