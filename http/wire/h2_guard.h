/* What an HTTP/2 client may do to us without giving us work: frames that cost it nothing and us something
 * (resets, settings, pings, empty frames ...) are paid from a budget. It refills with time, and with what
 * only useful traffic brings: bytes of bodies in either direction, and requests that were answered to their
 * end. So a client may be as chatty as it likes while it gets something done, and a flood is one soon. Pure
 * arithmetic; one connection's loop. */
#ifndef HTTP_WIRE_H2_GUARD_H
#define HTTP_WIRE_H2_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_BUDGET          2000
#define H2_BUDGET_A_SECOND 200
#define H2_BYTES_A_POINT   64 /* of a request's body */
/* Of a response: a window that opens by less than this at a time is paid from the budget. Each such frame has
 * as many bytes in its heads as in its body, and no client with room for 64 bytes needs it. */
#define H2_SENT_A_POINT 16

enum h2_cost {
    H2_COST_WINDOW_UPDATE = 1,
    H2_COST_PRIORITY = 2,
    H2_COST_PING = 2,
    H2_COST_RESET = 2,   /* by the client: its script runs on and counts as one of its streams */
    H2_COST_REFUSED = 2, /* a stream beyond the announced number */
    H2_COST_EMPTY = 4,
    H2_COST_ERROR = 16, /* a stream that we had to reset: the client made us */
    H2_COST_SETTINGS = 20,
    H2_COST_TOO_LARGE = 100, /* a header list beyond the announced limit */
};

struct h2_guard {
    int64_t points;
    uint64_t at_us;
    uint64_t received, sent; /* bytes that are not turned into points yet */
};

void h2_guard_init(struct h2_guard *g, uint64_t now_us);
bool h2_guard_pay(struct h2_guard *g, enum h2_cost cost, uint64_t now_us); /* false: the budget is used up */
/* Bytes of a request's body. The frame that brings them costs nothing, however small it is. */
void h2_guard_received(struct h2_guard *g, size_t bytes);
/* Bytes of a response. all: they are all that there was to send, so it is not a narrow window that made the
 * frame small; a client may acknowledge it at once, on the stream and on the connection. */
void h2_guard_sent(struct h2_guard *g, size_t bytes, bool all);
void h2_guard_answered(struct h2_guard *g); /* a request, to its end */

#endif
