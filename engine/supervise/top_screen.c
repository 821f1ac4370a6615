/* The screen of `tokiophp top`. See the header. */
#include "engine/supervise/top_screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/str.h"

#define WORDS_MAX   400 /* of a line: the histogram's is the longest */
#define ROWS_MAX    4096
#define SCRIPTS_MAX 10

/* Workers of a pool, or scripts, before they are put in order; words point into the answer. */
struct row {
    char *words[11];
    int count;
    uint64_t weight;
};
static struct row *rows; /* kept for its memory */
static int row_count;

const char *top_order_name(enum top_order order)
{
    static const char *const names[TOP_ORDERS] = {"time", "memory", "served"};
    return names[order];
}

static int split(char *line, char **words)
{
    int count = 0;
    for (char *rest = line; rest && count < WORDS_MAX;) {
        words[count++] = strsep(&rest, "\t");
    }
    return count;
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

/* -- lines -- */

static void put(struct top_screen *s, const char *style, const char *text)
{
    if (s->line_count < TOP_LINES_MAX) {
        s->lines[s->line_count++] = (struct top_line){style, xstrdup(text)};
    }
}

void top_screen_clear(struct top_screen *s)
{
    while (s->line_count > 0) {
        free(s->lines[--s->line_count].text);
    }
}

int top_screen_page(const struct top_screen *s)
{
    return s->rows > 3 ? s->rows - 2 : 1; /* without the first and the last line */
}

void top_screen_scroll(struct top_screen *s, int lines)
{
    int most = s->line_count - 1 - top_screen_page(s);
    int offset = s->offset + lines;
    s->offset = offset > most ? most : offset;
    s->offset = s->offset < 0 ? 0 : s->offset;
}

void top_screen_shift(struct top_screen *s, int columns)
{
    int longest = 0;
    for (int i = 1; i < s->line_count; i++) {
        int n = (int)strlen(s->lines[i].text);
        longest = n > longest ? n : longest;
    }
    int shift = s->shift + columns, most = longest > s->columns ? longest - s->columns : 0;
    s->shift = shift > most ? most : shift < 0 ? 0 : shift;
}

/* A row is emptied before it is written: at its last column there is nothing left to do so from. */
static void show_line(const struct top_screen *s, const struct top_line *line, int shift)
{
    size_t n = strlen(line->text), from = (size_t)shift < n ? (size_t)shift : n;
    if (s->terminal) {
        printf("\033[K%s%.*s\033[0m\r\n", line->style, s->columns, line->text + from);
    } else {
        printf("%s\n", line->text);
    }
}

static void show_foot(const struct top_screen *s)
{
    char foot[256];
    if (s->asks) {
        snprintf(foot, sizeof(foot), " filter: %s_", s->filter);
    } else {
        snprintf(foot, sizeof(foot), " q end  arrows  s order (%s)  / filter%s%s", top_order_name(s->order),
                 *s->filter ? ": " : "", s->filter);
    }
    printf("\033[K\033[7m%.*s\033[0m", s->columns, foot);
}

void top_screen_show(const struct top_screen *s)
{
    int shown = s->terminal ? top_screen_page(s) : s->line_count;
    for (int i = 0; i < s->line_count && i <= shown; i++) {
        int at = i == 0 ? 0 : i + (s->terminal ? s->offset : 0);
        if (at < s->line_count) {
            show_line(s, &s->lines[at], i == 0 ? 0 : s->shift);
        }
    }
    if (s->terminal) {
        printf("\033[J\033[%d;1H", s->rows);
        show_foot(s);
    }
}

/* -- drawing -- */

static const char *time_text(uint64_t us, char out[16])
{
    if (us < 1000) {
        snprintf(out, 16, "%u us", (unsigned)us);
    } else if (us < 10 * CLOCK_US_PER_SECOND) {
        snprintf(out, 16, "%.1f ms", (double)us / 1e3);
    } else {
        snprintf(out, 16, "%.1f s", (double)us / 1e6);
    }
    return out;
}

static void draw_server(struct top_screen *v, char **w, int count)
{
    char line[256];
    if (count < 7) {
        return;
    }
    v->before_us = v->now_us;
    v->now_us = number(w[2]);
    uint64_t up = number(w[3]);
    snprintf(line, sizeof(line),
             " tokiophp %s   up %llud %02llu:%02llu:%02llu   load %s   memory %llu of %llu MB", w[1],
             (unsigned long long)(up / 86400), (unsigned long long)(up / 3600 % 24),
             (unsigned long long)(up / 60 % 60), (unsigned long long)(up % 60), w[4],
             (unsigned long long)(number(w[5]) >> 20), (unsigned long long)(number(w[6]) >> 20));
    put(v, "\033[1;7m", line);
}

static double per_second(const struct top_screen *v, uint64_t now, uint64_t before)
{
    bool usable = v->before_us && v->now_us > v->before_us && now >= before;
    return usable ? (double)(now - before) * 1e6 / (double)(v->now_us - v->before_us) : 0;
}

static void draw_pool(struct top_screen *v, char **w, int count)
{
    char line[256];
    if (count < 16 || v->pool_count == TOP_POOLS_MAX) {
        return;
    }
    struct top_numbers *p = &v->pools[v->pool_count], *before = &v->earlier[v->pool_count];
    v->pool_count++;
    p->requests = number(w[3]);
    for (int i = 0; i < 4; i++) {
        p->classes[i] = number(w[4 + i]);
    }
    put(v, "", "");
    snprintf(line, sizeof(line), " pool %s: %s   %.0f requests/s   %llu in all   %s connections   %s waiting",
             w[1], w[2], per_second(v, p->requests, before->requests), (unsigned long long)p->requests, w[8],
             w[9]);
    put(v, strcmp(w[2], "ok") == 0 ? "\033[1;32m" : "\033[1;33m", line);
    snprintf(line, sizeof(line),
             "   2xx %.0f/s  3xx %.0f/s  4xx %.0f/s  5xx %.0f/s   crashes %s  timeouts %s  "
             "generations replaced %s  refused %s  OPcache %s %%",
             per_second(v, p->classes[0], before->classes[0]),
             per_second(v, p->classes[1], before->classes[1]),
             per_second(v, p->classes[2], before->classes[2]),
             per_second(v, p->classes[3], before->classes[3]), w[10], w[11], w[12], w[13], w[14]);
    put(v, "", line);
}

/* Percentiles of the last second; of all time in the first frame. */
static void draw_durations(struct top_screen *v, char **w, int count)
{
    char line[128], p50[16], p95[16], p99[16];
    if (v->pool_count == 0) {
        return;
    }
    struct histogram_sum *now = &v->pools[v->pool_count - 1].durations, recent = {0};
    const struct histogram_sum *before = &v->earlier[v->pool_count - 1].durations;
    memset(now, 0, sizeof(*now));
    for (int i = 1; i < count; i++) {
        char *colon = strchr(w[i], ':');
        uint64_t bucket = number(w[i]);
        if (colon && bucket < HISTOGRAM_BUCKETS) {
            now->buckets[bucket] = number(colon + 1);
        }
    }
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t n = now->buckets[i] >= before->buckets[i] ? now->buckets[i] - before->buckets[i] : 0;
        recent.buckets[i] = n;
        recent.count += n;
    }
    snprintf(line, sizeof(line), "   response time: 50 %% %s   95 %% %s   99 %% %s",
             time_text(histogram_percentile(&recent, 50), p50),
             time_text(histogram_percentile(&recent, 95), p95),
             time_text(histogram_percentile(&recent, 99), p99));
    put(v, "", recent.count ? line : "   response time: no requests");
    put(v, "\033[2m", "   STATE            TIME        MEMORY   SERVED  GEN     PID  REQUEST");
}

