/* Requests that other processes run: an asynchronous FastCGI client. A target is one server; its connections
 * belong to the loop that opened them. To the connection and its protocol a request here looks like one that
 * a worker has: the answer arrives through reply.c, as messages, and its end as end_message.
 *
 * The request body is complete before it is sent (a slow uploader holds nothing in the other process), in
 * pieces as the other side takes them. The response is read only as fast as the client takes it. */
#ifndef HTTP_UPSTREAM_UPSTREAM_H
#define HTTP_UPSTREAM_UPSTREAM_H

#include <stdatomic.h>

#include "engine/base/sock.h"
#include "http/answer/exchange.h"

/* Read-only after the start, but for the counter. */
struct upstream_target {
    const char *name; /* for logs */
    struct sock_address address;
    bool keep_alive;
    bool ours;        /* a pool of this server: it may be asked for what FastCGI does not have */
    uint64_t wait_us; /* longest silence before and in a response */
    int64_t capacity; /* requests at a time, of all loops */
    _Atomic int64_t active;
};

/* All below: loop thread. */

/* x->request is complete, and so is its body. 0, or a status to answer instead. From 0 on it holds a
 * reference. */
int upstream_submit(struct exchange *x);
extern const struct loop_part upstream_loop_part; /* the connections of each loop, and their deadlines */

#endif
