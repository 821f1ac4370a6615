/* The answer of another process on its way to the client: what a worker's half is for a script of ours. It is
 * made on the loop, which only moves bytes; an answer that is to be compressed goes to the helper threads
 * (helper_pool.h) as soon as the first of it can leave, piece by piece and in order: one helper at a time
 * has it.
 *
 * What waits for a helper and what waits for the client is counted together, and whoever reads the answer
 * stops while relay_full() says so. When too many answers are compressed already, this one leaves as it is.
 *
 * All functions: loop thread. From relay_finish() or relay_abandon() on the upstream's reference to the
 * exchange is the relay's, also where nothing is compressed. */
#ifndef HTTP_ANSWER_RELAY_H
#define HTTP_ANSWER_RELAY_H

#include "http/answer/exchange.h"

/* The head has been given to x->request.io. 0, or -1: gone, or out of memory. */
int relay_write(struct exchange *x, const char *p, size_t n);
/* The answer pauses: the client may see what there is. */
void relay_flush(struct exchange *x);
/* It is complete. */
void relay_finish(struct exchange *x);
/* It broke off, after what was written: an answer of this status instead, if the head has not left. */
void relay_abandon(struct exchange *x, int status);
/* Too much is on its way. upstream_resume(x) is called when it is not any more. */
bool relay_full(struct exchange *x);

#endif
