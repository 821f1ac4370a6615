/* The functions that a script is in, for the profiler. Filled by the executor, on the thread that asks. */
#ifndef ENGINE_WORK_CALL_STACK_H
#define ENGINE_WORK_CALL_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALL_STACK_DEPTH 128
#define CALL_STACK_BYTES 8192

struct call_stack {
    unsigned count;                  /* names, innermost first */
    bool cut;                        /* it goes on beyond CALL_STACK_DEPTH */
    bool outside;                    /* no code of the script runs: its request begins or ends */
    uint16_t at[CALL_STACK_DEPTH];   /* where in text each name begins */
    uint16_t size[CALL_STACK_DEPTH]; /* and how long it is; they are bytes as PHP has them */
    char text[CALL_STACK_BYTES];
    size_t text_n;
};

#endif
