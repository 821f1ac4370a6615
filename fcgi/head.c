/* See head.h. Records are read header, content, padding (fcgi_wire_read); the PARAMS of a request are one
 * stream that any records may cut. Its pairs are vetted as they become whole, so that a length beyond the
 * limits ends the connection before anything is allocated for it. */
#include <string.h>

#include "fcgi/head.h"

/* Records between two requests that carry nothing; beyond it a peer only wants to keep us busy. */
#define HEAD_RECORDS_MAX 100000

void fcgi_head_reset(struct fcgi_head *h)
{
    buf_free(&h->stream);
    buf_free(&h->values);
    *h = (struct fcgi_head){.stream.limit = FCGI_HEAD_MAX, .values.limit = FCGI_VALUES_MAX};
}

/* It was aborted. What still comes of it is skipped. */
static void forget_request(struct fcgi_head *h)
{
    buf_free(&h->stream);
    h->stream.limit = FCGI_HEAD_MAX;
    h->piece = STR_NONE;
    h->vetted = h->pairs = 0;
    h->begun = false;
}

bool fcgi_head_idle(const struct fcgi_head *h)
{
    return !h->begun && !h->reader.in_record && h->reader.have == 0;
}

static enum head_event refuse(struct fcgi_head *h, const char *why)
{
    h->why = why;
    return HEAD_REFUSED;
}

/* -- name-value pairs -- */

struct str fcgi_head_params(const struct fcgi_head *h)
{
    return h->stream.n ? (struct str){h->stream.p, h->stream.n} : h->piece;
}

bool fcgi_head_keep(struct fcgi_head *h)
{
    buf_str(&h->stream, h->piece);
    h->piece = STR_NONE;
    return !h->stream.failed;
}

/* Goes on from the last whole pair. NULL, or what is wrong with the next one. */
static const char *vet(struct fcgi_head *h)
{
    struct str all = fcgi_head_params(h), rest = {all.p + h->vetted, all.n - h->vetted};
    uint32_t name_n, value_n;

    while (fcgi_wire_lengths(&rest, &name_n, &value_n)) {
        uint64_t data = (uint64_t)name_n + value_n;

        if (data > FCGI_HEAD_MAX) {
            return "a parameter is too long";
        }
        if (data > rest.n) {
            break;
        }
        if (++h->pairs > FCGI_PARAMS_MAX) {
            return "too many parameters";
        }
        rest.p += data;
        rest.n -= data;
        h->vetted = all.n - rest.n;
    }
    return NULL;
}

/* A piece of PARAMS. */
static enum head_event take_params(struct fcgi_head *h, struct str piece)
{
    const char *why;

    if (!h->piece.n && !h->stream.n) {
        h->piece = piece;
    } else if (fcgi_head_keep(h)) {
        buf_str(&h->stream, piece);
    }
    if (h->stream.failed) {
        return refuse(h, "the request head is too long");
    }
    why = vet(h);
    return why ? refuse(h, why) : HEAD_MORE;
}

bool fcgi_head_asked(const struct fcgi_head *h, struct str name)
{
    struct str rest = {h->values.p, h->values.n};
    struct str one, value;

    while (fcgi_wire_pair(&rest, &one, &value)) {
        if (str_eq(one, name)) {
            return true;
        }
    }
    return false;
}

/* -- records -- */

static enum head_event begin_header(struct fcgi_head *h)
{
    const struct fcgi_wire_header *r = &h->reader.header;

    if (h->begun) {
        if (r->id == h->id) {
            return refuse(h, "BEGIN_REQUEST twice for one request");
        }
        h->other_id = r->id;
        return HEAD_FOREIGN;
    }
    if (r->content != sizeof(h->begin)) {
        return refuse(h, "BEGIN_REQUEST of a wrong length");
    }
    h->use = USE_BEGIN;
    h->begin_n = 0;
    return HEAD_MORE;
}

static enum head_event management_header(struct fcgi_head *h)
{
    const struct fcgi_wire_header *r = &h->reader.header;

