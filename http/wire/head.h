/* A request's head as both protocols hand it over, and an answer that needs no PHP: the vocabulary between
 * the protocol side (h1, h2, tls, loop, intake, reply) and the content side (route, static files,
 * compression, limits). Plain data; memory belongs to the request's arena, or to the one named beside a
 * field. */
#ifndef HTTP_WIRE_HEAD_H
#define HTTP_WIRE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/arena.h"
#include "engine/base/str.h"

#define HTTP_MAX_FIELDS 100 /* fields in a request head; more is 431 */

struct http_field {
    struct str name;  /* as received (h2: lower case) */
    struct str value; /* blanks trimmed */
};

struct http_head {
    struct str method;
    struct str target;      /* as received: "/a%20b?x=1"; "?x=1" if it was "http://host?x=1" */
    struct str path, query; /* the two parts of it; query without '?', p == NULL when there was no '?' */
    struct str host;        /* Host or :authority, with port as received; validated */
    int proto;              /* 1000, 1001, 2000 */
    bool tls;
    int64_t content_length; /* 0 none, -1 chunked or h2 without content-length */
    struct http_field fields[HTTP_MAX_FIELDS];
    size_t field_count;
};

/* The first field of that name (case ignored), or NULL. */
const struct http_field *http_head_find(const struct http_head *head, struct str name);

/* An answer that the loop can send by itself: static file, redirect, error page, 304. */
struct http_answer {
    int status;
    struct http_field fields[32];
    size_t field_count;
    struct str lines; /* fields of a script's, however many: "Name: value\r\n"; mutable, or STR_NONE */
    /* The body is the concatenation of these pieces; a multi-range answer has several. */
    struct http_piece {
        const char *p; /* memory, if fd < 0 */
        int fd;        /* else a file: sendfile or read from offset */
        off_t offset;
        size_t n;
    } * pieces;
    size_t piece_count;
    uint64_t body_n; /* Content-Length, also when no body is sent (HEAD) */
    bool no_body;    /* HEAD, 304 */
    /* Drops what the pieces borrow (a cached file's reference, a descriptor). Loop thread; exactly once; may
     * be NULL. */
    void (*release)(void *held);
    void *held;
};

/* Is there a field of that name (case ignored), of ours or of the script's? */
bool http_answer_has(const struct http_answer *answer, struct str name);
/* The next field of lines like those; false at their end. */
bool http_lines_next(struct str *lines, struct http_field *field);

#endif
