/* The terminal view: asks the supervisor once a second for its lines (server_page_lines.c), and draws what
 * changed. One thread, plain ANSI; the terminal is put back in order on every way out. */
#include "engine/supervise/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/sock.h"
#include "engine/supervise/supervisor.h"
#include "engine/telemetry/histogram.h"

#define WORDS_MAX    400 /* of a line: the histogram's is the longest */
#define POOLS_MAX    64
#define PERIOD_MS    1000
#define ANSWER_LIMIT (8u << 20)

struct pool_numbers {
    uint64_t requests, classes[4];
    struct histogram_sum durations;
};

struct view {
    bool terminal;
    bool silent; /* an answer that is only compared with */
    int columns, rows, row;
    uint64_t now_us, before_us; /* of the server's clock; 0 = no earlier answer */
    struct pool_numbers pools[POOLS_MAX], earlier[POOLS_MAX];
    int pool_count;
};

static volatile sig_atomic_t stop_wanted;
static struct termios saved_terminal;

static void on_signal(int number)
{
    stop_wanted = number != SIGWINCH;
}

/* -- asking -- */

static int ask(const char *path, struct buf *answer)
{
    char piece[16384];
    ssize_t n;
    int fd = sock_dial(path, 0);
    if (fd < 0 || send(fd, "top\n", 4, MSG_NOSIGNAL) != 4) {
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    answer->n = 0;
    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        buf_add(answer, piece, (size_t)n);
    }
    close(fd);
    return answer->n > 0 && !answer->failed ? 0 : -1;
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

/* -- drawing -- */

/* One line of the screen, cut at its right edge; nothing below its lower one. */
static void put(struct view *v, const char *style, const char *text)
{
    if (v->silent || (v->terminal && v->row >= v->rows - 1)) {
        return;
    }
    v->row++;
    if (v->terminal) {
        printf("%s%.*s\033[0m\033[K\r\n", style, v->columns, text);
    } else {
        printf("%s\n", text);
    }
}

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

static void draw_server(struct view *v, char **w, int count)
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

static double per_second(const struct view *v, uint64_t now, uint64_t before)
{
    bool usable = v->before_us && v->now_us > v->before_us && now >= before;
    return usable ? (double)(now - before) * 1e6 / (double)(v->now_us - v->before_us) : 0;
}

static void draw_pool(struct view *v, char **w, int count)
{
    char line[256];
    if (count < 16 || v->pool_count == POOLS_MAX) {
        return;
    }
    struct pool_numbers *p = &v->pools[v->pool_count], *before = &v->earlier[v->pool_count];
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
static void draw_durations(struct view *v, char **w, int count)
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

static void draw_worker(struct view *v, char **w, int count)
{
    char line[512], took[16];
    if (count < 10) {
        return;
    }
    bool runs = w[3][0] == '1';
    snprintf(line, sizeof(line), "   %-14.14s %10s %8.1f MB %8s %4s %7s  %s %s", w[7],
             number(w[4]) ? time_text(number(w[4]), took) : "", (double)number(w[5]) / 1048576.0, w[6], w[2],
             w[1], w[8], w[9]);
    put(v, runs ? "\033[36m" : "\033[2m", line);
}

static void draw(struct view *v, char *text)
{
    static const struct {
        const char *word;
        void (*draw)(struct view *v, char **words, int count);
    } kinds[] = {
        {"server", draw_server}, {"pool", draw_pool}, {"duration", draw_durations}, {"worker", draw_worker}};
    char *words[WORDS_MAX], *line;
    v->row = 0;
    memcpy(v->earlier, v->pools, sizeof(v->earlier));
    v->pool_count = 0;
    while ((line = strsep(&text, "\n")) != NULL) {
        int count = split(line, words);
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
            if (strcmp(words[0], kinds[i].word) == 0) {
                kinds[i].draw(v, words, count);
            }
        }
    }
}

/* -- the terminal -- */

static void measure(struct view *v)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 2;
    v->columns = known ? size.ws_col : 80;
    v->rows = known ? size.ws_row : 24;
}

static void take_terminal(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct termios raw;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGWINCH, &action, NULL);
    if (tcgetattr(STDIN_FILENO, &saved_terminal) == 0) {
        raw = saved_terminal;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    fputs("\033[?1049h\033[?25l", stdout);
}

static void give_terminal_back(void)
{
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

/* False: q was pressed, or a signal came. */
static bool wait_a_second(void)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    char key;
    if (poll(&p, 1, PERIOD_MS) > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')) {
        return false;
    }
    return !stop_wanted;
}

static int watch(struct view *v, const char *path, struct buf *answer)
{
    int failed;
    take_terminal();
    do {
        measure(v);
        failed = ask(path, answer);
        if (!failed) {
            fputs("\033[H", stdout);
            draw(v, answer->p);
            fputs("\033[J", stdout);
            fflush(stdout);
        }
    } while (!failed && wait_a_second());
    give_terminal_back();
    return failed;
}

/* Two answers a second apart, the later one shown. */
static int once_more(struct view *v, const char *path, struct buf *answer)
{
    for (int i = 0; i < 2; i++) {
        v->silent = i == 0;
        if (ask(path, answer) != 0) {
            return -1;
        }
        draw(v, answer->p);
        poll(NULL, 0, v->silent ? PERIOD_MS : 0);
    }
    return 0;
}

int top_run(const char *path, bool once)
{
    struct view *v = xcalloc(1, sizeof(*v));
    struct buf answer = {.limit = ANSWER_LIMIT};
    int failed;
    v->terminal = !once && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (v->terminal) {
        failed = watch(v, path, &answer);
    } else {
        failed = once_more(v, path, &answer);
    }
    if (failed) {
        fprintf(stderr, "tokiophp top: %s: the server does not answer\n", path);
    }
    buf_free(&answer);
    free(v);
    return failed ? EXIT_SOFTWARE : EXIT_OK;
}
