/* Answers of our own on an HTTP/1 connection. */
#include <stdio.h>
#include <string.h>

#include "http/answer/accounting.h"
#include "http/answer/answer.h"
#include "http/answer/exchange.h"
#include "http/proto/h1_private.h"
#include "http/wire/wire.h"

static void refuse(struct conn *c, struct http_answer *answer, const char *text)
{
    struct buf head = {0};
    answer->body_n = strlen(text);
    answer->fields[answer->field_count++] = (struct http_field){STR("Content-Type"), STR("text/plain")};
    wire_answer(&head, answer, false, false);
    buf_text(&head, text);
    c->h1.keep_alive = false;
    c->h1.state = H1_SEND;
    if (head.failed || chunk_copy(&c->out, head.p, head.n) != 0) {
        http_conn_close(c, "out of memory");
    }
    buf_free(&head);
    accounting_refused(c, answer->status);
}

void h1_answer_refuse(struct conn *c, int status)
{
    char text[256];
    struct http_answer answer = {.status = status};
    snprintf(text, sizeof text, "%d %s\n", status, wire_reason(status));
    refuse(c, &answer, text);
}

void h1_answer_tls(struct conn *c, const struct http_head *head)
{
    char place[H1_MAX_TARGET + 300], text[sizeof place + 100];
    struct http_answer answer = {.status = 400};
    snprintf(place, sizeof place, "https://%.*s%.*s", (int)head->host.n, head->host.n ? head->host.p : "",
             (int)head->target.n, head->target.p);
    if (c->loop->front->settings->tls_redirect && head->host.n && head->target.p[0] == '/') {
        answer.status = 308;
        answer.fields[answer.field_count++] = (struct http_field){STR("Location"), str_of(place)};
    }
    snprintf(text, sizeof text, "%d %s\nThis port speaks HTTPS: %s\n", answer.status,
             wire_reason(answer.status), head->host.n ? place : "plain HTTP is not understood here");
    refuse(c, &answer, text);
}

static void add_pieces(struct conn *c, struct exchange *x)
{
    const struct http_answer *answer = x->delivery.answer;
    for (size_t i = 0; i < answer->piece_count; i++) {
        const struct http_piece *piece = &answer->pieces[i];
        struct chunk *chunk = arena_alloc(x->arena, sizeof *chunk);
        if (!chunk) {
            http_conn_close(c, "out of memory");
            return;
        }
        if (piece->n > 0) {
            *chunk = (struct chunk){.p = piece->p, .n = piece->n, .fd = piece->fd, .offset = piece->offset};
            chunk_add(&c->out, chunk);
        }
    }
}

void h1_answer_send(struct conn *c, struct exchange *x)
{
    struct buf head = {0};
    c->h1.state = H1_SEND;
    c->h1.keep_alive = c->h1.keep_alive && !front_leaves(c->loop->front);
    answer_seal(x);
    wire_answer(&head, x->delivery.answer, c->h1.keep_alive, x->request.proto < 1001);
    if (head.failed || chunk_copy(&c->out, head.p, head.n) != 0) {
        buf_free(&head);
        http_conn_close(c, "out of memory");
        return;
    }
    x->reply.head_n = head.n;
    buf_free(&head);
    if (!x->delivery.answer->no_body && !x->http.head_only && wire_has_body(x->delivery.answer->status)) {
        add_pieces(c, x);
    }
}

void h1_answer_error(struct conn *c, struct exchange *x, int status)
{
    answer_error(x, status);
    h1_answer_send(c, x);
}
