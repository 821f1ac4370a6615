/* Records that are written past libfcgi's streams: large output, and what the control thread says for a
 * worker that is lost. */
#ifndef FCGI_RECORD_H
#define FCGI_RECORD_H

#include <stddef.h>
#include <stdint.h>

/* All of p as records of `type`, straight from it. Waits for a slow reader, but not for ever. 0 or -1. */
int record_write(int fd, uint16_t id, uint8_t type, const char *p, size_t n);
/* A control record, whole or not at all; never waits. 0 or -1. */
int record_send(int fd, const void *record, size_t n);
/* 0 once the socket takes more; -1: it does not for too long, or is broken. */
int record_wait_writable(int fd);

#endif
