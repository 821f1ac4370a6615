/* Another pool, as a process that answers its clients sees it: a listener is one pool's, and what arrives
 * there may be a site of others. Such requests are counted and logged in the name of the pool whose site it
 * is, by the process that has the client; it has a block of its own board for each of them
 * (telemetry/scoreboard.h), and nothing of the other pool's. Whoever reads the boards sums up
 * (supervise/boards.c). */
#ifndef ENGINE_WORK_GUEST_H
#define ENGINE_WORK_GUEST_H

#include "engine/engine.h"

struct access_log;

const struct pool_conf *guest_conf(const struct guest *guest);
struct access_log *guest_access_log(const struct guest *guest); /* NULL: it has none */
/* A request of it is over. Any thread. */
void guest_count(struct guest *guest, const struct request *r, uint64_t now_us);
void guest_count_event(struct guest *guest, enum pool_event event); /* any thread */

#endif
