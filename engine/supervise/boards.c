/* The boards of engine processes, as the supervisor has them: made at a process's launch, read in copies
 * whenever somebody asks, and summed up when the process is gone. The numbers of a pool are those sums and
 * the boards of its living processes. Supervisor's thread. */

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/state.h"

struct board_source board_of(const struct child *child)
{
    const struct generation *g = child->generation;
    return (struct board_source){
        .fd = child->board_fd,
        .size = child->board_size,
        .process = child->pid,
        .generation = g->number,
        .draining = g->state == GENERATION_DRAINING,
        .inherited = g->adopted,
    };
}

/* Each process that serves. */
static bool is_silent(const struct member *m)
{
    uint64_t now = clock_us();
    bool silent = false;
    for (const struct child *c = m->supervisor->children; c; c = c->next) {
        if (c->member != m || c->generation->state != GENERATION_READY) {
            continue;
        }
        if (pulse_silent_us(c, now) == 0) {
            return false;
        }
        silent = true;
    }
    return silent;
}

static void add_member(struct view *view, const struct member *m)
{
    struct pool_view *pool = view_add_pool(view, &m->past);
    pool->silent = is_silent(m);
    for (const struct child *c = m->supervisor->children; c; c = c->next) {
        struct board_source from = board_of(c);
        uint32_t guest;
        if (c->member == m) {
            view_add_board(view, &from);
        } else if (guests_number(&c->guests, m->name, &guest)) {
            pool_view_add_guest(pool, &from, guest);
        }
    }
}

static uint32_t count_members(const struct supervisor *s)
{
    uint32_t count = 0;
    for (const struct member *m = s->members; m; m = m->next) {
        count++;
    }
    return count;
}

struct view *boards_view(const struct supervisor *s, const struct member *only)
{
    struct view *view = view_create(only ? 1 : count_members(s));
    for (const struct member *m = s->members; view && m; m = m->next) {
        if (m->conf && (!only || m == only)) {
            add_member(view, m);
        }
    }
    if (view) {
        view->finishing = s->phase >= PHASE_LEAVING;
    }
    return view;
}

void boards_keep(const struct child *child)
{
    /* One whose seat is gone counts for its pool all the same. */
    struct supervisor *s = child->member->supervisor;
    struct member *home = member_find(s, child->member->name);
    struct board_source from = board_of(child);
    if (home) {
        pool_view_keep(&home->past, &from);
    }
    if (home && home->story) {
        boards_add_scripts(child, &home->story->scripts);
    }
    for (uint32_t i = 0; i < child->guests.count; i++) {
        struct member *guest = member_find(s, child->guests.places[i].name);
        if (guest) {
            pool_view_add_guest(&guest->past, &from, i);
        }
    }
}

void boards_add_scripts(const struct child *child, struct script_facts *all)
{
    struct board_source from = board_of(child);
    script_facts_add_board(all, &from);
}
