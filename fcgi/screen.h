/* Looks at a connection's bytes before libfcgi may. libfcgi believes what a peer writes: it allocates by
 * the peer's lengths, ends the process when that fails, writes GET_VALUES answers past its buffer and loses
 * step over foreign records. So every byte in front of a request's body passes this machine first, which
 * copies a sound head (BEGIN_REQUEST and PARAMS of one request, nothing else) and reports everything else as
 * an event. A pure codec: no I/O, no clock; feeds may be cut anywhere. One thread at a time. */
#ifndef FCGI_SCREEN_H
#define FCGI_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/fcgi_wire.h"

#define FCGI_HEAD_MAX   (1u << 20) /* bytes of BEGIN_REQUEST and PARAMS records of one request */
#define FCGI_PARAMS_MAX 8192       /* variables of one request */
#define FCGI_VALUES_MAX 1024       /* bytes of one GET_VALUES record */

enum screen_event {
    SCREEN_MORE,    /* everything fed was taken; the head is not complete */
    SCREEN_REQUEST, /* `head` holds a complete head; what is left of the feed follows it */
    SCREEN_VALUES,  /* a GET_VALUES record lies in values[] */
    SCREEN_UNKNOWN, /* a management record of a type that does not exist: `type` */
    SCREEN_ABORTED, /* the request `id` was aborted before its head was complete */
    SCREEN_FOREIGN, /* another request, `other_id`, began before this one was complete */
    SCREEN_ROLE,    /* the request `id` asks for a role that does not exist; its records are skipped */
    SCREEN_REFUSED, /* no FastCGI, or beyond a limit: `why` */
};

/* What is being done with the record whose content is coming in. */
enum screen_use { USE_COPY, USE_BEGIN, USE_VALUES, USE_SKIP };
/* Where inside a name-value pair the PARAMS stream is. */
enum screen_pair { PAIR_NAME, PAIR_NAME_REST, PAIR_VALUE, PAIR_VALUE_REST, PAIR_DATA };

struct screen {
    uint16_t id; /* of the request that has begun */
    uint16_t role;
    bool begun, keep; /* BEGIN_REQUEST was read; its FCGI_KEEP_CONN */
    uint32_t records; /* seen since the last request: bounds what a peer can send between two */

    struct fcgi_wire_reader reader;
    uint8_t type; /* of the record being read */
    uint16_t record_id;
    enum screen_use use;
    unsigned char begin[8], begin_n;

    enum screen_pair pair;
    uint32_t length, length_need; /* a length being read, and the bytes that it still needs */
    uint64_t data_left;           /* of the current pair */
    uint32_t name_length, pairs;

    unsigned char values[FCGI_VALUES_MAX];
    uint32_t values_n;
    uint16_t other_id;
    const char *why;
};

/* Forgets the request, keeps nothing: before the first and after each request. */
void fcgi_screen_reset(struct screen *s);
/* Takes bytes from *p, *n until something is to be reported. The head is appended to `head`. */
enum screen_event fcgi_screen_feed(struct screen *s, const unsigned char **p, size_t *n, struct buf *head);
/* Nothing of a request or record has been read: an idle connection may be closed without loss. */
bool fcgi_screen_idle(const struct screen *s);
/* Does the GET_VALUES record ask for this name? */
bool fcgi_screen_asked(const struct screen *s, struct str name);

#endif
