/* See the header. */
#include "engine/base/fcgi_wire.h"

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t take_header(struct fcgi_wire_reader *r, const unsigned char *p, size_t n)
{
    size_t take = smaller(n, sizeof(r->bytes) - r->have);

    memcpy(r->bytes + r->have, p, take);
    r->have = (uint8_t)(r->have + take);
    if (r->have == sizeof(r->bytes)) {
        r->have = 0;
        r->in_record = true;
        r->header = fcgi_wire_get(r->bytes);
        r->content_left = r->header.content;
        r->padding_left = r->header.padding;
    }
    return take;
}

enum fcgi_wire_step fcgi_wire_read(struct fcgi_wire_reader *r, const unsigned char **p, size_t *n,
                                   struct str *content)
{
    enum fcgi_wire_step step;
    size_t take = 0;

    if (!r->in_record) {
        take = *n ? take_header(r, *p, *n) : 0;
        step = r->in_record ? FCGI_WIRE_HEADER : FCGI_WIRE_MORE;
    } else if (r->content_left) {
        take = smaller(*n, r->content_left);
        r->content_left -= (uint32_t)take;
        *content = (struct str){(const char *)*p, take};
        step = take ? FCGI_WIRE_CONTENT : FCGI_WIRE_MORE;
    } else {
        take = smaller(*n, r->padding_left);
        r->padding_left -= (uint32_t)take;
        r->in_record = r->padding_left != 0;
        step = r->in_record ? FCGI_WIRE_MORE : FCGI_WIRE_END;
    }
    *p += take;
    *n -= take;
    return step;
}

size_t fcgi_wire_put_length(unsigned char out[4], size_t n)
{
    if (n < 128) {
        out[0] = (unsigned char)n;
        return 1;
    }
    out[0] = (unsigned char)(n >> 24 | 0x80);
    out[1] = (unsigned char)(n >> 16);
    out[2] = (unsigned char)(n >> 8);
    out[3] = (unsigned char)n;
    return 4;
}

static bool take_length(struct str *rest, uint32_t *length)
{
    const unsigned char *p = (const unsigned char *)rest->p;
    size_t size = rest->n && p[0] & 0x80 ? 4 : 1;

    if (rest->n < size) {
        return false;
    }
    *length = size == 1 ? p[0] : (p[0] & 0x7fu) << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    *rest = (struct str){rest->p + size, rest->n - size};
    return true;
}

bool fcgi_wire_long_lengths(struct str *rest, uint32_t *name_n, uint32_t *value_n)
{
    struct str behind = *rest;

    if (!take_length(&behind, name_n) || !take_length(&behind, value_n)) {
        return false;
    }
    *rest = behind;
    return true;
}
