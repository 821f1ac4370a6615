/* The STDIN stream of one request, read straight into PHP's buffer, and never past the end of the request.
 * Worker's thread. */
#ifndef FCGI_BODY_H
#define FCGI_BODY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/fcgi_wire.h"

struct fcgi_exchange;

enum body_end {
    BODY_OPEN,    /* more may come */
    BODY_WHOLE,   /* the empty STDIN record was read */
    BODY_ABORTED, /* FCGI_ABORT_REQUEST instead */
    BODY_BROKEN,  /* the connection ended or spoke no FastCGI: nothing more can be read from it */
};

struct fcgi_body {
    enum body_end end;
    struct fcgi_wire_reader reader;
    bool ours; /* the record that is being read is this request's STDIN; else its content is skipped */
};

void body_begin(struct fcgi_body *body);
/* Fills buf; less than n only at the body's end. -1: aborted, broken, or nothing came for too long. */
ssize_t body_read(struct fcgi_exchange *x, char *buf, size_t n);
/* Throws away what has already arrived of the rest; never waits. Where the body then stands. */
enum body_end body_skip(struct fcgi_exchange *x);
/* The same, but an end that is on its way, behind a request that was answered at once, is waited for a
 * moment. */
enum body_end body_skip_late_end(struct fcgi_exchange *x);
/* Does the next record, already read, say that there is no body? Changes nothing. */
bool body_visibly_empty(const struct fcgi_exchange *x);
/* Has the peer aborted the request, or left? Never waits, loses nothing; at most two system calls. */
bool body_peer_left(struct fcgi_exchange *x);

#endif
