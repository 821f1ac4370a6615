/* HTTP/2 on a connection, framed by nghttp2: how it begins and ends, bytes in and out, deadlines. Streams are
 * in h2_stream.c, what nghttp2 calls in h2_session.c. Loop thread only. */
#include "http/proto/h2_conn.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "http/proto/h2_private.h"
#include "http/wire/base64.h"

#define BATCH        (64u << 10) /* frames gathered for one write */
#define TURN_BATCHES 16          /* of one connection before others have their turn */
/* After an upgrade, until the client has spoken HTTP/2: curl wants what follows the 101 to fit its buffer. */
#define EARLY_MAX    (8u << 10)
#define DRAIN_NOTICE (1 * CLOCK_US_PER_SECOND)

/* -- its life -- */

static struct h2_conn *h2_create(struct conn *c)
{
    struct h2_conn *h2 = calloc(1, sizeof *h2);
    if (!h2) {
        return NULL;
    }
    if (h2_session_create(c, &h2->session) != 0) {
        free(h2);
        return NULL;
    }
    h2->frames.left = H2_PREFACE_BYTES;
    h2->began_us = c->loop->now_us;
    h2_guard_init(&h2->guard, c->loop->now_us);
    c->h2 = h2; /* nghttp2 may call back at once */
    return h2;
}

static void h2_destroy(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    c->h2 = NULL;
    nghttp2_session_del(h2->session);
    free(h2->head);
    buf_free(&h2->cookie);
    free(h2->unsent);
    free(h2);
}

static void become_h2(struct conn *c)
{
    c->deadline_us = 0;
    c->idle_since_us = c->loop->now_us;
    http_conn_become(c, &h2_protocol);
    loop_again(c->loop, c); /* our SETTINGS */
}

static int h2_start(struct conn *c)
{
    struct h2_conn *h2 = h2_create(c);
    if (!h2) {
        return -1;
    }
    if (h2_session_settings(c, h2->session) != 0) {
        h2_destroy(c);
        return -1;
    }
    become_h2(c);
    return 0;
}

int h2_conn_upgrade(struct conn *c, struct exchange *x, struct str settings)
{
    static const char switching[] =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    unsigned char payload[512];
    ssize_t n = base64url_decode(settings, payload, sizeof payload);
    struct h2_conn *h2 = n < 0 ? NULL : h2_create(c);
    if (!h2) {
        return -1;
    }
    if (nghttp2_session_upgrade2(h2->session, payload, (size_t)n, x->http.head_only, x) != 0 ||
        h2_session_settings(c, h2->session) != 0 ||
        chunk_copy(&c->out, switching, sizeof switching - 1) != 0) {
        h2_destroy(c);
        return -1;
    }
    h2->settings_seen = false; /* those of the upgrade do not count */
    x->http.h2 = true;
    x->delivery.protocol = &h2_delivery;
    x->delivery.stream_id = 1;
    h2->last_id = 1;
    x->delivery.body_done = true;
    h2_stream_link(h2, x);
    become_h2(c);
    if (x->delivery.answer) {
        h2_stream_answer(c, x);
    } else {
        h2_stream_submit(c, x);
    }
    return 0;
}

/* -- bytes -- */

static bool may_send(const struct h2_conn *h2)
{
    return h2->settings_seen || h2->early < EARLY_MAX;
}

/* Behind the `kept` bytes that the batch has already. All that it has then. */
static size_t gather_frames(struct conn *c, size_t kept)
{
    struct h2_conn *h2 = c->h2;
    h2->batch_n = kept;
    h2->batch_most = h2->settings_seen ? BATCH : may_send(h2) ? EARLY_MAX - h2->early : 0;
    while (h2->batch_n < h2->batch_most) {
        const uint8_t *p;
        ssize_t got = nghttp2_session_mem_send(h2->session, &p); /* DATA frames it has written there itself */
        if (got <= 0) {
            break;
        }
        memcpy(c->loop->scratch_out + h2->batch_n, p, (size_t)got);
        if (!h2->announced) {
            h2_session_announce(c, c->loop->scratch_out + h2->batch_n, (size_t)got);
        }
        h2->batch_n += (size_t)got;
    }
    h2->early += h2->settings_seen ? 0 : h2->batch_n - kept;
    return h2->batch_n;
}

/* The first n of `all` bytes. 0 = sent, 1 = what is left of all waits, -1 = closed. */
static int send_frames(struct conn *c, const char *p, size_t n, size_t all)
{
    struct h2_conn *h2 = c->h2;
    ssize_t done = http_conn_write(c, p, n);
    if (done < 0) {
        http_conn_close(c, "the client is gone");
        return -1;
    }
    if ((size_t)done == n) {
        return 0;
    }
    size_t left = all - (size_t)done;
    char *rest = malloc(left);
    if (!rest) {
        http_conn_close(c, "out of memory");
        return -1;
    }
    memcpy(rest, p + done, left);
    free(h2->unsent);
    h2->unsent = rest;
    h2->unsent_at = 0;
    h2->unsent_n = left;
    return 1;
}

