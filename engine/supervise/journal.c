/* Lines of engine processes for the server's log. See the header. */
#include "engine/supervise/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/log.h"

#define READ_SIZE  4096
#define LINE_BYTES (64 << 10) /* what goes on is another line */

struct journal {
    struct buf line;
};

int journal_pipe(int fds[2])
{
    return pipe2(fds, O_CLOEXEC | O_NONBLOCK);
}

struct journal *journal_create(void)
{
    return calloc(1, sizeof(struct journal));
}

static void finish_line(struct journal *j)
{
    if (j->line.n > 0) {
        log_raw(j->line.p, j->line.n);
        explicit_bzero(j->line.p, j->line.n); /* engine processes are copies of us */
        j->line.n = 0;
    }
}

static void add(struct journal *j, const char *p, size_t n)
{
    if (j->line.n + n > LINE_BYTES) {
        finish_line(j);
    }
    buf_add(&j->line, p, n);
    if (j->line.failed) {
        buf_free(&j->line);
    }
}

static void blank_controls(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (((unsigned char)p[i] < ' ' && p[i] != '\t' && p[i] != '\n') || p[i] == 0x7f) {
            p[i] = ' ';
        }
    }
}

void journal_feed(struct journal *j, char *p, size_t n)
{
    blank_controls(p, n);
    for (const char *end = p + n, *newline; p < end; p += newline ? 1 : 0) {
        newline = memchr(p, '\n', (size_t)(end - p));
        size_t part = newline ? (size_t)(newline - p) : (size_t)(end - p);
        add(j, p, part);
        p += part;
        if (newline) {
            finish_line(j);
        }
    }
}

bool journal_read(struct journal *j, int fd, int rounds)
{
    char piece[READ_SIZE];
    while (rounds-- > 0) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n > 0) {
            journal_feed(j, piece, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        } else {
            finish_line(j);
            return false;
        }
    }
    return true;
}

void journal_destroy(struct journal *j)
{
    if (j) {
        finish_line(j);
        buf_wipe(&j->line);
        free(j);
    }
}
