/* The machine in front of libfcgi: see screen.h. Records are read header, content, padding; the content of
 * PARAMS runs through a second machine that reads name-value pairs across records and checks their lengths.
 * Everything that libfcgi would trust has been counted here before it gets to see it. */
#include <fastcgi.h>
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
    return !s->begun && !s->in_record && s->header_n == 0;
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

/* Reads one pair out of a complete list; false at its end or when it is malformed. */
static bool values_next(struct str *rest, struct str *name)
{
    uint32_t length[2];

    for (int i = 0; i < 2; i++) {
        const unsigned char *p = (const unsigned char *)rest->p;
        size_t size = rest->n && p[0] & 0x80 ? 4 : 1;

        if (rest->n < size) {
            return false;
        }
        length[i] = size == 1 ? p[0] : (p[0] & 0x7fu) << 24 | (uint32_t)p[1] << 16 | p[2] << 8 | p[3];
        rest->p += size;
        rest->n -= size;
    }
    if ((uint64_t)length[0] + length[1] > rest->n) {
        return false;
    }
    *name = (struct str){rest->p, length[0]};
    rest->p += length[0] + length[1];
    rest->n -= length[0] + length[1];
    return true;
}

bool fcgi_screen_asked(const struct screen *s, struct str name)
{
    struct str rest = {(const char *)s->values, s->values_n};
    struct str one;

    while (values_next(&rest, &one)) {
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
    if (s->content_left != sizeof(s->begin)) {
        return refuse(s, "BEGIN_REQUEST of a wrong length");
    }
    s->use = USE_BEGIN;
    s->begin_n = 0;
    return SCREEN_MORE;
}

static enum screen_event management_header(struct screen *s)
{
    if (s->type == FCGI_GET_VALUES) {
        s->use = USE_VALUES;
        s->values_n = 0;
        return s->content_left > FCGI_VALUES_MAX ? refuse(s, "GET_VALUES is too long") : SCREEN_MORE;
    }
    if (s->type >= FCGI_BEGIN_REQUEST && s->type < FCGI_GET_VALUES) {
        /* Leftovers without content (an empty STDIN) do no harm. */
        return s->content_left ? refuse(s, "a record of request 0") : SCREEN_MORE;
    }
    return SCREEN_UNKNOWN;
}

static enum screen_event params_header(struct screen *s, struct buf *head)
{
    FCGI_Header clean = {.version = FCGI_VERSION_1,
                         .type = FCGI_PARAMS,
                         .requestIdB1 = s->header[2],
                         .requestIdB0 = s->header[3],
                         .contentLengthB1 = s->header[4],
                         .contentLengthB0 = s->header[5]};

    if (!s->content_left && (s->pair != PAIR_NAME)) {
        return refuse(s, "PARAMS end inside a parameter");
    }
    s->use = USE_COPY;
    buf_add(head, (const char *)&clean, sizeof(clean));
    return SCREEN_MORE;
}

/* A record of the request that has begun, or of none. */
static enum screen_event request_header(struct screen *s, struct buf *head)
{
    bool ours = s->begun && s->record_id == s->id;

    switch (s->type) {
    case FCGI_ABORT_REQUEST:
        s->begun = s->begun && !ours; /* what still comes of it is skipped */
        return ours ? SCREEN_ABORTED : SCREEN_MORE;
    case FCGI_PARAMS: return ours ? params_header(s, head) : SCREEN_MORE;
    case FCGI_STDIN:
    case FCGI_DATA:
        /* Of a request that ended before it was read: skipped. */
        return ours ? refuse(s, "a body before the end of PARAMS") : SCREEN_MORE;
    default: return refuse(s, "a record type that no web server sends");
    }
}

static enum screen_event record_begins(struct screen *s, struct buf *head)
{
    const unsigned char *h = s->header;

    s->header_n = 0;
    if (h[0] != FCGI_VERSION_1) {
        return refuse(s, "not FastCGI version 1");
    }
    s->in_record = true;
    s->type = h[1];
    s->record_id = (uint16_t)(h[2] << 8 | h[3]);
    s->content_left = (uint32_t)(h[4] << 8 | h[5]);
    s->padding_left = h[6];
    s->use = USE_SKIP;
    if (!s->begun && ++s->records > SCREEN_RECORDS_MAX) {
        return refuse(s, "too many records without a request");
    }
    if (!s->record_id) {
        return management_header(s);
    }
    return s->type == FCGI_BEGIN_REQUEST ? begin_header(s) : request_header(s, head);
}

/* The content that is there of the current record. */
static enum screen_event content(struct screen *s, const unsigned char *p, size_t n, struct buf *head)
{
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
    FCGI_BeginRequestRecord clean = {.header = {.version = FCGI_VERSION_1,
                                                .type = FCGI_BEGIN_REQUEST,
                                                .contentLengthB0 = sizeof(clean.body)}};

    clean.header.requestIdB1 = (unsigned char)(s->record_id >> 8);
    clean.header.requestIdB0 = (unsigned char)s->record_id;
    memcpy(&clean.body, s->begin, sizeof(clean.body));
    s->id = s->record_id;
    s->role = (uint16_t)(clean.body.roleB1 << 8 | clean.body.roleB0);
    s->keep = clean.body.flags & FCGI_KEEP_CONN;
    if (s->role < FCGI_RESPONDER || s->role > FCGI_FILTER) {
        return SCREEN_ROLE;
    }
    s->begun = true;
    s->pair = PAIR_NAME;
    s->pairs = 0;
    buf_add(head, (const char *)&clean, sizeof(clean));
    return SCREEN_MORE;
}

/* The record has been read, with its padding. */
static enum screen_event record_ends(struct screen *s, struct buf *head)
{
    s->in_record = false;
    if (s->use == USE_BEGIN) {
        return begin_complete(s, head);
    }
    if (s->use == USE_VALUES) {
        return SCREEN_VALUES;
    }
    bool empty = s->header[4] == 0 && s->header[5] == 0;

    return s->use == USE_COPY && empty ? SCREEN_REQUEST : SCREEN_MORE;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum screen_event fcgi_screen_feed(struct screen *s, const unsigned char **p, size_t *n, struct buf *head)
{
    enum screen_event event = SCREEN_MORE;

    while (event == SCREEN_MORE && (*n || (s->in_record && !s->content_left && !s->padding_left))) {
        size_t take = 0;

        if (!s->in_record) {
            take = smaller(*n, sizeof(s->header) - s->header_n);
            memcpy(s->header + s->header_n, *p, take);
            s->header_n += (unsigned char)take;
            if (s->header_n == sizeof(s->header)) {
                event = record_begins(s, head);
            }
        } else if (s->content_left) {
            take = smaller(*n, s->content_left);
            s->content_left -= (uint32_t)take;
            event = content(s, *p, take, head);
        } else if (s->padding_left) {
            take = smaller(*n, s->padding_left);
            s->padding_left -= (uint32_t)take;
        } else {
            event = record_ends(s, head);
        }
        *p += take;
        *n -= take;
    }
    return event;
}
