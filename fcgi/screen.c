/* The machine in front of libfcgi: see screen.h. Records are read header, content, padding; the content of
 * PARAMS runs through a second machine that reads name-value pairs across records and checks their lengths.
 * Everything that libfcgi would trust has been counted here before it gets to see it. */
#include <string.h>

#include "fcgi/screen.h"

/* Records between two requests that carry nothing; beyond it a peer only wants to keep us busy. */
#define SCREEN_RECORDS_MAX 100000

void fcgi_screen_reset(struct screen *s)
{
    *s = (struct screen){.why = NULL};
}

bool fcgi_screen_idle(const struct screen *s)
{
    return !s->begun && !s->reader.in_record && s->reader.have == 0;
}

static enum screen_event refuse(struct screen *s, const char *why)
{
    s->why = why;
    return SCREEN_REFUSED;
}

/* -- name-value pairs -- */

/* One byte of a length field; true when the length is complete. */
static bool length_byte(struct screen *s, unsigned char c, enum screen_pair rest)
{
    if (s->pair != rest) {
        if (!(c & 0x80)) {
            s->length = c;
            return true;
        }
        s->length = c & 0x7f;
        s->length_need = 3;
        s->pair = rest;
        return false;
    }
    s->length = s->length << 8 | c;
    return --s->length_need == 0;
}

static const char *pair_begins(struct screen *s)
{
    s->data_left = (uint64_t)s->name_length + s->length;
    if (s->data_left > FCGI_HEAD_MAX) {
        return "a parameter is too long";
    }
    if (++s->pairs > FCGI_PARAMS_MAX) {
        return "too many parameters";
    }
    s->pair = s->data_left ? PAIR_DATA : PAIR_NAME;
    return NULL;
}

static const char *pair_length(struct screen *s, unsigned char c)
{
    bool of_name = s->pair == PAIR_NAME || s->pair == PAIR_NAME_REST;

    if (!length_byte(s, c, of_name ? PAIR_NAME_REST : PAIR_VALUE_REST)) {
        return NULL;
    }
    if (of_name) {
        s->name_length = s->length;
        s->pair = PAIR_VALUE;
        return NULL;
    }
    return pair_begins(s);
}

/* A piece of the PARAMS stream. NULL, or what is wrong with it. */
static const char *pairs_feed(struct screen *s, const unsigned char *p, size_t n)
{
    const char *why = NULL;

    while (n && !why) {
        if (s->pair == PAIR_DATA) {
            size_t take = n < s->data_left ? n : (size_t)s->data_left;

            p += take;
            n -= take;
            s->data_left -= take;
            if (!s->data_left) {
                s->pair = PAIR_NAME;
            }
        } else {
            why = pair_length(s, *p++);
            n--;
        }
    }
    return why;
}

bool fcgi_screen_asked(const struct screen *s, struct str name)
{
    struct str rest = {(const char *)s->values, s->values_n};
    struct str one, value;

    while (fcgi_wire_pair(&rest, &one, &value)) {
        if (str_eq(one, name)) {
            return true;
        }
    }
    return false;
}

/* -- records -- */

static enum screen_event begin_header(struct screen *s)
{
    if (s->begun) {
        if (s->record_id == s->id) {
            return refuse(s, "BEGIN_REQUEST twice for one request");
        }
        s->use = USE_SKIP;
        s->other_id = s->record_id;
        return SCREEN_FOREIGN;
    }
    if (s->reader.header.content != sizeof(s->begin)) {
        return refuse(s, "BEGIN_REQUEST of a wrong length");
    }
    s->use = USE_BEGIN;
    s->begin_n = 0;
    return SCREEN_MORE;
}

static enum screen_event management_header(struct screen *s)
{
    if (s->type == FCGI_WIRE_GET_VALUES) {
        s->use = USE_VALUES;
        s->values_n = 0;
        return s->reader.header.content > FCGI_VALUES_MAX ? refuse(s, "GET_VALUES is too long") : SCREEN_MORE;
    }
    if (s->type >= FCGI_WIRE_BEGIN_REQUEST && s->type < FCGI_WIRE_GET_VALUES) {
        /* Leftovers without content (an empty STDIN) do no harm. */
        return s->reader.header.content ? refuse(s, "a record of request 0") : SCREEN_MORE;
    }
    return SCREEN_UNKNOWN;
}

static enum screen_event params_header(struct screen *s, struct buf *head)
{
    unsigned char clean[FCGI_WIRE_HEADER_SIZE];

