/* Who a request is, and what is told of it when it is over: ids and trace, what the access log shows, the
 * fields of X-Profile. Loop thread, but accounting_lines: the worker's. */
#ifndef HTTP_ANSWER_ACCOUNTING_H
#define HTTP_ANSWER_ACCOUNTING_H

#include "http/answer/exchange.h"
#include "http/net/tls.h"

/* The head is here: ids, and whether the client wants times. */
void accounting_begin(struct exchange *x, const struct http_head *head);
/* The answer will be the loop's own: what the access log shows of the head, which is not kept. */
void accounting_head(struct exchange *x, const struct http_head *head);
/* x->delivery.answer is about to leave: its ids and times; the exchange is counted when it ends. */
void accounting_answer(struct exchange *x, bool bare); /* bare: an answer that nothing can be added to */
/* The same for a script's response: lines for its head. */
void accounting_lines(struct exchange *x, struct buf *lines);
/* Loop: its half is over; nothing more of the answer will leave. whole: all of it has. */
void accounting_left(struct exchange *x, bool whole);
/* request_io's. */
bool accounting_settled(struct request *r);
/* The last reference to an exchange goes. */
void accounting_over(struct exchange *x);
/* What could not be read as a request was answered. */
void accounting_refused(struct conn *c, int status);

#endif
