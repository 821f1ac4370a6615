/* A response's pieces on their way from a worker to its loop. */
#ifndef HTTP_ANSWER_REPLY_MESSAGE_H
#define HTTP_ANSWER_REPLY_MESSAGE_H

#include "http/answer/exchange.h"

struct reply_message {
    struct loop_message message;
    struct exchange *exchange; /* holds a reference */
    struct chunk chunk;        /* the text, once the loop has queued it */
    int status;                /* of the head whose lines the text is (h2); 0 = bytes of the response */
    int fd;                    /* -1, or the file in which the bytes lie, at offset; then there is no text */
    off_t offset;
    size_t n;
    char text[];
};

/* Worker (or control) thread: room for n bytes, to be filled and posted. NULL: out of memory, or too much. */
struct reply_message *reply_message_create(struct exchange *x, size_t n, int status);
/* The same for n bytes that lie in the exchange's spool. NULL: out of memory. */
struct reply_message *reply_message_of_file(struct exchange *x, size_t n, off_t offset);
/* Worker, once for each exchange: its descriptor goes back to the loop, and what comes now comes as messages.
 */
void reply_message_back(struct exchange *x);
/* Any thread, once for each exchange: nothing more will come from the worker's half. */
void reply_message_end(struct exchange *x);

#endif
