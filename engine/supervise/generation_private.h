/* What the files of the generation swap do for each other: generation.c (one process), crash_loop.c (starts,
 * and when none follows), seat.c (the machine). Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_GENERATION_PRIVATE_H
#define ENGINE_SUPERVISE_GENERATION_PRIVATE_H

#include "engine/supervise/generation.h"

/* generation.c */
struct generation *generation_add(struct seat *seat, uint32_t number, enum generation_state state,
                                  uint64_t now);
void generation_drop(struct generation *g); /* out of the list, and freed */
struct generation *generation_in(const struct seat *seat,
                                 enum generation_state state); /* the newest; or NULL */
unsigned generation_count(const struct seat *seat, enum generation_state state);
void generation_drain(struct generation *g, uint64_t drain_us, uint64_t now);
void generation_kill(struct generation *g);
void generation_tick(struct generation *g, uint64_t now); /* its deadline may have passed */

/* crash_loop.c */
bool seat_runs_php(const struct seat *seat); /* what serves is no stand-in */
/* The seat's role must be to serve. warm_fd is taken; -1 = none. */
void seat_launch(struct seat *seat, int warm_fd, uint64_t now);
void seat_start_failed(struct seat *seat, const char *why, uint64_t now);
void crash_loop_refill(struct seat *seat, uint64_t now); /* tokens that have come back */
void crash_loop_leave(struct seat *seat);                /* if it is over */
/* A serving process is gone. A replacement that is starting already serves as one for it. */
void crash_loop_replace(struct seat *seat, uint64_t now);
/* Starts a stand-in, or sends it away, if it is time for that. */
void crash_loop_call_standin(struct seat *seat, uint64_t now);

#endif