/* -- rows in order -- */

static bool fits(const struct top_screen *s, const struct row *row, int from)
{
    bool fit = !*s->filter;
    for (int i = from; i < row->count && !fit; i++) {
        fit = strcasestr(row->words[i], s->filter) != NULL;
    }
    return fit;
}

static int heavier_first(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return x->weight < y->weight ? 1 : x->weight > y->weight ? -1 : 0;
}

static void add_row(char **words, int count, uint64_t weight)
{
    rows = rows ? rows : xcalloc(ROWS_MAX, sizeof(*rows));
    if (row_count < ROWS_MAX) {
        struct row *row = &rows[row_count++];
        *row = (struct row){.count = count, .weight = weight};
        memcpy(row->words, words, (size_t)count * sizeof(*words));
    }
}

static void put_worker(struct top_screen *s, const struct row *row)
{
    char line[512], took[16];
    char *const *w = row->words;
    bool runs = w[3][0] == '1';
    snprintf(line, sizeof(line), "   %-14.14s %10s %8.1f MB %8s %4s %7s  %s %s", w[7],
             number(w[4]) ? time_text(number(w[4]), took) : "", (double)number(w[5]) / 1048576.0, w[6], w[2],
             w[1], w[8], w[9]);
    put(s, runs ? "\033[36m" : "\033[2m", line);
}

