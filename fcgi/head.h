/* The head of a request on its way in: every byte of a connection in front of a request's body passes this
 * reader. It vets what a peer says (lengths, limits, the order of records), keeps the PARAMS of one request
 * as one piece of name-value pairs, and reports everything else as an event. In the usual case the PARAMS lie
 * in one record of what was just received, and are left there: nothing is copied before fcgi/intake.c copies
 * them into the request. A pure codec: no I/O, no clock; feeds may be cut anywhere. One thread at a time. */
#ifndef FCGI_HEAD_H
#define FCGI_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/fcgi_wire.h"

#define FCGI_HEAD_MAX   (1u << 20) /* bytes of PARAMS of one request */
#define FCGI_PARAMS_MAX 8192       /* variables of one request */
#define FCGI_VALUES_MAX 1024       /* bytes of one GET_VALUES record */

enum head_event {
    HEAD_MORE,    /* everything fed was taken; the head is not complete */
    HEAD_REQUEST, /* the head is complete: fcgi_head_params(); what is left of the feed follows it */
    HEAD_VALUES,  /* a GET_VALUES record has been read: fcgi_head_asked() */
    HEAD_UNKNOWN, /* a management record of a type that does not exist: reader.header.type */
    HEAD_ABORTED, /* the request `id` was aborted before its head was complete */
    HEAD_FOREIGN, /* another request, `other_id`, began before this one was complete */
    HEAD_ROLE,    /* the request `id` asks for a role that does not exist; its records are skipped */
    HEAD_REFUSED, /* no FastCGI, or beyond a limit: `why` */
};

/* What is being done with the record whose content is coming in. */
enum head_use { USE_SKIP, USE_PARAMS, USE_BEGIN, USE_VALUES };

struct fcgi_head {
    uint16_t id; /* of the request that has begun */
    uint16_t role;
    bool begun, keep; /* BEGIN_REQUEST was read; its FCGI_KEEP_CONN */
    uint32_t records; /* seen since the last request: bounds what a peer can send between two */

    struct fcgi_wire_reader reader;
    enum head_use use;
    unsigned char begin[8], begin_n;

    struct str piece;  /* PARAMS that lie in the caller's bytes; none outside of a feed, unless complete */
    struct buf stream; /* PARAMS that were kept: all of them, or none */
    size_t vetted;     /* bytes of whole pairs among them */
    uint32_t pairs;    /* in these */

    struct buf values; /* of the GET_VALUES record */
    uint16_t other_id;
    const char *why;
};

/* Forgets the request and what was kept: before the first and after each request. */
void fcgi_head_reset(struct fcgi_head *h);
/* Takes bytes from *p, *n until something is to be reported. */
enum head_event fcgi_head_feed(struct fcgi_head *h, const unsigned char **p, size_t *n);
/* The pairs of a complete head, h->pairs of them, as fcgi_wire_pair() reads them. They live until the reset,
 * and no longer than the bytes that were fed, unless they are kept. */
struct str fcgi_head_params(const struct fcgi_head *h);
/* The pairs outlive the bytes that were fed. False: no memory. */
bool fcgi_head_keep(struct fcgi_head *h);
/* Nothing of a request or record has been read: an idle connection may be closed without loss. */
bool fcgi_head_idle(const struct fcgi_head *h);
/* Does the GET_VALUES record ask for this name? */
bool fcgi_head_asked(const struct fcgi_head *h, struct str name);

#endif
