/* HTTP/1.1: one request at a time on a connection. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX 16384
#define BODY_MAX 64 /* of a body is looked at */

struct h1 {
    char head[HEAD_MAX];
    size_t head_n;
    bool in_body, chunked, close;
    int status;
    uint64_t left; /* of the body, or of a chunk and its line's end */
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_LAST } chunk;
    char line[32];
    size_t line_n;
    char body[BODY_MAX];
    size_t body_n;
};

static bool begin(struct conn *c)
{
    c->state = calloc(1, sizeof(struct h1));
    return c->state != NULL;
}

static void end(struct conn *c)
{
    free(c->state);
    c->state = NULL;
}

static void ask(struct conn *c)
{
    const struct question *q = load_question(c);
    buf_printf(&c->out, "GET %s?%llu HTTP/1.1\r\nHost: %s\r\n%s\r\n", options.path, (unsigned long long)q->id,
               options.host, options.close ? "Connection: close\r\n" : "");
}

static void complete(struct conn *c, struct h1 *h)
{
    c->leaving |= h->close;
    load_answered(c, load_oldest(c), h->status, h->body, h->body_n);
    h->in_body = false;
    h->head_n = h->body_n = 0;
}

static void add_body(struct h1 *h, const char *p, size_t n)
{
    size_t room = BODY_MAX - h->body_n;
    memcpy(h->body + h->body_n, p, n < room ? n : room);
    h->body_n += n < room ? n : room;
}

static const char *field(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    return at ? at + strlen(name) : NULL;
}

/* The head is complete. False: it says nothing of the body's length. */
static bool read_head(struct conn *c, struct h1 *h)
{
    const char *length = field(h->head, "\r\ncontent-length:");
    h->status = atoi(h->head + 9);
    h->close = field(h->head, "\r\nconnection: close") != NULL;
    h->chunked = field(h->head, "\r\ntransfer-encoding: chunked") != NULL;
    h->left = length ? strtoull(length, NULL, 10) : 0;
    h->in_body = true;
    h->chunk = CHUNK_SIZE;
    h->line_n = 0;
    if (!h->chunked && h->left == 0) {
        complete(c, h);
    }
    return length || h->chunked;
}

/* The bytes used. */
static size_t take_head(struct conn *c, struct h1 *h, const char *p, size_t n, bool *good)
{
    for (size_t i = 0; i < n; i++) {
        if (h->head_n + 1 == HEAD_MAX) {
            *good = false;
            return n;
        }
        h->head[h->head_n++] = p[i];
        if (p[i] == '\n' && h->head_n >= 4 && memcmp(h->head + h->head_n - 4, "\r\n\r\n", 4) == 0) {
            h->head[h->head_n] = '\0';
            *good = strncmp(h->head, "HTTP/1.1 ", 9) == 0 && read_head(c, h);
            return i + 1;
        }
    }
    return n;
}

static size_t take_data(struct h1 *h, const char *p, size_t n, size_t tail)
{
    size_t take = n < h->left ? n : (size_t)h->left;
    size_t data = h->left > tail ? (size_t)h->left - tail : 0;
    add_body(h, p, take < data ? take : data);
    h->left -= take;
    return take;
}

static void read_size(struct conn *c, struct h1 *h)
{
    h->line[h->line_n] = '\0';
    h->line_n = 0;
    if (h->chunk == CHUNK_LAST) { /* no trailers are sent to us */
        complete(c, h);
        return;
    }
    h->left = strtoull(h->line, NULL, 16);
    h->chunk = h->left ? CHUNK_DATA : CHUNK_LAST;
    h->left += 2;
}

static size_t take_chunked(struct conn *c, struct h1 *h, const char *p, size_t n, bool *good)
{
    if (h->chunk == CHUNK_DATA) {
        size_t took = take_data(h, p, n, 2);
        h->chunk = h->left ? CHUNK_DATA : CHUNK_SIZE;
        return took;
    }
    if (*p == '\n') {
        read_size(c, h);
    } else if (h->line_n + 1 < sizeof h->line) {
        h->line[h->line_n++] = *p;
    } else {
        *good = false;
    }
    return 1;
}

static bool take(struct conn *c, const char *p, size_t n)
{
    struct h1 *h = c->state;
    bool good = true;
    while (n > 0 && good) {
        size_t used;
        if (c->open == 0) {
            return false; /* nobody asked */
        }
        if (!h->in_body) {
            used = take_head(c, h, p, n, &good);
        } else if (h->chunked) {
            used = take_chunked(c, h, p, n, &good);
        } else {
            used = take_data(h, p, n, 0);
            if (h->left == 0) {
                complete(c, h);
            }
        }
        p += used;
        n -= used;
    }
    return good;
}

const struct protocol h1_protocol = {"h1", false, false, begin, ask, take, end};
const struct protocol h1s_protocol = {"h1s", true, false, begin, ask, take, end};
