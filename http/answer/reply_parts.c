/* Bytes of a response on their way out of a worker. See the header.
 *
 * Where the worker has the connection's descriptor (HTTP/1) it writes itself, straight from PHP's memory or
 * through the connection's TLS; otherwise bytes go to the loop as messages, of which at most QUEUE_HIGH bytes
 * wait unsent. A client that does not read gives the descriptor back to the loop, and what goes beyond that
 * waits in a file, up to http.response_buffer: only then does the worker wait, too. */
#include "http/answer/reply_parts.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/answer/reply_message.h"
#include "http/net/tls.h"

#define QUEUE_HIGH (256u << 10)
#define GRACE_MS   20 /* a client that reads is worth a moment: what it takes at once needs no file */

void reply_parts_add(struct reply_parts *parts, const char *p, size_t n)
{
    if (n > 0) {
        parts->v[parts->count++] = (struct iovec){(void *)(uintptr_t)p, n};
        parts->n += n;
    }
}

static const struct http_settings *settings_of(const struct exchange *x)
{
    return x->http.site->settings;
}

/* In one order with `waiting`, for everybody (see wait_for_room and exchange_wake). */
bool reply_is_gone(const struct exchange *x)
{
    return atomic_load(&x->handover.gone) || atomic_load(&x->handover.ended);
}

/* A worker that a slow reader holds up waits for it this long; a stream as a whole has its own limit. */
static int64_t wait_budget_ms(const struct exchange *x)
{
    const struct http_settings *settings = settings_of(x);
    int64_t budget = settings->write_timeout * 1000;
    if (x->reply.stream_since_us && settings->stream_timeout) {
        int64_t spent = (int64_t)((clock_coarse_us() - x->reply.stream_since_us) / 1000);
        int64_t left = settings->stream_timeout * 1000 - spent;
        budget = left < budget ? left : budget;
    }
    return budget < 0 ? 0 : budget > INT_MAX ? INT_MAX : budget;
}

static void skip_sent(struct reply_parts *parts, size_t n)
{
    parts->n -= n;
    int i = 0;
    while (i < parts->count && n >= parts->v[i].iov_len) {
        n -= parts->v[i++].iov_len;
    }
    memmove(parts->v, parts->v + i, (size_t)(parts->count - i) * sizeof parts->v[0]);
    parts->count -= i;
    if (n > 0) {
        parts->v[0].iov_base = (char *)parts->v[0].iov_base + n;
        parts->v[0].iov_len -= n;
    }
}