/* What did not go the last time. Same results. */
static int send_unsent(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    while (h2->unsent) {
        ssize_t done = http_conn_write(c, h2->unsent + h2->unsent_at, h2->unsent_n);
        if (done < 0) {
            http_conn_close(c, "the client is gone");
            return -1;
        }
        h2->unsent_at += (size_t)done;
        h2->unsent_n -= (size_t)done;
        if (h2->unsent_n > 0) {
            return 1;
        }
        free(h2->unsent);
        h2->unsent = NULL;
    }
    return 0;
}

/* The same, of all that there is for now. While more is likely to follow only full records leave, and what
 * would be a small one goes with the next batch. */
static int send_batches(struct conn *c)
{
    char *batch = c->loop->scratch_out;
    size_t kept = 0;
    int rest = send_unsent(c);
    for (unsigned turns = 1; rest == 0 && turns <= TURN_BATCHES; turns++) {
        size_t all = gather_frames(c, kept);
        if (all == 0) {
            break;
        }
        bool more = all >= BATCH && turns < TURN_BATCHES;
        if (more) {
            http_conn_hold(c);
        }
        kept = c->tls && more ? all % H2_RECORD : 0;
        rest = send_frames(c, batch, all - kept, all);
        memmove(batch, batch + all - kept, kept);
    }
    if (rest >= 0) {
        http_conn_release(c);
    }
    return rest;
}

static void h2_output(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    if (c->out.first && (http_conn_send(c) != 0 || c->out.first)) {
        return;
    }
    if (send_batches(c) != 0) {
        return;
    }
    if (h2->killed || (!nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session))) {
        http_conn_linger(c);
    } else if (nghttp2_session_want_write(h2->session) && c->writable && !h2->unsent && may_send(h2)) {
        loop_again(c->loop, c); /* others first */
    }
}

static bool h2_wants(struct conn *c)
{
    return !c->h2->killed && !c->h2->unsent; /* who does not read our frames may not send more */
}

static bool h2_expects(const struct conn *c)
{
    return c->h2->streams != NULL;
}

/* False: the connection ends. */
static bool take_frames(struct conn *c, const char *p, size_t n)
{
    ssize_t used = nghttp2_session_mem_recv(c->h2->session, (const uint8_t *)p, n);
    if (used == NGHTTP2_ERR_FLOODED) {
        h2_session_kill(c, "a flood of frames that have to be acknowledged");
    } else if (used < 0 && !c->h2->killed) {
        c->h2->killed = nghttp2_strerror((int)used);
        nghttp2_session_terminate_session(c->h2->session, NGHTTP2_PROTOCOL_ERROR);
    }
    return used >= 0;
}

static size_t h2_input(struct conn *c, const char *p, size_t n)
{
    int32_t id = -1;
    for (size_t at = 0; at < n;) {
        size_t piece = h2_frames_next_data(&c->h2->frames, p + at, n - at, &id);
        if (!take_frames(c, p + at, piece) || (id >= 0 && h2_session_check(c, id) != 0)) {
            break;
        }
        at += piece;
    }
    h2_output(c);
    return n;
}

/* Requests that are not complete now never will be; the others are answered, it may still read. */
/* A client that has closed its end may still read. One that has left shows so when bytes come to it. */
static void h2_eof(struct conn *c)
{
    if (http_conn_is_reset(c)) {
        http_conn_close(c, "reset by the client");
        return;
    }
    if (!c->h2->ended) {
        c->h2->ended = true;
        nghttp2_submit_ping(c->h2->session, NGHTTP2_FLAG_NONE, NULL);
    }
    for (struct exchange *x = c->h2->streams; x; x = x->delivery.stream_next) {
        if (!x->delivery.body_done && !x->delivery.unwanted) {
            h2_stream_reset(c, x, NGHTTP2_CANCEL);
        }
    }
    h2_output(c);
    if (c->state == CONN_OPEN && !c->h2->streams && !c->h2->unsent) {
        http_conn_close(c, "closed by the client");
    }
}

/* -- time -- */

