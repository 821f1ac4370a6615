/* Stacks as lines, counted. Of a bounded number; one thread. */
#ifndef ENGINE_WORK_PROFILE_STACKS_H
#define ENGINE_WORK_PROFILE_STACKS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/work/call_stack.h"

#define PROFILE_STACKS_MAX 2048

struct profile_stack {
    char *text; /* NULL = free */
    uint64_t hash, count;
};

struct profile_stacks {
    struct profile_stack table[2 * PROFILE_STACKS_MAX];
    size_t count;
    uint64_t others; /* samples of stacks for which there was no place */
};

/* What was seen of a request. */
struct profile_sample {
    bool slept;
    const char *method, *uri, *script;
    const struct call_stack *stack;
};
/* Counts as so many. When many are there already, URLs become one: there are as many of them as visitors
 * like. */
void profile_stacks_add(struct profile_stacks *stacks, const struct profile_sample *sample, unsigned weight);
void profile_stacks_write(const struct profile_stacks *stacks, struct buf *out);
void profile_stacks_free(struct profile_stacks *stacks); /* the lines; the rest is the caller's */

#endif
