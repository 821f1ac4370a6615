/* A board as its reader sees it, for tests that have both ends. */
#ifndef TESTS_SUPPORT_BOARD_H
#define TESTS_SUPPORT_BOARD_H

#include "engine/telemetry/view.h"

static inline struct board_source board_source(const struct scoreboard *board)
{
    return (struct board_source){.fd = board->fd, .size = board->size, .process = 100, .generation = 3};
}

/* The caller's. */
static inline struct view *board_view(const struct pool_view *past, const struct scoreboard *board)
{
    struct view *view = view_create(1);
    struct board_source from = board_source(board);

    view_add_pool(view, past);
    view_add_board(view, &from);
    return view;
}

#endif