    if (!s->reader.header.content && (s->pair != PAIR_NAME)) {
        return refuse(s, "PARAMS end inside a parameter");
    }
    s->use = USE_COPY;
    fcgi_wire_put(clean, FCGI_WIRE_PARAMS, s->record_id, s->reader.header.content, 0);
    buf_add(head, (const char *)clean, sizeof(clean));
    return SCREEN_MORE;
}

/* A record of the request that has begun, or of none. */
static enum screen_event request_header(struct screen *s, struct buf *head)
{
    bool ours = s->begun && s->record_id == s->id;

    switch (s->type) {
    case FCGI_WIRE_ABORT_REQUEST:
        s->begun = s->begun && !ours; /* what still comes of it is skipped */
        return ours ? SCREEN_ABORTED : SCREEN_MORE;
    case FCGI_WIRE_PARAMS: return ours ? params_header(s, head) : SCREEN_MORE;
    case FCGI_WIRE_STDIN:
    case FCGI_WIRE_DATA:
        /* Of a request that ended before it was read: skipped. */
        return ours ? refuse(s, "a body before the end of PARAMS") : SCREEN_MORE;
    default: return refuse(s, "a record type that no web server sends");
    }
}

static enum screen_event record_begins(struct screen *s, struct buf *head)
{
    const struct fcgi_wire_header *h = &s->reader.header;

    if (h->version != FCGI_WIRE_VERSION) {
        return refuse(s, "not FastCGI version 1");
    }
    s->type = h->type;
    s->record_id = h->id;
    s->use = USE_SKIP;
    if (!s->begun && ++s->records > SCREEN_RECORDS_MAX) {
        return refuse(s, "too many records without a request");
    }
    if (!s->record_id) {
        return management_header(s);
    }
    return s->type == FCGI_WIRE_BEGIN_REQUEST ? begin_header(s) : request_header(s, head);
}

/* The content that is there of the current record. */
static enum screen_event content(struct screen *s, struct str piece, struct buf *head)
{
    const unsigned char *p = (const unsigned char *)piece.p;
    size_t n = piece.n;
    const char *why;

    switch (s->use) {
    case USE_SKIP: break;
    case USE_BEGIN:
        memcpy(s->begin + s->begin_n, p, n);
        s->begin_n += (unsigned char)n;
        break;
    case USE_VALUES:
        memcpy(s->values + s->values_n, p, n);
        s->values_n += (uint32_t)n;
        break;
    case USE_COPY:
        if ((why = pairs_feed(s, p, n))) {
            return refuse(s, why);
        }
        buf_add(head, (const char *)p, n);
        if (head->failed || head->n > FCGI_HEAD_MAX) {
            return refuse(s, "the request head is too long");
        }
        break;
    }
    return SCREEN_MORE;
}

static enum screen_event begin_complete(struct screen *s, struct buf *head)
{
    unsigned char clean[FCGI_WIRE_HEADER_SIZE];

    s->id = s->record_id;
    s->role = (uint16_t)(s->begin[0] << 8 | s->begin[1]);
    s->keep = s->begin[2] & FCGI_WIRE_KEEP_CONN;
    if (s->role < FCGI_WIRE_RESPONDER || s->role > FCGI_WIRE_FILTER) {
        return SCREEN_ROLE;
    }
    s->begun = true;
    s->pair = PAIR_NAME;
    s->pairs = 0;
    fcgi_wire_put(clean, FCGI_WIRE_BEGIN_REQUEST, s->id, sizeof(s->begin), 0);
    buf_add(head, (const char *)clean, sizeof(clean));
    buf_add(head, (const char *)s->begin, sizeof(s->begin));
    return SCREEN_MORE;
}

/* The record has been read, with its padding. */
static enum screen_event record_ends(struct screen *s, struct buf *head)
{
    if (s->use == USE_BEGIN) {
        return begin_complete(s, head);
    }
    if (s->use == USE_VALUES) {
        return SCREEN_VALUES;
    }
    return s->use == USE_COPY && s->reader.header.content == 0 ? SCREEN_REQUEST : SCREEN_MORE;
}

enum screen_event fcgi_screen_feed(struct screen *s, const unsigned char **p, size_t *n, struct buf *head)
{
    enum screen_event event = SCREEN_MORE;

    while (event == SCREEN_MORE) {
        struct str piece;

        switch (fcgi_wire_read(&s->reader, p, n, &piece)) {
        case FCGI_WIRE_MORE: return SCREEN_MORE;
        case FCGI_WIRE_HEADER: event = record_begins(s, head); break;
        case FCGI_WIRE_CONTENT: event = content(s, piece, head); break;
        case FCGI_WIRE_END: event = record_ends(s, head); break;
        }
    }
    return event;
}
