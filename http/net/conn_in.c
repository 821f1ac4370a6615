/* Bytes into a connection, and to its protocol. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "http/net/conn.h"
#include "http/net/tls.h"

#define TURN_READS 16 /* of one connection before others have their turn */

static ssize_t read_some(struct conn *c, char *p, size_t n)
{
    ssize_t got;
    if (c->tls) {
        got = tls_read(c->tls, p, n);
        c->readable &= got <= 0 || c->peer_closing || !tls_is_drained(c->tls);
        return got;
    }
    do {
        got = recv(c->fd, p, n, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? -1 : -2;
    }
    if (got > 0 && (size_t)got < n && !c->peer_closing) {
        c->readable = false; /* that was all; the next bytes are a new edge */
    }
    return got;
}

/* Nothing came. Then the next bytes are a new edge; or what is here waits for its turn, or for room to write.
 */
static void none_now(struct conn *c)
{
    bool cut = c->tls && tls_read_is_cut(c->tls);
    c->readable = cut || (c->tls && tls_read_wants_write(c->tls));
    if (cut) {
        loop_again(c->loop, c);
    }
}

bool http_conn_silent(const struct conn *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* What was not taken stays for the next time. */
static void keep_rest(struct conn *c, const char *p, size_t n)
{
    free(c->in);
    c->in = NULL;
    c->in_n = 0;
    if (n > 0) {
        c->in = malloc(n);
        if (!c->in) {
            http_conn_close(c, "out of memory");
            return;
        }
        memcpy(c->in, p, n);
        c->in_n = n;
    }
}

static void drop_input(struct conn *c)
{
    for (unsigned turns = 0; c->readable; turns++) {
        if (turns >= TURN_READS) {
            loop_again(c->loop, c);
            return;
        }
        ssize_t got = read_some(c, c->loop->scratch, LOOP_SCRATCH);
        if (got == -1) {
            none_now(c);
            return;
        }
        if (got <= 0 || (uint64_t)got > c->linger_left) {
            http_conn_close(c, "done");
            return;
        }
        c->linger_left -= (uint64_t)got;
        c->progress_us = c->loop->now_us;
    }
}

static bool wants_input(struct conn *c)
{
    return c->state == CONN_OPEN && !c->closing && c->protocol->wants(c);
}

/* One read and what it brings; false: nothing more now. */
static bool pump_once(struct conn *c)
{
    char *scratch = c->loop->scratch;
    size_t n = c->in_n;
    if (!c->untried && c->eof) {
        c->protocol->eof(c);
        return false;
    }
    if (!c->untried && !c->readable) {
        return false;
    }
    if (n > 0) {
        memcpy(scratch, c->in, n);
    }
    if (!c->untried) {
        ssize_t got = read_some(c, scratch + n, LOOP_SCRATCH - n);
        if (got == -1) {
            none_now(c);
            return false;
        }
        if (got == -2) {
            http_conn_close(c, "reset by the client");
            return false;
        }
        if (got == 0) {
            c->eof = true;
            c->readable = false;
            c->protocol->eof(c);
            return false;
        }
        n += (size_t)got;
    }
    c->untried = false;
    size_t used = c->protocol->input(c, scratch, n);
    if (c->state == CONN_CLOSED) {
        return false;
    }
    c->readable |= c->state == CONN_OPEN && c->protocol->expects(c);
    keep_rest(c, scratch + used, n - used);
    c->untried = c->in_n > 0 && !wants_input(c);
    return c->state != CONN_CLOSED;
}

void http_conn_pump(struct conn *c)
{
    for (unsigned turns = 0; wants_input(c); turns++) {
        if (turns >= TURN_READS) {
            loop_again(c->loop, c);
            return;
        }
        if (!pump_once(c)) {
            break;
        }
    }
    if (c->state == CONN_LINGER) {
        drop_input(c);
    }
}
