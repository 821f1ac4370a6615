/* See http_client.h. */
#include "tests/support/http_client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

void http_client_join(struct http_client *c, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->at = c->n = 0;
    c->ended = c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0;
}

void http_client_leave(struct http_client *c)
{
    close(c->fd);
    c->fd = -1;
}

void http_client_send(struct http_client *c, const char *p, size_t n)
{
    c->ended |= send(c->fd, p, n, MSG_NOSIGNAL) != (ssize_t)n;
}

bool http_client_fill(struct http_client *c)
{
    if (c->rest) {
        usleep(c->rest);
    }
    ssize_t n = c->ended ? 0 : recv(c->fd, c->input, sizeof c->input, 0);
    c->at = 0;
    c->n = n > 0 ? (size_t)n : 0;
    c->ended |= n <= 0;
    return n > 0;
}

static bool read_line(struct http_client *c, char *line, size_t size)
{
    for (size_t n = 0; c->at < c->n || http_client_fill(c);) {
        char byte = c->input[c->at++];
        if (byte == '\n') {
            line[n] = '\0';
            return true;
        }
        if (byte != '\r' && n < size - 1) {
            line[n++] = byte;
        }
    }
    return false;
}

static bool read_body(struct http_client *c, struct http_answer *a, size_t n)
{
    unsigned char *grown = realloc(a->body, a->n + n + 1);
    a->body = grown ? grown : a->body;
    while (grown && n > 0 && (c->at < c->n || http_client_fill(c))) {
        size_t take = c->n - c->at < n ? c->n - c->at : n;
        memcpy(a->body + a->n, c->input + c->at, take);
        c->at += take;
        a->n += take;
        n -= take;
    }
    return grown && n == 0;
}

static bool read_head(struct http_client *c, struct http_answer *a)
{
    char line[512];
    if (!read_line(c, line, sizeof line)) {
        return false;
    }
    a->status = atoi(line + 9);
    while (read_line(c, line, sizeof line)) {
        if (line[0] == '\0') {
            return true;
        }
        a->packed |= strcmp(line, "Content-Encoding: gzip") == 0;
        a->chunked |= strcmp(line, "Transfer-Encoding: chunked") == 0;
        if (strncmp(line, "Content-Length: ", 16) == 0) {
            a->length = atol(line + 16);
        }
    }
    return false;
}

static bool read_chunks(struct http_client *c, struct http_answer *a)
{
    char line[64];
    while (read_line(c, line, sizeof line)) {
        size_t n = strtoul(line, NULL, 16);
        if (!read_body(c, a, n) || !read_line(c, line, sizeof line)) {
            return false;
        }
        if (n == 0) {
            return true;
        }
    }
    return false;
}

struct http_answer http_client_receive(struct http_client *c)
{
    struct http_answer a = {.length = -1};
    a.whole = read_head(c, &a) &&
              (a.chunked ? read_chunks(c, &a) : a.length >= 0 && read_body(c, &a, (size_t)a.length));
    return a;
}
