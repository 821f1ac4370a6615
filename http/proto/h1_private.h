/* What the files of an HTTP/1 connection share: h1_conn.c goes from one request to the next and watches time,
 * h1_request.c takes requests out of the bytes, h1_answer.c sends answers of our own. Nobody else includes
 * this. Loop thread only. */
#ifndef HTTP_PROTO_H1_PRIVATE_H
#define HTTP_PROTO_H1_PRIVATE_H

#include <stdatomic.h>

#include "http/answer/exchange.h"
#include "http/http_settings.h"
#include "http/net/conn.h"
#include "http/net/front.h"
#include "http/proto/h1_conn.h"

/* The listener's, until it is known whose request it is. */
static inline const struct http_settings *h1_settings_of(const struct conn *c)
{
    const struct exchange *x = c->h1.exchange;
    return x ? x->http.site->settings : c->loop->front->settings;
}

static inline bool h1_draining(const struct conn *c)
{
    return atomic_load_explicit(&c->loop->front->draining, memory_order_relaxed);
}

/* -- h1_request.c -- */
/* n bytes of a head or a body, by c->h1.state, which they may move on; how many were taken. */
size_t h1_request_take(struct conn *c, const char *p, size_t n);
void h1_request_decided(struct conn *c); /* H1_ASKED is over */

/* -- h1_answer.c: into c->out; the caller sends. Out of memory: the connection is closed. -- */
void h1_answer_send(struct conn *c, struct exchange *x); /* x->delivery.answer */
void h1_answer_error(struct conn *c, struct exchange *x, int status);
/* What can't be read as a request: the connection ends with this answer. */
void h1_answer_refuse(struct conn *c, int status);
/* Plain HTTP where TLS is spoken: a sentence, or the way to it (http.tls_redirect). */
void h1_answer_tls(struct conn *c, const struct http_head *head);

#endif
