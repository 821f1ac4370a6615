/* Whatever a process writes on its board, its reader sees numbers within their bounds and texts that end. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/engine_settings.h"
#include "engine/telemetry/server_page.h"
#include "tests/support/board.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct scoreboard_size small = {.slots = 3, .blocks = 2};

static void check(const struct view *view)
{
    const struct pool_view *pool = view->pools;
    MUST(view->worker_count <= small.slots && pool->worker_count == view->worker_count);
    MUST(pool->idle + pool->active <= small.slots && pool->active_max <= small.slots);
    MUST(pool->opcache_used_percent <= 100);
    for (uint32_t i = 0; i < view->worker_count; i++) {
        const struct worker_row *row = &view->workers[i];
        MUST(row->state > WORKER_FREE && row->state < WORKER_LOOKING);
        MUST(row->start_wall_us <= clock_wall_us());
        MUST(strnlen(row->user, sizeof(row->user)) < sizeof(row->user));
        MUST(strnlen(row->script, sizeof(row->script)) < sizeof(row->script));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static struct pool_view past;
    struct pool_conf conf = {.name = (char *)(uintptr_t) "www", .s = {.max_children = 1}};
    size_t bytes = scoreboard_block_at(small, small.blocks);
    if (fd < 0) {
        fd = scoreboard_file(small);
        pool_view_init(&past, &conf);
    }
    size_t n = size < bytes ? size : bytes;
    MUST(fd >= 0 && pwrite(fd, data, n, 0) == (ssize_t)n);
    struct scoreboard board = {.fd = fd, .size = small};
    struct view *view = board_view(&past, &board);
    struct board_source from = board_source(&board);
    struct pool_view kept = past;
    struct buf lines = {0};
    MUST(view);
    check(view);
    server_page_lines(view, &lines);
    pool_view_keep(&kept, &from);
    MUST(!lines.failed && board_workers(&from) <= small.slots);
    buf_free(&lines);
    view_free(view);
    return 0;
}