    if (r->type == FCGI_WIRE_GET_VALUES) {
        h->use = USE_VALUES;
        h->values.n = 0;
        return r->content > FCGI_VALUES_MAX ? refuse(h, "GET_VALUES is too long") : HEAD_MORE;
    }
    if (r->type >= FCGI_WIRE_BEGIN_REQUEST && r->type < FCGI_WIRE_GET_VALUES) {
        /* Leftovers without content (an empty STDIN) do no harm. */
        return r->content ? refuse(h, "a record of request 0") : HEAD_MORE;
    }
    return HEAD_UNKNOWN;
}

static enum head_event params_header(struct fcgi_head *h)
{
    if (!h->reader.header.content && h->vetted != fcgi_head_params(h).n) {
        return refuse(h, "PARAMS end inside a parameter");
    }
    h->use = USE_PARAMS;
    return HEAD_MORE;
}

/* A record of the request that has begun, or of none. */
static enum head_event request_header(struct fcgi_head *h)
{
    bool ours = h->begun && h->reader.header.id == h->id;

    switch (h->reader.header.type) {
    case FCGI_WIRE_ABORT_REQUEST:
        if (ours) {
            forget_request(h);
        }
        return ours ? HEAD_ABORTED : HEAD_MORE;
    case FCGI_WIRE_PARAMS: return ours ? params_header(h) : HEAD_MORE;
    case FCGI_WIRE_STDIN:
    case FCGI_WIRE_DATA:
        /* Of a request that ended before it was read: skipped. */
        return ours ? refuse(h, "a body before the end of PARAMS") : HEAD_MORE;
    default: return refuse(h, "a record type that no web server sends");
    }
}

static enum head_event record_begins(struct fcgi_head *h)
{
    const struct fcgi_wire_header *r = &h->reader.header;

    if (r->version != FCGI_WIRE_VERSION) {
        return refuse(h, "not FastCGI version 1");
    }
    h->use = USE_SKIP;
    if (!h->begun && ++h->records > HEAD_RECORDS_MAX) {
        return refuse(h, "too many records without a request");
    }
    if (!r->id) {
        return management_header(h);
    }
    return r->type == FCGI_WIRE_BEGIN_REQUEST ? begin_header(h) : request_header(h);
}

/* The content that is there of the current record. */
static enum head_event content(struct fcgi_head *h, struct str piece)
{
    switch (h->use) {
    case USE_SKIP: break;
    case USE_BEGIN:
        memcpy(h->begin + h->begin_n, piece.p, piece.n);
        h->begin_n = (unsigned char)(h->begin_n + piece.n);
        break;
    case USE_VALUES:
        buf_str(&h->values, piece);
        return h->values.failed ? refuse(h, "no memory for GET_VALUES") : HEAD_MORE;
    case USE_PARAMS: return take_params(h, piece);
    }
    return HEAD_MORE;
}

static enum head_event begin_complete(struct fcgi_head *h)
{
    h->id = h->reader.header.id;
    h->role = (uint16_t)(h->begin[0] << 8 | h->begin[1]);
    h->keep = h->begin[2] & FCGI_WIRE_KEEP_CONN;
    if (h->role < FCGI_WIRE_RESPONDER || h->role > FCGI_WIRE_FILTER) {
        return HEAD_ROLE;
    }
    h->begun = true;
    return HEAD_MORE;
}

/* The record has been read, with its padding. */
static enum head_event record_ends(struct fcgi_head *h)
{
    if (h->use == USE_BEGIN) {
        return begin_complete(h);
    }
    if (h->use == USE_VALUES) {
        return HEAD_VALUES;
    }
    return h->use == USE_PARAMS && h->reader.header.content == 0 ? HEAD_REQUEST : HEAD_MORE;
}

enum head_event fcgi_head_feed(struct fcgi_head *h, const unsigned char **p, size_t *n)
{
    enum head_event event = HEAD_MORE;
    enum fcgi_wire_step step;
    struct str piece;

    do {
        step = fcgi_wire_read(&h->reader, p, n, &piece);
        switch (step) {
        case FCGI_WIRE_MORE: break;
        case FCGI_WIRE_HEADER: event = record_begins(h); break;
        case FCGI_WIRE_CONTENT: event = content(h, piece); break;
        case FCGI_WIRE_END: event = record_ends(h); break;
        }
    } while (event == HEAD_MORE && step != FCGI_WIRE_MORE);
    if (event != HEAD_REQUEST && h->piece.n && !fcgi_head_keep(h)) {
        return refuse(h, "no memory for the request head");
    }
    return event;
}
