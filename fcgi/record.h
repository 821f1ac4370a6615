/* Records on their way out: large output, control records, and what the control thread says for a worker that
 * is lost. Nothing here waits without a limit. */
#ifndef FCGI_RECORD_H
#define FCGI_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/fcgi_wire.h"

/* `before`, which is bytes of whole records, and all of p as records of `type`, straight from it. Waits for a
 * slow reader, but not for ever. last: the caller ends the connection next, and the peer is to see both at
 * the same time. 0 or -1. */
int record_write(int fd, struct str before, uint16_t id, enum fcgi_wire_type type, const char *p, size_t n,
                 bool last);
/* A control record, whole or not at all; never waits. 0 or -1. */
int record_send(int fd, const void *record, size_t n);
/* The control records that we answer ourselves; never wait. False: the peer does not read, or is gone. */
bool record_send_values(int fd, bool mpxs_asked);
bool record_send_unknown_type(int fd, uint8_t type);
bool record_send_end(int fd, uint16_t id, uint8_t protocol_status);
#endif
