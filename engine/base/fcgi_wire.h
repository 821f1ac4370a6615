/* FastCGI's records and name-value pairs as bytes (FastCGI Specification 1.0, sections 3 and 8): the one
 * codec of the front end that serves web servers and of the client that asks other processes. Pure functions,
 * no limits and no policy: those are the callers'. Any thread. */
#ifndef ENGINE_BASE_FCGI_WIRE_H
#define ENGINE_BASE_FCGI_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/str.h"

#define FCGI_WIRE_VERSION     1
#define FCGI_WIRE_HEADER_SIZE 8
#define FCGI_WIRE_CONTENT_MAX 65528 /* the largest content that needs no padding */

enum fcgi_wire_type {
    FCGI_WIRE_BEGIN_REQUEST = 1,
    FCGI_WIRE_ABORT_REQUEST,
    FCGI_WIRE_END_REQUEST,
    FCGI_WIRE_PARAMS,
    FCGI_WIRE_STDIN,
    FCGI_WIRE_STDOUT,
    FCGI_WIRE_STDERR,
    FCGI_WIRE_DATA,
    FCGI_WIRE_GET_VALUES,
    FCGI_WIRE_GET_VALUES_RESULT,
    FCGI_WIRE_UNKNOWN_TYPE,
    FCGI_WIRE_USAGE = 64, /* ours, between processes of one server: what the script took, as text */
};
#define FCGI_WIRE_USAGE_MAX 64
enum { FCGI_WIRE_RESPONDER = 1, FCGI_WIRE_AUTHORIZER, FCGI_WIRE_FILTER }; /* roles */
enum { FCGI_WIRE_KEEP_CONN = 1 };                                         /* flags */

/* -- records -- */

struct fcgi_wire_header {
    uint8_t version, type, padding;
    uint16_t id, content; /* request, 0 = the connection itself; bytes of content */
};

static inline struct fcgi_wire_header fcgi_wire_get(const unsigned char p[FCGI_WIRE_HEADER_SIZE])
{
    return (struct fcgi_wire_header){.version = p[0],
                                     .type = p[1],
                                     .id = (uint16_t)(p[2] << 8 | p[3]),
                                     .content = (uint16_t)(p[4] << 8 | p[5]),
                                     .padding = p[6]};
}

/* Padding after n bytes of content, so that the next record is aligned. */
static inline uint8_t fcgi_wire_padding(size_t n)
{
    return (uint8_t)(-n & 7);
}

static inline void fcgi_wire_put(unsigned char p[FCGI_WIRE_HEADER_SIZE], enum fcgi_wire_type type,
                                 uint16_t id, size_t content, uint8_t padding)
{
    p[0] = FCGI_WIRE_VERSION;
    p[1] = (unsigned char)type;
    p[2] = (unsigned char)(id >> 8);
    p[3] = (unsigned char)id;
    p[4] = (unsigned char)(content >> 8);
    p[5] = (unsigned char)content;
    p[6] = padding;
    p[7] = 0;
}

#define FCGI_WIRE_END_SIZE (FCGI_WIRE_HEADER_SIZE + 8)

/* END_REQUEST, whole; the application status is 0. */
static inline void fcgi_wire_put_end(unsigned char p[FCGI_WIRE_END_SIZE], uint16_t id,
                                     uint8_t protocol_status)
{
    fcgi_wire_put(p, FCGI_WIRE_END_REQUEST, id, 8, 0);
    memset(p + FCGI_WIRE_HEADER_SIZE, 0, 8);
    p[FCGI_WIRE_HEADER_SIZE + 4] = protocol_status;
}

/* Records out of bytes that come in pieces. Zeroed: before a record. */
struct fcgi_wire_reader {
    struct fcgi_wire_header header; /* of the record that is being read */
    unsigned char bytes[FCGI_WIRE_HEADER_SIZE];
    uint8_t have; /* of the next header */
    bool in_record;
    uint32_t content_left, padding_left;
};
enum fcgi_wire_step {
    FCGI_WIRE_MORE,    /* all bytes are used */
    FCGI_WIRE_HEADER,  /* a record begins: `header` */
    FCGI_WIRE_CONTENT, /* a piece of its content */
    FCGI_WIRE_END,     /* it was read, with its padding */
};
/* The next step in *n bytes at *p, which move on behind what it took. */
enum fcgi_wire_step fcgi_wire_read(struct fcgi_wire_reader *r, const unsigned char **p, size_t *n,
                                   struct str *content);

/* -- name-value pairs -- */

/* A length as one byte or four; how many. */
size_t fcgi_wire_put_length(unsigned char out[4], size_t n);
bool fcgi_wire_long_lengths(struct str *rest, uint32_t *name_n, uint32_t *value_n); /* of any pair */
/* The lengths in front of a pair, which *rest moves behind; false: they are not there as a whole. Inline, as
 * the next: they are called for each variable of each request. */
static inline bool fcgi_wire_lengths(struct str *rest, uint32_t *name_n, uint32_t *value_n)
{
    const unsigned char *p = (const unsigned char *)rest->p;

    if (rest->n < 2 || (p[0] | p[1]) & 0x80) {
        return fcgi_wire_long_lengths(rest, name_n, value_n);
    }
    *name_n = p[0];
    *value_n = p[1];
    *rest = (struct str){rest->p + 2, rest->n - 2};
    return true;
}

/* The next pair of a complete list; false at its end, or where it is malformed. */
static inline bool fcgi_wire_pair(struct str *rest, struct str *name, struct str *value)
{
    uint32_t name_n, value_n;

    if (!fcgi_wire_lengths(rest, &name_n, &value_n) || (uint64_t)name_n + value_n > rest->n) {
        return false;
    }
    *name = (struct str){rest->p, name_n};
    *value = (struct str){rest->p + name_n, value_n};
    *rest = (struct str){rest->p + name_n + value_n, rest->n - name_n - value_n};
    return true;
}

#endif
