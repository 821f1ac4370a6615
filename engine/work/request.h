/* The answer of a request, as an executor gives it: each of these calls the front end's function of the same
 * name under the request's io_lock, and keeps the request's counters. Worker's thread only. */
#ifndef ENGINE_WORK_REQUEST_H
#define ENGINE_WORK_REQUEST_H

#include "engine/engine.h"

/* Up to n bytes of the body; 0 = its end (also after request_finish); -1 = gone, or shorter than announced.
 */
ssize_t request_read_body(struct request *r, char *buf, size_t n);
/* Once; a second call does nothing. 0, or -1: gone. Notes head->status as the request's status. */
int request_send_head(struct request *r, const struct response_head *head);
/* An interim 1xx answer before the head; nothing happens where the front end has none. */
int request_send_interim(struct request *r, const struct response_head *head);
/* All n bytes or -1 (gone). After request_finish the bytes are dropped and 0 is returned. */
int request_write(struct request *r, const char *p, size_t n);
int request_flush(struct request *r);
/* The response is complete: for good, whatever comes later. Calls after the first do nothing. */
void request_finish(struct request *r);
/* For the web server's error log; dropped after request_finish. */
void request_message(struct request *r, const char *text, size_t n);

#endif
