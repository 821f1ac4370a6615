/* The boards of engine processes, as the supervisor has them: made at a process's launch, read in copies
 * whenever somebody asks, and summed up when the process is gone. The numbers of a pool are those sums and
 * the boards of its living processes. Supervisor's thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/lookout.h"
#include "engine/supervise/state.h"

static struct board_source source(const struct child *child)
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
        struct board_source from = source(c);
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
        view->finishing = s->phase >= PHASE_FINISHING;
    }
    return view;
}

void boards_keep(const struct child *child)
{
    /* One whose seat is gone counts for its pool all the same. */
    struct supervisor *s = child->member->supervisor;
    struct member *home = member_find(s, child->member->name);
    struct board_source from = source(child);
    if (home) {
        pool_view_keep(&home->past, &from);
    }
    for (uint32_t i = 0; i < child->guests.count; i++) {
        struct member *guest = member_find(s, child->guests.places[i].name);
        if (guest) {
            pool_view_add_guest(&guest->past, &from, i);
        }
    }
}

/* -- questions of engine processes -- */

bool member_shows_all(const struct member *m)
{
    void *in;
    const struct setting_row *row = m->conf ? pool_setting(m->conf, "http.internal_listen", &in) : NULL;
    const char *text = row ? *(char *const *)((const char *)in + row->offset) : NULL;
    return text && *text;
}

static void answer_view(const struct child *child, const struct lookout_question *q)
{
    const struct member *m = child->member;
    bool ours = strcmp(q->layout, view_layout()) == 0;
    struct view *view = ours ? boards_view(m->supervisor, member_shows_all(m) ? NULL : m) : NULL;
    int fd = view ? view_save(view) : -1;
    lookout_answer(child->lookout, q, 0, fd);
    if (fd >= 0) {
        close(fd);
    }
    view_free(view);
}

/* No pool counts for more than it may have. */
static uint64_t count_workers(const struct member *m)
{
    uint64_t processes = m->conf && m->conf->s.processes > 0 ? (uint64_t)m->conf->s.processes : 1;
    uint64_t most = m->conf ? (uint64_t)m->conf->s.max_children * processes : 0, count = 0;
    for (const struct child *c = m->supervisor->children; c; c = c->next) {
        struct board_source from = source(c);
        count += c->member == m && !from.draining ? board_workers(&from) : 0;
    }
    return count < most ? count : most;
}

static uint64_t count_others(const struct member *asking)
{
    uint64_t count = 0;
    for (const struct member *m = asking->supervisor->members; m; m = m->next) {
        count += m != asking ? count_workers(m) : 0;
    }
    return count;
}

void child_ask(struct child *child)
{
    struct lookout_question q;
    int rc = lookout_hear(child->lookout, &q);
    if (rc < 0) {
        close(child->lookout);
        child->lookout = -1;
    } else if (rc > 0 && q.kind == LOOKOUT_WORKERS) {
        lookout_answer(child->lookout, &q, count_others(child->member), -1);
    } else if (rc > 0) {
        answer_view(child, &q);
    }
}
