/* Residents: workers that hold the pool's worker script (worker.script). The script boots once on a
 * resident's thread, then waits in it for one request after the other; what is booted lives on.
 *
 * They are beside the workers that pm's rules are about, have a wait set, a queue and a list of what is
 * passed on to them, and run the requests of that script and nothing else. The executor holds the script
 * (executor->hold) and calls these functions, all on the resident's own thread. */
#ifndef ENGINE_WORK_RESIDENT_H
#define ENGINE_WORK_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/telemetry/scoreboard.h"

struct request;
struct worker;

/* The script asks for its first request: it has booted. The first time of a thread this returns when work may
 * begin. */
void resident_ready(struct worker *worker);
/* Waits for a request and runs it (executor->run, on top of this call). False: the thread is to end. */
bool resident_serve(struct worker *worker);
/* So much memory the script keeps, in bytes: before resident_ready() and after each request. */
void resident_keeps(struct worker *worker, uint64_t bytes);
/* Why a script that has booted comes to its end; RESTART_ENDED if nobody says. */
void resident_ends(struct worker *worker, enum restart_reason why);
/* Why the script did not boot, in one line; before hold returns without resident_ready(). shown: its requests
 * are to be told so (executor->explain), and each of them boots it anew first. */
void resident_failed(struct worker *worker, const char *why, bool shown);

#endif
