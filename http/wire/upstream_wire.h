/* FastCGI as a web server speaks it: records out, records in, and the head of a CGI response. Pure functions
 * over bytes; any thread. */
#ifndef HTTP_WIRE_UPSTREAM_WIRE_H
#define HTTP_WIRE_UPSTREAM_WIRE_H

#include "engine/base/buf.h"
#include "engine/base/fcgi_wire.h"
#include "engine/engine.h"
#include "http/wire/wire.h"

/* -- out -- */
void upstream_wire_begin(struct buf *out, bool keep_alive);
void upstream_wire_param(struct buf *pairs, struct str name, struct str value);
/* A stream's bytes as records; n == 0: the stream's end. */
void upstream_wire_stream(struct buf *out, enum fcgi_wire_type type, const char *p, size_t n);

/* -- in -- */
struct upstream_records {
    struct fcgi_wire_reader reader;
    char kept[FCGI_WIRE_USAGE_MAX]; /* the body of what is short: END_REQUEST, USAGE */
    unsigned kept_n;
};
enum upstream_event {
    UPSTREAM_MORE, /* all bytes are used */
    UPSTREAM_OUT,  /* data: a piece of the response */
    UPSTREAM_ERR,  /* data: a piece of a message */
    UPSTREAM_USED, /* data: what the script took, if a process of ours says so; upstream_usage_parse() */
    UPSTREAM_OVER, /* the request has ended; `status` is its protocol status */
    UPSTREAM_BAD,  /* not FastCGI */
};
/* The next event in n bytes; used: how many it took. */
enum upstream_event upstream_records_next(struct upstream_records *r, const char *p, size_t n, size_t *used,
                                          struct str *data, int *status);

/* Unknown if it is not the text of a FCGI_WIRE_USAGE. */
struct request_usage upstream_usage_parse(struct str text);

/* -- a response's head -- */
#define UPSTREAM_LINES (WIRE_LINES_MAX + 1)
struct upstream_head {
    int status;
    struct str reason; /* "404 Not Found" as it came, or STR_NONE */
    struct header_line lines[UPSTREAM_LINES];
    size_t count;
};
/* Where the head ends in n bytes, its empty line included; 0: not yet. */
size_t upstream_head_end(const char *p, size_t n);
/* n: what upstream_head_end() gave. ours: a pool of ours has sent it; then a status below 200 is right, too
 * (but 101, which is none), and lines that are no fields are left to whoever takes the head, who judges them
 * as those of a script in this process. False: not a head that may be passed on. The lines point into p. */
bool upstream_head_parse(const char *p, size_t n, bool ours, struct upstream_head *out);

#endif
