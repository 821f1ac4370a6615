/* What a request says to its web server, collected: the head, a small body, messages and END_REQUEST leave in
 * one system call, and large output behind what was collected, straight from where it lies. Worker's thread
 * with the request's io_lock held. */
#ifndef FCGI_OUT_H
#define FCGI_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/fcgi_wire.h"

#define FCGI_OUT_BYTES 8192 /* of records that are collected */

struct fcgi_out {
    int fd;
    uint16_t id;
    bool broken;              /* the connection cannot be written any more */
    bool written;             /* something has left */
    bool erred;               /* something was put into STDERR */
    enum fcgi_wire_type type; /* of the record that is open */
    size_t record, n;         /* where it begins; n: there is none. Bytes used */
    unsigned char bytes[FCGI_OUT_BYTES];
};

void out_begin(struct fcgi_out *out, int fd, uint16_t id);
/* Would n more bytes only be collected? */
bool out_has_room(const struct fcgi_out *out, size_t n);
/* 0, or -1: broken. May wait for a slow reader, not for ever. */
int out_put(struct fcgi_out *out, enum fcgi_wire_type type, const char *p, size_t n);
/* What was collected leaves now. 0 or -1. */
int out_flush(struct fcgi_out *out);
/* The ends of the streams and END_REQUEST leave with what was collected. last: see record_write(). 0 or -1.
 */
int out_end(struct fcgi_out *out, bool last);

#endif
