/* What `tokiophp top` shows: the supervisor's lines (server_page_lines.c, story.c), put in order and cut to
 * the screen. One thread. */
#ifndef ENGINE_SUPERVISE_TOP_SCREEN_H
#define ENGINE_SUPERVISE_TOP_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/telemetry/histogram.h"

#define TOP_POOLS_MAX  64
#define TOP_LINES_MAX  4096
#define TOP_FILTER_MAX 64

enum top_order { TOP_BY_TIME, TOP_BY_MEMORY, TOP_BY_SERVED, TOP_ORDERS };
const char *top_order_name(enum top_order order);

struct top_numbers {
    uint64_t requests, classes[4];
    struct histogram_sum durations;
};

struct top_line {
    const char *style;
    char *text;
};

struct top_screen {
    /* how it is looked at */
    bool terminal;
    int columns, rows;
    int offset; /* lines above the window; the first line always stands */
    int shift;  /* columns left of the window */
    enum top_order order;
    char filter[TOP_FILTER_MAX]; /* rows of workers and scripts have it; "" = all */
    bool asks;                   /* the filter is being typed */
    /* what there is */
    uint64_t now_us, before_us; /* of the server's clock; 0 = no earlier answer */
    struct top_numbers pools[TOP_POOLS_MAX], earlier[TOP_POOLS_MAX];
    int pool_count;
    struct top_line lines[TOP_LINES_MAX];
    int line_count;
};

/* Takes an answer, which is taken apart in place. */
void top_screen_take(struct top_screen *screen, char *text);
void top_screen_show(const struct top_screen *screen); /* on stdout */
void top_screen_scroll(struct top_screen *screen, int lines);
void top_screen_shift(struct top_screen *screen, int columns);
int top_screen_page(const struct top_screen *screen); /* lines of its window */
void top_screen_clear(struct top_screen *screen);

#endif
