/* FastCGI, as a web server with kept connections speaks it. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 8192 /* of an answer is looked at */

enum { BEGIN_REQUEST = 1, END_REQUEST = 3, PARAMS = 4, STDIN = 5, STDOUT = 6, STDERR = 7 };

struct fcgi {
    unsigned char header[8];
    size_t header_n, content_left, padding_left;
    char text[TEXT_MAX];
    size_t text_n;
    unsigned char end[8];
    size_t end_n;
};

static bool begin(struct conn *c)
{
    c->state = calloc(1, sizeof(struct fcgi));
    return c->state != NULL;
}

static void end(struct conn *c)
{
    free(c->state);
    c->state = NULL;
}

static void add_record(struct buf *out, int type, const char *p, size_t n)
{
    const unsigned char header[8] = {1, (unsigned char)type, 0, 1, (unsigned char)(n >> 8), (unsigned char)n};
    buf_add(out, (const char *)header, sizeof header);
    buf_add(out, p, n);
}

static void add_pair(struct buf *out, const char *name, const char *value)
{
    const size_t sizes[2] = {strlen(name), strlen(value)};
    for (int i = 0; i < 2; i++) {
        const unsigned char size[4] = {(unsigned char)(0x80 | sizes[i] >> 24),
                                       (unsigned char)(sizes[i] >> 16), (unsigned char)(sizes[i] >> 8),
                                       (unsigned char)sizes[i]};
        buf_add(out, (const char *)(sizes[i] < 128 ? size + 3 : size), sizes[i] < 128 ? 1 : 4);
    }
    buf_add(out, name, sizes[0]);
    buf_add(out, value, sizes[1]);
}

static void ask(struct conn *c)
{
    const char role[8] = {0, 1, options.close ? 0 : 1};
    const struct question *q = load_question(c);
    struct buf pairs = {0};
    char query[24], uri[512];
    snprintf(query, sizeof query, "%llu", (unsigned long long)q->id);
    snprintf(uri, sizeof uri, "%s?%s", options.path, query);
    add_pair(&pairs, "SCRIPT_FILENAME", options.script);
    add_pair(&pairs, "SCRIPT_NAME", options.path);
    add_pair(&pairs, "REQUEST_URI", uri);
    add_pair(&pairs, "QUERY_STRING", query);
    add_pair(&pairs, "REQUEST_METHOD", "GET");
    add_pair(&pairs, "SERVER_PROTOCOL", "HTTP/1.1");
    add_pair(&pairs, "HTTP_HOST", options.host);
    add_record(&c->out, BEGIN_REQUEST, role, sizeof role);
    add_record(&c->out, PARAMS, pairs.p, pairs.n);
    add_record(&c->out, PARAMS, "", 0);
    add_record(&c->out, STDIN, "", 0);
    buf_free(&pairs);
}

static void complete(struct conn *c, struct fcgi *f)
{
    f->text[f->text_n] = '\0';
    const char *body = strstr(f->text, "\r\n\r\n");
    const char *status = strstr(f->text, "Status: ");
    bool has_status = status && body && status < body;
    body = body ? body + 4 : f->text + f->text_n;
    int code = has_status ? atoi(status + 8) : f->end[4] ? 0 : f->text_n ? 200 : 0;
    load_answered(c, load_oldest(c), code, body, f->text_n - (size_t)(body - f->text));
    c->leaving |= options.close;
    f->text_n = f->end_n = 0;
}

static void take_content(struct fcgi *f, const char *p, size_t n)
{
    size_t room = f->header[1] == END_REQUEST ? sizeof f->end - f->end_n
                  : f->header[1] == STDOUT    ? TEXT_MAX - 1 - f->text_n
                                              : 0;
    n = n < room ? n : room;
    if (f->header[1] == END_REQUEST) {
        memcpy(f->end + f->end_n, p, n);
        f->end_n += n;
    } else {
        memcpy(f->text + f->text_n, p, n);
        f->text_n += n;
    }
}

static bool take(struct conn *c, const char *p, size_t n)
{
    struct fcgi *f = c->state;
    while (n > 0) {
        size_t used = 1;
        if (f->header_n < sizeof f->header) {
            f->header[f->header_n++] = (unsigned char)*p;
            if (f->header_n == sizeof f->header) {
                f->content_left = (size_t)f->header[4] << 8 | f->header[5];
                f->padding_left = f->header[6];
                if (f->header[0] != 1 || c->open == 0) {
                    return false;
                }
            }
        } else if (f->content_left) {
            used = n < f->content_left ? n : f->content_left;
            take_content(f, p, used);
            f->content_left -= used;
        } else {
            used = n < f->padding_left ? n : f->padding_left;
            f->padding_left -= used;
        }
        p += used;
        n -= used;
        if (f->header_n == sizeof f->header && !f->content_left && !f->padding_left) {
            f->header_n = 0;
            if (f->header[1] == END_REQUEST) {
                complete(c, f);
            }
        }
    }
    return true;
}

const struct protocol fcgi_protocol = {"fcgi", false, false, begin, ask, take, end};
