/* What an HTTP/2 client may do to us without giving us work: frames that cost it nothing and us something
 * (resets, settings, pings, empty frames ...) are paid from a budget that refills with time and with useful
 * traffic. Pure arithmetic; one connection's loop. */
#ifndef HTTP_WIRE_H2_GUARD_H
#define HTTP_WIRE_H2_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_BUDGET          2000
#define H2_BUDGET_A_SECOND 200
#define H2_BYTES_A_POINT   2048 /* response bytes that earn a point: window updates come with them */

enum h2_cost {
    H2_COST_WINDOW_UPDATE = 1,
    H2_COST_TINY_DATA = 1,
    H2_COST_PRIORITY = 2,
    H2_COST_EMPTY = 4,
    H2_COST_PING = 4,
    H2_COST_RESET = 8,  /* by the client */
    H2_COST_ERROR = 16, /* a stream that we had to reset: the client made us */
    H2_COST_SETTINGS = 20,
    H2_COST_TOO_LARGE = 100, /* a header list beyond the announced limit */
};

struct h2_guard {
    int64_t points;
    uint64_t at_us;
    uint64_t sent; /* bytes not turned into points yet */
};

void h2_guard_init(struct h2_guard *g, uint64_t now_us);
bool h2_guard_pay(struct h2_guard *g, enum h2_cost cost, uint64_t now_us); /* false: the budget is used up */
void h2_guard_earn(struct h2_guard *g, size_t bytes);

#endif