/* Those that run stand before those that do not. */
static void draw_worker(struct top_screen *s, char **w, int count)
{
    static const int column[TOP_ORDERS] = {[TOP_BY_TIME] = 4, [TOP_BY_MEMORY] = 5, [TOP_BY_SERVED] = 6};
    if (count == 10) {
        add_row(w, count, (w[3][0] == '1' ? 1ULL << 62 : 0) + number(w[column[s->order]]) % (1ULL << 62));
    }
}

static void end_workers(struct top_screen *s)
{
    if (row_count > 1) {
        qsort(rows, (size_t)row_count, sizeof(*rows), heavier_first);
    }
    for (int i = 0; i < row_count; i++) {
        if (fits(s, &rows[i], 7)) {
            put_worker(s, &rows[i]);
        }
    }
    row_count = 0;
}

static void draw_script(struct top_screen *s, char **w, int count)
{
    (void)s;
    if (count == 9) {
        add_row(w, count, 0);
    }
}

/* By column, largest first; how many were shown. */
static void put_scripts(struct top_screen *s, int column, const char *title,
                        void (*put_one)(struct top_screen *s, const struct row *row))
{
    for (int i = 0; i < row_count; i++) {
        rows[i].weight = number(rows[i].words[column]);
    }
    if (row_count > 1) {
        qsort(rows, (size_t)row_count, sizeof(*rows), heavier_first);
    }
    for (int i = 0, shown = 0; i < row_count && shown < SCRIPTS_MAX && rows[i].weight > 0; i++) {
        if (!fits(s, &rows[i], 6)) {
            continue;
        }
        if (shown++ == 0) {
            put(s, "", "");
            put(s, "\033[1m", title);
        }
        put_one(s, &rows[i]);
    }
}

static void put_slow(struct top_screen *s, const struct row *row)
{
    char line[512], most[16], mean[16];
    char *const *w = row->words;
    uint64_t requests = number(w[2]);
    snprintf(line, sizeof(line), "   %10s %10s %10s  %s  %s", time_text(number(w[4]), most),
             time_text(requests ? number(w[3]) / requests : 0, mean), w[2], w[6], w[7]);
    put(s, "", line);
}

static void put_failed(struct top_screen *s, const struct row *row)
{
    char line[700];
    char *const *w = row->words;
    snprintf(line, sizeof(line), "   %10s  %s  %s", w[5], w[6], w[8]);
    put(s, "\033[31m", line);
}

static void end_scripts(struct top_screen *s)
{
    put_scripts(s, 4, "   SLOWEST    AVERAGE   REQUESTS  SCRIPT", put_slow);
    put_scripts(s, 5, "       ERRORS  SCRIPT AND LAST MESSAGE", put_failed);
    row_count = 0;
}

/* -- an answer -- */

void top_screen_take(struct top_screen *s, char *text)
{
    static const struct {
        const char *word;
        void (*draw)(struct top_screen *s, char **words, int count);
    } kinds[] = {{"server", draw_server},
                 {"pool", draw_pool},
                 {"duration", draw_durations},
                 {"worker", draw_worker},
                 {"script", draw_script}};
    char *words[WORDS_MAX], *line, last = 0;
    top_screen_clear(s);
    memcpy(s->earlier, s->pools, sizeof(s->earlier));
    s->pool_count = 0;
    while ((line = strsep(&text, "\n")) != NULL) {
        int count = split(line, words);
        if (last == 'w' && words[0][0] != 'w') {
            end_workers(s);
        }
        last = words[0][0];
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
            if (strcmp(words[0], kinds[i].word) == 0) {
                kinds[i].draw(s, words, count);
            }
        }
    }
    end_scripts(s);
    top_screen_scroll(s, 0);
    top_screen_shift(s, 0);
}
