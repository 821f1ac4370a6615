/* See out.h. Bytes of one stream that follow each other share a record: its header is written when it is
 * closed. */
#include <fastcgi.h>
#include <string.h>

#include "fcgi/out.h"
#include "fcgi/record.h"

/* Kept free for the padding of the last record, two ends of streams and END_REQUEST. */
#define TAIL_BYTES (8 + 2 * FCGI_WIRE_HEADER_SIZE + FCGI_WIRE_END_SIZE)
#define ROOM       (FCGI_OUT_BYTES - TAIL_BYTES)

void out_begin(struct fcgi_out *out, int fd, uint16_t id)
{
    out->fd = fd;
    out->id = id;
    out->broken = out->written = out->erred = false;
    out->record = out->n = 0;
}

static void close_record(struct fcgi_out *out)
{
    if (out->record == out->n) {
        return;
    }
    size_t content = out->n - out->record - FCGI_WIRE_HEADER_SIZE;
    uint8_t padding = fcgi_wire_padding(content);

    fcgi_wire_put(out->bytes + out->record, out->type, out->id, content, padding);
    memset(out->bytes + out->n, 0, padding);
    out->record = out->n += padding;
}

/* An open record of the type, which the buffer must have room for. */
static void open_record(struct fcgi_out *out, enum fcgi_wire_type type)
{
    if (out->record != out->n && out->type == type) {
        return;
    }
    close_record(out);
    out->type = type;
    out->n += FCGI_WIRE_HEADER_SIZE;
}

/* A header may come in front of it, and padding in front of that. */
bool out_has_room(const struct fcgi_out *out, size_t n)
{
    return out->n + n + 7 + FCGI_WIRE_HEADER_SIZE <= ROOM;
}

/* The collected records, and p as records behind them. */
static int leave(struct fcgi_out *out, enum fcgi_wire_type type, const char *p, size_t n, bool last)
{
    close_record(out);
    if (!out->n && !n) {
        return 0;
    }
    out->written = true;
    out->broken =
        record_write(out->fd, (struct str){(const char *)out->bytes, out->n}, out->id, type, p, n, last) < 0;
    out->record = out->n = 0;
    return out->broken ? -1 : 0;
}

int out_put(struct fcgi_out *out, enum fcgi_wire_type type, const char *p, size_t n)
{
    if (out->broken) {
        return -1;
    }
    out->erred |= type == FCGI_WIRE_STDERR && n;
    if (!out_has_room(out, n)) {
        return leave(out, type, p, n, false);
    }
    if (n) {
        open_record(out, type);
        memcpy(out->bytes + out->n, p, n);
        out->n += n;
    }
    return 0;
}

int out_flush(struct fcgi_out *out)
{
    return out->broken ? -1 : leave(out, FCGI_WIRE_STDOUT, "", 0, false);
}

static void add_end(struct fcgi_out *out, enum fcgi_wire_type type)
{
    fcgi_wire_put(out->bytes + out->n, type, out->id, 0, 0);
    out->n += FCGI_WIRE_HEADER_SIZE;
}

int out_end(struct fcgi_out *out, bool last)
{
    if (out->broken) {
        return -1;
    }
    close_record(out);
    if (out->erred) { /* an unused STDERR need not be ended */
        add_end(out, FCGI_WIRE_STDERR);
    }
    add_end(out, FCGI_WIRE_STDOUT);
    fcgi_wire_put_end(out->bytes + out->n, out->id, FCGI_REQUEST_COMPLETE);
    out->record = out->n += FCGI_WIRE_END_SIZE;
    return leave(out, FCGI_WIRE_STDOUT, "", 0, last);
}
