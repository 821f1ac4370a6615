/* A client's connection: accepting, reading, writing, deadlines and the end of it. Loop thread only.
 *
 * One edge-triggered event for reading and writing is added once and never changed, so a request costs no
 * epoll_ctl. `readable` and `writable` remember what the last edge said until the kernel says "none now". */
#include "http/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/exchange.h"
#include "http/h2_conn.h"
#include "http/limits.h"
#include "http/tls.h"

#define VECTORS       16
#define TURN_READS    16 /* reads of one connection before others have their turn */
#define LINGER_US     2000000
#define LINGER_BYTES  (1u << 20)
#define SECONDS(n)    ((uint64_t)(n)*CLOCK_US_PER_SECOND)
#define SENDFILE_PART (1u << 20)
#define TLS_FILE_PART (64u << 10) /* read at once to be encrypted; at most LOOP_SCRATCH */

static const struct http_settings *settings_of(const struct conn *c)
{
    return c->loop->front->settings;
}

/* -- the end -- */

static void unlink_conn(struct conn *c)
{
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        c->loop->conns = c->next;
    }
    if (c->next) {
        c->next->prev = c->prev;
    }
    c->prev = NULL;
    c->next = c->loop->dead;
    c->loop->dead = c;
}

void http_conn_close(struct conn *c, const char *why)
{
    if (c->state == CONN_CLOSED) {
        return;
    }
    if (c->protocol && c->protocol->lent(c)) {
        /* The worker notices, and its hand-back message ends the connection for good. */
        if (!c->closing) {
            c->closing = true;
            shutdown(c->fd, SHUT_RDWR);
            c->protocol->leave(c);
        }
        if (c->protocol->lent(c)) {
            return;
        }
    }
    log_debug("http: connection %d closed: %s", c->fd, why);
    c->state = CONN_CLOSED;
    if (c->protocol) {
        c->protocol->leave(c);
    }
    event_del(&c->event);
    if (c->tls) {
        tls_shutdown(c->tls);
        tls_conn_destroy(c->tls);
    }
    close(c->fd);
    c->fd = -1;
    if (c->in_limit) {
        conn_limit_leave(c->loop->front->per_client, &c->peer);
    }
    chunk_clear(&c->out);
    free(c->in);
    c->in = NULL;
    unlink_conn(c);
    atomic_fetch_sub_explicit(&c->loop->front->connections, 1, memory_order_relaxed);
    pool_count_connection(c->loop->front->pool, -1);
}

void http_conn_free_dead(struct loop *loop)
{
    struct conn *kept = NULL;
    while (loop->dead) {
        struct conn *c = loop->dead;
        loop->dead = c->next;
        if (c->in_again) { /* run_again() still holds it; the next pass frees it */
            c->next = kept;
            kept = c;
            continue;
        }
        c->magic = 0;
        free((void *)(uintptr_t)c->local_ip);
        free(c);
    }
    loop->dead = kept;
}

void http_conn_linger(struct conn *c)
{
    if (c->eof) {
        http_conn_close(c, "done");
        return;
    }
    c->protocol->leave(c);
    if (c->tls) {
        tls_shutdown(c->tls);
    }
    shutdown(c->fd, SHUT_WR);
    c->state = CONN_LINGER;
    c->linger_left = LINGER_BYTES;
    c->deadline_us = c->loop->now_us + LINGER_US;
    http_conn_pump(c);
}

/* -- writing -- */

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
    if (c->tls || count == 1) {
        size_t n = v[0].iov_len;
        const char *p = v[0].iov_base;
        if (c->tls && count > 1 && n < 16384) {
            /* Records are not worth their cost when they are small. */
            p = c->loop->scratch_out;
            n = 0;
            for (int i = 0; i < count && n < 16384; i++) {
                size_t take = v[i].iov_len < 16384 - n ? v[i].iov_len : 16384 - n;
                memcpy(c->loop->scratch_out + n, v[i].iov_base, take);
                n += take;
            }
        }
        return http_conn_write(c, p, n);
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

int http_conn_send(struct conn *c)
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
            chunk_taken(&c->out, (size_t)done);
        }
        if (++turns >= 2 * TURN_READS && c->out.first && c->writable) {
            loop_again(c->loop, c);
            break;
        }
    }
    return 0;
}

/* -- reading -- */

static ssize_t read_some(struct conn *c, char *p, size_t n)
{
    if (c->tls) {
        return tls_read(c->tls, p, n);
    }
    ssize_t got;
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
    while (c->readable) {
        ssize_t got = read_some(c, c->loop->scratch, LOOP_SCRATCH);
        if (got == -1) {
            c->readable = false;
            return;
        }
        if (got <= 0 || (uint64_t)got > c->linger_left) {
            http_conn_close(c, "done");
            return;
        }
        c->linger_left -= (uint64_t)got;
    }
}

/* At the limit a client is let go before anything is allocated for it. */
static bool admitted(struct loop *loop, struct conn *c)
{
    if (!loop->front->per_client || c->peer.ss_family == AF_UNIX) {
        return true;
    }
    c->in_limit = conn_limit_enter(loop->front->per_client, &c->peer);
    if (!c->in_limit) {
        char ip[64];
        sock_ip(&c->peer, ip, sizeof ip);
        log_limited(LEVEL_WARNING, "http: %s has http.connections_per_client connections, refused one", ip);
    }
    return c->in_limit;
}

/* PROXY protocol: who the client really is. Only looked at until it is complete, and then taken exactly: what
 * follows may be TLS. */
