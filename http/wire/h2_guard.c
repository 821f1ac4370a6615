/* The budget of an HTTP/2 client. See the header. */
#include "http/wire/h2_guard.h"

#include "engine/base/clock.h"

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

void h2_guard_earn(struct h2_guard *g, size_t bytes)
{
    g->sent += bytes;
    add_points(g, g->sent / H2_BYTES_A_POINT);
    g->sent %= H2_BYTES_A_POINT;
}