/* Bytes; 0 = none now, -1 = gone. */
static ssize_t write_some(struct exchange *x, struct reply_parts *parts)
{
    if (x->handover.tls) {
        return tls_write_pieces(x->handover.tls, parts->v, parts->count);
    }
    struct msghdr message = {.msg_iov = parts->v, .msg_iovlen = (size_t)parts->count};
    ssize_t done;
    do {
        done = sendmsg(x->handover.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (done < 0 && errno == EINTR);
    return done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : done;
}

int reply_parts_write_now(struct exchange *x, struct reply_parts *parts)
{
    while (parts->n > 0) {
        ssize_t done = write_some(x, parts);
        if (done <= 0) {
            return (int)done;
        }
        x->reply.written += (size_t)done;
        skip_sent(parts, (size_t)done);
    }
    return 0;
}

bool reply_writes(const struct exchange *x)
{
    return !atomic_load_explicit(&x->handover.by_loop, memory_order_relaxed) && x->handover.fd >= 0;
}

static bool may_spool(const struct exchange *x)
{
    return settings_of(x)->response_buffer > 0;
}

static int post_bounded(struct exchange *x, struct reply_parts *parts);

/* Straight to the client, while it reads. The rest of an answer that it does not read is the loop's. */
static int write_parts(struct exchange *x, struct reply_parts *parts)
{
    while (!reply_is_gone(x)) {
        if (reply_parts_write_now(x, parts) != 0) {
            return -1;
        }
        if (parts->n == 0) {
            return 0;
        }
        struct pollfd p = {.fd = x->handover.fd, .events = POLLOUT};
        int ready = poll(&p, 1, may_spool(x) ? GRACE_MS : (int)wait_budget_ms(x));
        if (ready == 0 && may_spool(x)) {
            reply_message_back(x);
            return post_bounded(x, parts);
        }
        if (ready == 0) {
            log_limited(LEVEL_NOTICE, "http: %s read too slowly, its response was cut", x->http.client.ip);
            return -1;
        }
    }
    return -1;
}

/* Sleeps until the loop has sent enough of what is queued. 0, -1: gone, or 1: too slow. We say that we wait
 * and then look; the loop changes what we look at and then asks whether we wait: one of both sees the other.
 */
static int wait_for_room(struct exchange *x, int64_t budget)
{
    uint64_t end_us = clock_us() + (uint64_t)budget * 1000; /* not of the day: somebody may set that clock */
    struct timespec until = {.tv_sec = (time_t)(end_us / CLOCK_US_PER_SECOND),
                             .tv_nsec = (long)(end_us % CLOCK_US_PER_SECOND) * 1000};
    while (!reply_is_gone(x) && atomic_load(&x->handover.queued) > QUEUE_HIGH) {
        atomic_store(&x->handover.waiting, true);
        if (reply_is_gone(x) || atomic_load(&x->handover.queued) <= QUEUE_HIGH) {
            break;
        }
        if (sem_clockwait(&x->handover.space, CLOCK_MONOTONIC, &until) != 0 && errno == ETIMEDOUT) {
            return 1;
        }
    }
    return reply_is_gone(x) ? -1 : 0;
}

int reply_parts_post(struct exchange *x, const struct reply_parts *parts, int status)
{
    struct reply_message *m = reply_message_create(x, parts->n, status);
    if (!m) {
        return -1;
    }
    size_t at = 0;
    for (int i = 0; i < parts->count; i++) {
        memcpy(m->text + at, parts->v[i].iov_base, parts->v[i].iov_len);
        at += parts->v[i].iov_len;
    }
    loop_post(x->loop, &m->message);
    return 0;
}

/* Into the spool, if there may be so much; 1: it may not. */
static int post_to_spool(struct exchange *x, const struct reply_parts *parts)
{
    struct spool *spool = &x->handover.spool;
    off_t at;
    if (atomic_load(&x->handover.queued) == 0) {
        spool_rewind(spool);
    }
    if (!spool_add(spool, parts->v, parts->count, parts->n, (uint64_t)settings_of(x)->response_buffer, &at)) {
        return 1;
    }
    struct reply_message *m = reply_message_of_file(x, parts->n, at);
    if (!m) {
        return -1;
    }
    loop_post(x->loop, &m->message);
    return 0;
}

/* In memory, if the client has read what was before; or in the spool; or the worker waits. 0 or -1. */
static int post_piece(struct exchange *x, const struct reply_parts *piece)
{
    int rc = may_spool(x) ? wait_for_room(x, GRACE_MS) : 1;
    if (rc > 0 && may_spool(x)) {
        rc = post_to_spool(x, piece);
        if (rc <= 0) {
            return rc;
        }
    }
    rc = rc > 0 ? wait_for_room(x, wait_budget_ms(x)) : rc;
    if (rc > 0) {
        log_limited(LEVEL_NOTICE, "http: %s read too slowly, its response was cut", x->http.client.ip);
    }
    return rc != 0 ? -1 : reply_parts_post(x, piece, 0);
}

/* Large parts go in pieces, so that what waits in memory stays bounded. */
static int post_bounded(struct exchange *x, struct reply_parts *parts)
{
    while (parts->n > QUEUE_HIGH) {
        struct reply_parts piece = {0};
        size_t room = QUEUE_HIGH;
        for (int i = 0; i < parts->count && room > 0; i++) {
            size_t take = parts->v[i].iov_len < room ? parts->v[i].iov_len : room;
            reply_parts_add(&piece, parts->v[i].iov_base, take);
            room -= take;
        }
        if (post_piece(x, &piece) != 0) {
            return -1;
        }
        skip_sent(parts, piece.n);
    }
    return parts->n ? post_piece(x, parts) : 0;
}

int reply_parts_put(struct exchange *x, struct reply_parts *parts)
{
    if (x->http
            .target) { /* no worker: nobody here may wait. Instead no more of the answer is read (relay.h) */
        return parts->n ? reply_parts_post(x, parts, 0) : 0;
    }
    return reply_writes(x) ? write_parts(x, parts) : post_bounded(x, parts);
}