static void take_proxy_header(struct conn *c)
{
    struct sockaddr_storage source;
    bool local = false;
    char *p = c->loop->scratch;
    ssize_t n = recv(c->fd, p, 1024, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        c->readable = errno == EINTR;
        return;
    }
    int used = n > 0 ? proxy_header_parse(p, (size_t)n, &source, &local) : -1;
    if (used < 0 || (used == 0 && n == 1024) || (used > 0 && recv(c->fd, p, (size_t)used, 0) != used)) {
        http_conn_close(c, "no valid PROXY protocol header");
        return;
    }
    if (used == 0) {
        c->readable = false;
        return;
    }
    if (!local) {
        if (c->in_limit) {
            conn_limit_leave(c->loop->front->per_client, &c->peer);
            c->in_limit = false;
        }
        c->peer = source;
        if (!admitted(c->loop, c)) {
            http_conn_close(c, "too many connections of this client");
            return;
        }
    }
    http_conn_become(c, NULL);
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
        if (got == -1) { /* then the next bytes are a new edge; or what is here waits for room to write */
            c->readable = c->tls && tls_read_wants_write(c->tls);
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

/* -- life -- */

void http_conn_become(struct conn *c, const struct conn_protocol *protocol)
{
    if (protocol) {
        c->protocol = protocol;
        c->state = CONN_OPEN;
        return;
    }
    /* What comes first on a new connection. */
    if (c->loop->front->settings->proxy_protocol && c->state == CONN_CLOSED) {
        c->state = CONN_PROXY;
        c->deadline_us = c->loop->now_us + SECONDS(settings_of(c)->header_timeout);
    } else if (c->tls_wanted) {
        c->state = CONN_HANDSHAKE;
        c->deadline_us = c->loop->now_us + SECONDS(settings_of(c)->handshake_timeout);
    } else {
        h1_conn_start(c);
    }
}

static void handshake(struct conn *c)
{
    if (!c->tls) {
        c->tls_us = clock_us();
        c->tls = tls_conn_create(c->loop->front->tls, c->fd);
        if (!c->tls) {
            http_conn_close(c, "out of memory");
            return;
        }
    }
    switch (tls_handshake(c->tls)) {
    case TLS_DONE:
        c->tls_us = clock_us() - c->tls_us;
        c->readable = c->writable = true;
        pool_count_event(c->loop->front->pool, EVENT_TLS_HANDSHAKE);
        if (tls_is_h2(c->tls)) {
            if (h2_conn_start(c) != 0) {
                http_conn_close(c, "out of memory");
            }
        } else {
            h1_conn_start(c);
        }
        break;
    case TLS_WANT_READ: c->readable = false; break;
    case TLS_WANT_WRITE: c->writable = false; break;
    case TLS_FAILED: http_conn_close(c, "TLS handshake failed"); break;
    }
}

void http_conn_resume(struct conn *c)
{
    if (c->state == CONN_PROXY && c->readable) {
        take_proxy_header(c);
    }
    if (c->state == CONN_HANDSHAKE && (c->readable || c->writable)) {
        handshake(c);
    }
    if (c->state == CONN_OPEN && !c->closing) {
        c->protocol->output(c);
    }
    http_conn_pump(c);
}

static void on_event(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;
    struct loop *loop = c->loop;
    (void)fd;
    MUST(c->magic == CONN_MAGIC);
    loop->now_us = clock_coarse_us();
    if (what & EV_CLOSED) {
        c->peer_closing = true;
        c->readable = true;
    }
    if (what & EV_READ) {
        c->readable = true;
    }
    if (what & EV_WRITE) {
        c->writable = true;
    }
    http_conn_resume(c);
    http_conn_free_dead(loop);
}

void http_conn_accept(struct loop *loop, const struct listener *listener, int fd,
                      const struct sockaddr_storage *peer)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    *c = (struct conn){.magic = CONN_MAGIC,
                       .state = CONN_CLOSED,
                       .fd = fd,
                       .loop = loop,
                       .listener = listener,
                       .peer = *peer,
                       .tls_wanted = listener->kind == LISTENER_TLS,
                       .accepted_us = loop->now_us,
                       .idle_since_us = loop->now_us,
                       .writable = true};
    event_assign(&c->event, loop->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, c);
    if (!admitted(loop, c) || event_add(&c->event, NULL) != 0) {
        if (c->in_limit) {
            conn_limit_leave(loop->front->per_client, &c->peer);
        }
        close(fd);
        free(c);
        return;
    }
    c->next = loop->conns;
    if (c->next) {
        c->next->prev = c;
    }
    loop->conns = c;
    atomic_fetch_add_explicit(&loop->front->connections, 1, memory_order_relaxed);
    pool_count_connection(loop->front->pool, 1);
    atomic_fetch_add_explicit(&loop->front->accepted, 1, memory_order_relaxed);
    http_conn_become(c, NULL);
}

void http_conn_sweep(struct conn *c)
{
    uint64_t now = c->loop->now_us;
    if (c->state == CONN_OPEN && !c->closing) {
        c->protocol->sweep(c);
    } else if (c->deadline_us && now >= c->deadline_us && c->state != CONN_CLOSED) {
        if (c->state != CONN_LINGER) {
            atomic_fetch_add_explicit(&c->loop->front->timeouts, 1, memory_order_relaxed);
        }
        http_conn_close(c, "too slow to begin");
    }
}

void http_conn_drain(struct conn *c)
{
    if (c->state == CONN_OPEN && !c->closing) {
        c->protocol->drain(c);
    }
}

bool http_conn_local(struct conn *c)
{
    if (c->local_ip) {
        return true;
    }
    struct sockaddr_storage local = {0};
    socklen_t n = sizeof local;
    char ip[64] = "-";
    if (getsockname(c->fd, (struct sockaddr *)&local, &n) == 0) {
        sock_ip(&local, ip, sizeof ip);
        c->local_port = sock_port(&local);
    }
    c->local_ip = strdup(ip);
    return c->local_ip != NULL;
}
