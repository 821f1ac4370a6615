/* The head of a script's response: PHP's lines, what they say about the body, and what we add. Worker
 * threads; the control thread in a lost worker's place. */
#ifndef HTTP_ANSWER_REPLY_HEAD_H
#define HTTP_ANSWER_REPLY_HEAD_H

#include "http/answer/reply_parts.h"

/* request_io.send_head: takes the lines in; they are held back until it is clear how the body leaves. */
int reply_head_take(struct request *r, const struct response_head *head);
/* request_io.send_interim */
int reply_head_interim(struct request *r, const struct response_head *head);
/* Would reply_head_coding() make a compressor now? */
bool reply_head_codes(const struct exchange *x, int64_t size);
/* Shall the body be compressed? Before reply_head_parts; size: of the body, -1 unknown. */
void reply_head_coding(struct exchange *x, int64_t size);
/* Puts the head in front of the parts (h2: sends it). length: of the body on the wire, -1 unknown. top is the
 * caller's, for the status line. 0 or -1. */
int reply_head_parts(struct exchange *x, int64_t length, struct reply_parts *parts, struct buf *top);

#endif