static void sweep_stream(struct conn *c, struct exchange *x)
{
    const struct http_settings *s = x->http.site->settings;
    uint64_t quiet =
        c->loop->now_us > x->delivery.progress_us ? c->loop->now_us - x->delivery.progress_us : 0;
    if (x->delivery.stream_closed) {
        return;
    }
    if (!x->delivery.body_done && !x->delivery.unwanted) {
        uint64_t allowed = SECONDS(s->body_timeout);
        if (s->body_rate_min > 0) {
            allowed += x->http.body.total * CLOCK_US_PER_SECOND / (uint64_t)s->body_rate_min;
        }
        if (quiet > SECONDS(s->body_timeout) ||
            (s->body_rate_min > 0 && c->loop->now_us - x->delivery.began_us > allowed)) {
            h2_stream_reset(c, x, NGHTTP2_CANCEL);
        }
    } else if (x->delivery.head_out && !x->delivery.deferred && quiet > SECONDS(s->write_timeout)) {
        h2_stream_reset(c, x, NGHTTP2_CANCEL);
    }
}

static void sweep_idle(struct conn *c)
{
    const struct http_settings *s = h2_settings_of(c);
    uint64_t limit = SECONDS(c->h2->settings_seen ? s->idle_timeout : s->header_timeout);
    if (c->loop->now_us - c->idle_since_us > limit) {
        nghttp2_session_terminate_session(c->h2->session, NGHTTP2_NO_ERROR);
    }
    free(c->h2->head);
    c->h2->head = NULL;
    buf_free(&c->h2->cookie);
}

static void h2_drain(struct conn *c)
{
    nghttp2_submit_shutdown_notice(c->h2->session);
    c->h2->noticed = true;
    c->h2->notice_us = c->loop->now_us;
    loop_again(c->loop, c);
}

/* GOAWAY in two steps (RFC 9113, 6.8): what is on its way to us is still served. A connection that became
 * HTTP/2 after the others were told, because its handshake took so long, is told here. */
static void sweep_drain(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    if (!h2->noticed && atomic_load_explicit(&c->loop->front->draining, memory_order_relaxed)) {
        h2_drain(c);
    }
    if (h2->noticed && !h2->went_away && c->loop->now_us - h2->notice_us > DRAIN_NOTICE) {
        h2->went_away = true;
        nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h2->session), NGHTTP2_NO_ERROR, NULL,
                              0);
    }
}

/* Its streams wait for the client together: as long as the most patient of their sites. */
static int64_t write_timeout(const struct conn *c)
{
    int64_t longest = 0;
    for (const struct exchange *x = c->h2->streams; x; x = x->delivery.stream_next) {
        int64_t own = x->http.site->settings->write_timeout;
        longest = own > longest ? own : longest;
    }
    return longest ? longest : h2_settings_of(c)->write_timeout;
}

/* Why; NULL: it is not. A client that has upgraded and says nothing more gets no more than EARLY_MAX, so its
 * streams would never end. */
static const char *too_late(const struct conn *c)
{
    const struct h2_conn *h2 = c->h2;
    uint64_t now = c->loop->now_us, allowed = SECONDS(h2_settings_of(c)->header_timeout);
    if (h2->head_since_us && now - h2->head_since_us > allowed) {
        return "a header block that never ends";
    }
    return h2->streams && !h2->settings_seen && now - h2->began_us > allowed
               ? "it does not speak HTTP/2 after its upgrade"
               : NULL;
}

static void h2_sweep(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    uint64_t now = c->loop->now_us;
    if (h2->unsent && now - c->progress_us > SECONDS(write_timeout(c))) {
        http_conn_close(c, "the client reads too slowly");
        return;
    }
    const char *late = too_late(c);
    if (late) {
        atomic_fetch_add_explicit(&c->loop->front->timeouts, 1, memory_order_relaxed);
        http_conn_close(c, late);
        return;
    }
    for (struct exchange *x = h2->streams; x; x = x->delivery.stream_next) {
        sweep_stream(c, x);
    }
    if (!h2->streams && !h2->head_since_us) {
        sweep_idle(c);
    }
    sweep_drain(c);
    h2_output(c);
}

static void h2_leave(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    if (!h2) {
        return;
    }
    while (h2->streams) {
        struct exchange *x = h2->streams;
        h2_stream_unlink(c, x);
        delivery_leave(x);
    }
    if (c->state == CONN_CLOSED) {
        h2_destroy(c);
    }
}

static bool h2_idle(const struct conn *c)
{
    (void)c;
    return false; /* it may have streams that we have not heard of yet */
}

static bool h2_lent(const struct conn *c)
{
    (void)c;
    return false;
}

const struct conn_protocol h2_protocol = {
    .name = "HTTP/2",
    .delivery = &h2_delivery,
    .start = h2_start,
    .idle = h2_idle,
    .wants = h2_wants,
    .expects = h2_expects,
    .input = h2_input,
    .eof = h2_eof,
    .output = h2_output,
    .sweep = h2_sweep,
    .drain = h2_drain,
    .leave = h2_leave,
    .lent = h2_lent,
};
