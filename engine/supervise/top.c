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
#include "engine/supervise/top_screen.h"

#define PERIOD_MS    1000
#define ANSWER_LIMIT (8u << 20)

static volatile sig_atomic_t stop_wanted;
static struct termios saved_terminal;

static void on_signal(int number)
{
    if (number != SIGWINCH) { /* that one only wakes us */
        stop_wanted = 1;
    }
}

/* -- asking -- */

/* A terminal of another size interrupts it, and the answer still comes. */
static ssize_t hear(int fd, char *p, size_t n)
{
    ssize_t got;
    do {
        got = read(fd, p, n);
    } while (got < 0 && errno == EINTR && !stop_wanted);
    return got;
}

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
    while ((n = hear(fd, piece, sizeof(piece))) > 0) {
        buf_add(answer, piece, (size_t)n);
    }
    close(fd);
    return answer->n > 0 && !answer->failed ? 0 : -1;
}

/* -- the terminal -- */

static void measure(struct top_screen *v)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
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

/* -- keys -- */

/* One that ends the filter's typing, or belongs to it. */
static void type_filter(struct top_screen *v, char key)
{
    size_t n = strlen(v->filter);
    if (key == '\n' || key == '\r') {
        v->asks = false;
    } else if (key == 27) {
        v->asks = false;
        v->filter[0] = '\0';
    } else if ((key == 127 || key == 8) && n > 0) {
        v->filter[n - 1] = '\0';
    } else if (key >= ' ' && key < 127 && n + 1 < sizeof(v->filter)) {
        v->filter[n] = key;
        v->filter[n + 1] = '\0';
    }
}

enum answer { ANSWER_END, ANSWER_DRAW, ANSWER_ASK /* what is drawn comes with the next answer */ };

static const struct key {
    const char *bytes;
    int lines, pages, columns;
} moves[] = {{"\033[A", -1, 0, 0},
             {"k", -1, 0, 0},
             {"\033[B", 1, 0, 0},
             {"j", 1, 0, 0},
             {"\033[5~", 0, -1, 0},
             {"\033[6~", 0, 1, 0},
             {" ", 0, 1, 0},
             {"\033[H", -TOP_LINES_MAX, 0, 0},
             {"g", -TOP_LINES_MAX, 0, 0},
             {"\033[1~", -TOP_LINES_MAX, 0, 0},
             {"\033[F", TOP_LINES_MAX, 0, 0},
             {"G", TOP_LINES_MAX, 0, 0},
             {"\033[4~", TOP_LINES_MAX, 0, 0},
             {"\033[D", 0, 0, -10},
             {"h", 0, 0, -10},
             {"\033[C", 0, 0, 10},
             {"l", 0, 0, 10}};

/* How many bytes the key has that stands in front: an arrow and its like come as several. */
static size_t key_size(const char *keys, size_t n)
{
    size_t i = 2;
    if (keys[0] != 27 || n < 3 || keys[1] != '[') {
        return 1;
    }
    while (i < n && (keys[i] < '@' || keys[i] > '~')) {
        i++;
    }
    return i < n ? i + 1 : n;
}

static enum answer obey_key(struct top_screen *v, const char *key, size_t n)
{
    if (v->asks) {
        type_filter(v, n == 1 ? key[0] : '\0');
        return ANSWER_ASK;
    }
    for (size_t i = 0; i < sizeof(moves) / sizeof(*moves); i++) {
        if (n == strlen(moves[i].bytes) && memcmp(key, moves[i].bytes, n) == 0) {
            top_screen_scroll(v, moves[i].lines + moves[i].pages * top_screen_page(v));
            top_screen_shift(v, moves[i].columns);
        }
    }
    if (key[0] == 's') {
        v->order = (enum top_order)((v->order + 1) % TOP_ORDERS);
        return ANSWER_ASK;
    }
    if (key[0] == '/') {
        v->asks = true;
        v->filter[0] = '\0';
        return ANSWER_ASK;
    }
    return key[0] == 'q' || key[0] == 'Q' ? ANSWER_END : ANSWER_DRAW;
}

/* Who types fast, or holds a key down, sends many at once. */
static enum answer obey(struct top_screen *v, const char *keys, size_t n)
{
    enum answer all = ANSWER_DRAW;
    for (size_t i = 0; i < n && all != ANSWER_END;) {
        size_t size = key_size(keys + i, n - i);
        enum answer one = obey_key(v, keys + i, size);
        all = one == ANSWER_DRAW ? all : one;
        i += size;
    }
    return all;
}

/* Until something is to be drawn: 1 from what is here, 0 from another answer (a second is over, or a key
 * wants one), -1 the end. */
static int wait_for_key(struct top_screen *v, uint64_t until_us)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t now = clock_us();
    char keys[128];
    if (poll(&p, 1, now < until_us ? (int)((until_us - now) / 1000) + 1 : 0) <= 0) {
        return stop_wanted ? -1 : 0;
    }
    ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));
    enum answer answer = n > 0 ? obey(v, keys, (size_t)n) : ANSWER_END;
    return answer == ANSWER_END || stop_wanted ? -1 : answer == ANSWER_DRAW;
}

static void show(struct top_screen *v)
{
    measure(v);
    fputs("\033[H", stdout);
    top_screen_show(v);
    fflush(stdout);
}

/* A key is answered at once: from what is here, or from another answer. */
static int watch(struct top_screen *v, const char *path, struct buf *answer)
{
    int failed, key = 0;
    take_terminal();
    do {
        uint64_t until = clock_us() + PERIOD_MS * 1000;
        failed = ask(path, answer);
        if (!failed) {
            measure(v);
            top_screen_take(v, answer->p);
            show(v);
        }
        while (!failed && (key = wait_for_key(v, until)) > 0) {
            show(v);
        }
    } while (!failed && key >= 0);
    give_terminal_back();
    return failed;
}

/* Two answers a second apart, the later one shown. */
static int once_more(struct top_screen *v, const char *path, struct buf *answer)
{
    for (int i = 0; i < 2; i++) {
        if (ask(path, answer) != 0) {
            return -1;
        }
        top_screen_take(v, answer->p);
        poll(NULL, 0, i == 0 ? PERIOD_MS : 0);
    }
    top_screen_show(v);
    return 0;
}

int top_run(const char *path, bool once)
{
    struct top_screen *v = xcalloc(1, sizeof(*v));
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
    top_screen_clear(v);
    free(v);
    return failed ? EXIT_SOFTWARE : EXIT_OK;
}
