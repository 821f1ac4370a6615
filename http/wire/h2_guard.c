/* The budget of an HTTP/2 client. See the header. */
#include "http/wire/h2_guard.h"

#include "engine/base/clock.h"

#define ACKNOWLEDGEMENTS 2 /* of a DATA frame: on its stream and on the connection */
#define ANSWER_POINTS    4

void h2_guard_init(struct h2_guard *g, uint64_t now_us)
{
    *g = (struct h2_guard){.points = H2_BUDGET, .at_us = now_us};
}

static void add_points(struct h2_guard *g, uint64_t points)
{
    uint64_t room = (uint64_t)(H2_BUDGET - g->points);
    g->points += (int64_t)(points < room ? points : room);
}

bool h2_guard_pay(struct h2_guard *g, enum h2_cost cost, uint64_t now_us)
{
    uint64_t step = CLOCK_US_PER_SECOND / H2_BUDGET_A_SECOND;
    uint64_t steps = now_us > g->at_us ? (now_us - g->at_us) / step : 0;
    add_points(g, steps);
    g->at_us += steps * step;
    g->points -= (int64_t)cost;
    if (g->points < 0) {
        g->points = 0;
        return false;
    }
    return true;
}

void h2_guard_received(struct h2_guard *g, size_t bytes)
{
    g->received += bytes;
    add_points(g, g->received / H2_BYTES_A_POINT);
    g->received %= H2_BYTES_A_POINT;
}

void h2_guard_sent(struct h2_guard *g, size_t bytes, bool all)
{
    g->sent += bytes;
    add_points(g, g->sent / H2_SENT_A_POINT);
    g->sent %= H2_SENT_A_POINT;
    if (all && bytes > 0) {
        add_points(g, ACKNOWLEDGEMENTS * H2_COST_WINDOW_UPDATE);
    }
}

void h2_guard_answered(struct h2_guard *g)
{
    add_points(g, ANSWER_POINTS);
}
