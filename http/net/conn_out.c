/* Bytes out of a connection: from memory and files, plain or through TLS. */
#include <errno.h>
#include <linux/tcp.h> /* the C library's own knows fewer numbers */
#include <netinet/in.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/net/conn.h"
#include "http/net/tls.h"

#define VECTORS       16
#define TURN_SENDS    32 /* of one connection before others have their turn */
#define SENDFILE_PART (1u << 20)
#define HOLD_FROM     16384       /* what is more takes more than one record of TLS */
#define TLS_FILE_PART (64u << 10) /* read at once to be encrypted; at most LOOP_SCRATCH_OUT */

ssize_t http_conn_write(struct conn *c, const char *p, size_t n)
{
    if (!c->writable) {
        return 0;
    }
    ssize_t done;
    if (c->tls) {
        done = tls_write(c->tls, p, n);
    } else {
        do {
            done = send(c->fd, p, n, MSG_NOSIGNAL);
        } while (done < 0 && errno == EINTR);
        if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            done = 0;
        }
    }
    if (done > 0) {
        c->progress_us = c->loop->now_us;
    }
    if (done >= 0 && (size_t)done < n) {
        c->writable = false;
    }
    return done;
}

static ssize_t send_memory(struct conn *c)
{
    struct iovec v[VECTORS];
    int count = chunk_vector(&c->out, v, VECTORS);
    if (c->tls && count == 1) {
        return http_conn_write(c, v[0].iov_base, v[0].iov_len);
    }
    if (c->tls) {
        ssize_t done = tls_write_pieces(c->tls, v, count);
        c->writable &= done != 0;
        return done;
    }
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        total += v[i].iov_len;
    }
    struct msghdr message = {.msg_iov = v, .msg_iovlen = (size_t)count};
    ssize_t done;
    do {
        done = sendmsg(c->fd, &message, MSG_NOSIGNAL | (c->out.n > total ? MSG_MORE : 0));
    } while (done < 0 && errno == EINTR);
    if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        done = 0;
    }
    if (done >= 0 && (size_t)done < total) {
        c->writable = false;
    }
    return done;
}

static ssize_t send_file(struct conn *c)
{
    struct chunk *chunk = c->out.first;
    size_t n = chunk->n < SENDFILE_PART ? chunk->n : SENDFILE_PART;
    if (c->tls && !tls_can_sendfile(c->tls)) {
        ssize_t got =
            pread(chunk->fd, c->loop->scratch_out, n < TLS_FILE_PART ? n : TLS_FILE_PART, chunk->offset);
        return got <= 0 ? -1 : http_conn_write(c, c->loop->scratch_out, (size_t)got);
    }
    ssize_t done;
    off_t offset = chunk->offset;
    if (c->tls) {
        done = tls_sendfile(c->tls, chunk->fd, offset, n);
    } else {
        do {
            done = sendfile(c->fd, chunk->fd, &offset, n);
        } while (done < 0 && errno == EINTR);
        if (done == 0) {
            return -1; /* the file shrank: the promised length can't be kept */
        }
        if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            done = 0;
        }
    }
    if (done == 0) {
        c->writable = false;
    }
    return done;
}

bool http_conn_is_reset(struct conn *c)
{
    int error = 0;
    socklen_t n = sizeof error;
    c->reset |= getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error;
    return c->reset;
}

uint64_t http_conn_unacknowledged(const struct conn *c)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0 ||
        info.tcpi_bytes_sent < info.tcpi_bytes_retrans + info.tcpi_bytes_acked) {
        return 0;
    }
    return info.tcpi_bytes_sent - info.tcpi_bytes_retrans - info.tcpi_bytes_acked;
}

void http_conn_hold(struct conn *c)
{
    if (c->tls) {
        tls_hold(c->tls);
    }
}

void http_conn_release(struct conn *c)
{
    if (c->tls) {
        tls_release(c->tls);
    }
}

static int send_all(struct conn *c)
{
    unsigned turns = 0;
    while (c->out.first && c->writable) {
        ssize_t done = c->out.first->fd < 0 ? send_memory(c) : send_file(c);
        if (done < 0) {
            http_conn_close(c, "the client is gone");
            return -1;
        }
        if (done > 0) {
            c->progress_us = c->loop->now_us;
            c->sent += (uint64_t)done;
            chunk_taken(&c->out, (size_t)done);
        }
        if (++turns >= TURN_SENDS && c->out.first && c->writable) {
            loop_again(c->loop, c);
            break;
        }
    }
    return 0;
}

int http_conn_send(struct conn *c)
{
    if (c->out.n > HOLD_FROM && c->writable) {
        http_conn_hold(c);
    }
    int bad = send_all(c);
    if (!bad) {
        http_conn_release(c);
    }
    return bad;
}
