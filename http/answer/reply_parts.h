/* Pieces of a response that leave together: what the worker writes itself, or hands to the loop. Worker
 * threads; the control thread in a lost worker's place. */
#ifndef HTTP_ANSWER_REPLY_PARTS_H
#define HTTP_ANSWER_REPLY_PARTS_H

#include <sys/uio.h>

#include "http/answer/exchange.h"

/* Borrowed texts; in one call they are copied or on their way. */
struct reply_parts {
    struct iovec v[8];
    int count;
    size_t n;
};

void reply_parts_add(struct reply_parts *parts, const char *p, size_t n);
/* All of it: written, or queued for the loop. May wait for a slow reader. 0, or -1: gone or too slow. */
int reply_parts_put(struct exchange *x, struct reply_parts *parts);
/* Writes what the socket takes now; the rest stays in parts. 0, or -1: gone. */
int reply_parts_write_now(struct exchange *x, struct reply_parts *parts);
/* Hands the parts to the loop. status: 0 = body or HTTP/1 bytes, else they are head lines (h2). */
int reply_parts_post(struct exchange *x, const struct reply_parts *parts, int status);
/* Nobody reads this answer any more, or it is over. */
/* Has the worker the descriptor of its client, and writes itself? Worker, or control thread in its place. */
bool reply_writes(const struct exchange *x);
bool reply_is_gone(const struct exchange *x);

#endif
