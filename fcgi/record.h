/* Records that are written past libfcgi's streams: large output, control records, and what the control thread
 * says for a worker that is lost. */
#ifndef FCGI_RECORD_H
#define FCGI_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of p as records of `type`, straight from it. Waits for a slow reader, but not for ever. 0 or -1. */
int record_write(int fd, uint16_t id, uint8_t type, const char *p, size_t n);
/* A control record, whole or not at all; never waits. 0 or -1. */
int record_send(int fd, const void *record, size_t n);
/* The control records that we answer ourselves; never wait. False: the peer does not read, or is gone. */
bool record_send_values(int fd, bool mpxs_asked);
bool record_send_unknown_type(int fd, uint8_t type);
bool record_send_end(int fd, uint16_t id, uint8_t protocol_status);
/* 0 once the socket takes more; -1: it does not for too long, or is broken. */
int record_wait_writable(int fd);

#endif
