/* The internal listener's thread: a poll loop over a few connections, each with a deadline for everything.
 * Nothing here waits for another thread, so it answers while all others are stuck. The thread owns the
 * connections; the control thread only sets `order` and wakes it. */
#include "http/pages/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "http/net/front.h"
#include "http/pages/internal_page.h"
#include "http/wire/h1_parse.h"

#define LISTENERS_MAX 8
#define CONNS_MAX     64
#define HEAD_MAX      8192
#define REQUEST_US    (5 * CLOCK_US_PER_SECOND)  /* for the head, and again for the response */
#define PROFILE_US    (20 * CLOCK_US_PER_SECOND) /* beyond its own time */
#define PROFILE_BYTES (64u << 20)
#define PROFILE_READS 64 /* in one turn: others wait, too */
#define LINGER_US     (1 * CLOCK_US_PER_SECOND)

enum order { ORDER_SERVE, ORDER_CLOSE, ORDER_STOP };

struct visitor {
    int fd; /* -1 = free */
    struct internal_caller caller;
    enum { VISITOR_ASKS, VISITOR_WAITS /* for a profile */, VISITOR_LISTENS, VISITOR_LEAVES } state;
    struct internal_profile profile; /* fd: -1 but while it waits */
    struct buf gathered;             /* of the profile */
    uint64_t deadline_us;
    char in[HEAD_MAX];
    size_t in_n, scanned;
    struct buf out;
    size_t out_at;
};

struct internal {
    const struct pool *pool;
    const char *token;
    pthread_t thread;
    bool running; /* the thread is there */
    int wake_fd;
    _Atomic int order;
    _Atomic bool over; /* set by the thread: told to close, and nobody waits for an answer */
    int listeners[LISTENERS_MAX];
    bool local[LISTENERS_MAX]; /* an address that only this machine reaches */
    int listener_count;
    uint64_t pause_until_us; /* no descriptor was left: do not accept before */
    struct visitor visitors[CONNS_MAX];
};

/* -- configuration -- */

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_UNIX) {
        return true;
    }
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127);
}

/* An address that only this machine reaches. */
static bool is_local(const struct sock_address *address)
{
    return address->is_unix || (!address->any_family && is_loopback(&address->sa));
}

int internal_check(const struct pool_conf *pool, const struct http_settings *s)
{
    struct str rest = str_of(s->internal_listen), piece;
    int count = 0;
    while (rest.p && str_split(&rest, ',', &piece)) {
        struct sock_address address;
        char error[256];
        piece = str_trim(piece);
        if (piece.n == 0) {
            continue;
        }
        char *text = xstrndup(piece.p, piece.n);
        int bad = sock_parse(text, &address, error, sizeof error);
        if (bad) {
            log_alert("[pool %s] http.internal_listen = %s: %s", pool->name, text, error);
        } else if (++count > LISTENERS_MAX) {
            log_alert("[pool %s] http.internal_listen has more than %d addresses", pool->name, LISTENERS_MAX);
            bad = -1;
        }
        free(text);
        if (bad) {
            return -1;
        }
    }
    return 0;
}

/* -- visitors -- */

static void dismiss(struct visitor *v)
{
    close(v->fd);
    v->fd = -1;
    buf_free(&v->out);
    buf_free(&v->gathered);
    if (v->profile.fd >= 0) {
        close(v->profile.fd);
        v->profile.fd = -1;
    }
}

/* A place for one more. If there is none, who has been answered makes way, then who has been silent for the
 * longest: a health check speaks at once, and a crowd that says nothing must not blind it. */
static struct visitor *make_room(struct internal *in)
{
    static const int worth[] = {
        [VISITOR_LEAVES] = 0, [VISITOR_ASKS] = 1, [VISITOR_WAITS] = 2, [VISITOR_LISTENS] = 3};
    struct visitor *least = in->visitors;
    for (struct visitor *v = in->visitors; v < in->visitors + CONNS_MAX; v++) {
        if (v->fd < 0) {
            return v;
        }
        if (worth[v->state] < worth[least->state] ||
            (v->state == least->state && v->deadline_us < least->deadline_us)) {
            least = v;
        }
    }
    dismiss(least);
    return least;
}

static void receive(struct internal *in, int listener)
{
    struct sockaddr_storage peer;
    int fd;
    enum accept_result result = sock_accept(in->listeners[listener], true, &fd, &peer);
    if (result == ACCEPT_NO_DESCRIPTORS || result == ACCEPT_BROKEN) {
        in->pause_until_us = clock_us() + CLOCK_US_PER_SECOND / 10;
    }
    if (result != ACCEPT_OK) {
        return;
    }
    struct visitor *v = make_room(in);
    v->fd = fd;
    v->state = VISITOR_ASKS;
    v->in_n = v->scanned = v->out_at = 0;
    v->deadline_us = clock_us() + REQUEST_US;
    v->caller = (struct internal_caller){.here = is_loopback(&peer),
                                         .by_address = in->local[listener] && peer.ss_family != AF_UNIX};
}

static void answer(struct internal *in, struct visitor *v)
{
    struct http_head head;
    struct h1_facts facts;
    ptrdiff_t end = h1_parse_end(v->in, v->in_n, HEAD_MAX, &v->scanned);
    if (end == H1_MORE && v->in_n < HEAD_MAX) {
        return;
    }
    int bad = end > 0 ? h1_parse_head(v->in, (size_t)end, &head, &facts) : end == H1_MORE ? -431 : (int)end;
    if (bad) {
        internal_page_error(-bad, &v->out);
    } else if (internal_page_profile(in->pool, &head, in->token, &v->caller, &v->profile, &v->out)) {
        if (v->profile.fd >= 0) {
            fcntl(v->profile.fd, F_SETFL, O_NONBLOCK);
            v->gathered.limit = PROFILE_BYTES;
            v->state = VISITOR_WAITS;
            v->deadline_us = clock_us() + v->profile.seconds * CLOCK_US_PER_SECOND + PROFILE_US;
            return;
        }
    } else {
        internal_page(in->pool, &head, in->token, &v->caller, &v->out);
    }
    v->state = VISITOR_LISTENS;
    v->deadline_us = clock_us() + REQUEST_US;
}

static void hear(struct internal *in, struct visitor *v)
{
    char waste[1024];
    bool asks = v->state == VISITOR_ASKS;
    char *to = asks ? v->in + v->in_n : waste;
    ssize_t n = recv(v->fd, to, asks ? HEAD_MAX - v->in_n : sizeof waste, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        dismiss(v);
    } else if (asks) {
        v->in_n += (size_t)n;
        answer(in, v);
    }
}

/* What has come of a profile; at its end there is an answer. */
static void gather_profile(struct visitor *v)
{
    char piece[16384];
    ssize_t n = 1;
    for (int i = 0; i < PROFILE_READS && n > 0 && !v->gathered.failed; i++) {
        n = read(v->profile.fd, piece, sizeof piece);
        buf_add(&v->gathered, piece, n > 0 ? (size_t)n : 0);
    }
    if (!v->gathered.failed && (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))) {
        return;
    }
    close(v->profile.fd);
    v->profile.fd = -1;
    internal_page_profiled(&v->profile, &v->gathered, &v->out);
    buf_free(&v->gathered);
    v->state = VISITOR_LISTENS;
    v->deadline_us = clock_us() + REQUEST_US;
}

static void speak(struct visitor *v)
{
    while (v->out_at < v->out.n) {
        ssize_t n = send(v->fd, v->out.p + v->out_at, v->out.n - v->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            dismiss(v);
            return;
        }
        v->out_at += (size_t)n;
    }
    /* What it still sends is taken for a moment, so that a reset does not overtake our answer. */
    shutdown(v->fd, SHUT_WR);
    v->state = VISITOR_LEAVES;
    v->deadline_us = clock_us() + LINGER_US;
}

/* -- the loop -- */

struct polled {
    struct pollfd fds[1 + LISTENERS_MAX + 2 * CONNS_MAX];
    struct visitor *visitors[1 + LISTENERS_MAX + 2 * CONNS_MAX];
    nfds_t count;
};

static void watch(struct polled *p, int fd, short events, struct visitor *v)
{
    p->visitors[p->count] = v;
    p->fds[p->count++] = (struct pollfd){.fd = fd, .events = events};
}

static int gather(struct internal *in, struct polled *p, uint64_t now)
{
    bool closes = atomic_load(&in->order) != ORDER_SERVE, owes = false;
    bool accepts = !closes && now >= in->pause_until_us;
    uint64_t next = now + 3600 * CLOCK_US_PER_SECOND;
    p->count = 0;
    watch(p, in->wake_fd, POLLIN, NULL);
    for (int i = 0; i < in->listener_count; i++) {
        watch(p, accepts ? in->listeners[i] : -1, POLLIN, NULL);
    }
    for (int i = 0; i < CONNS_MAX; i++) {
        struct visitor *v = &in->visitors[i];
        if (v->fd >= 0 && now >= v->deadline_us) {
            dismiss(v);
        }
        if (v->fd >= 0) {
            owes |= v->state != VISITOR_LEAVES;
            watch(p, v->fd, v->state == VISITOR_LISTENS ? POLLOUT : POLLIN, v);
            if (v->state == VISITOR_WAITS) {
                watch(p, v->profile.fd, POLLIN, v);
            }
            next = v->deadline_us < next ? v->deadline_us : next;
        }
    }
    if (closes && !owes) {
        atomic_store(&in->over, true);
    }
    if (in->pause_until_us > now) {
        next = in->pause_until_us < next ? in->pause_until_us : next;
    }
    return (int)((next - now) / 1000) + 1;
}

/* Who waits for a profile and goes is not waited for: the pipe is closed, and nothing is sampled any more. */
static void attend_visitor(struct internal *in, struct visitor *v, int fd)
{
    if (v->state == VISITOR_WAITS && fd == v->profile.fd) {
        gather_profile(v);
    } else if (fd == v->fd && v->state != VISITOR_LISTENS) {
        hear(in, v);
    }
    if (v->fd >= 0 && v->state == VISITOR_LISTENS) {
        speak(v);
    }
}

static void attend(struct internal *in, const struct polled *p)
{
    uint64_t count;
    if (p->fds[0].revents && read(in->wake_fd, &count, sizeof count) < 0) {
        log_debug("http: woken for nothing");
    }
    for (nfds_t i = 1; i < p->count; i++) {
        struct visitor *v = p->visitors[i];
        if (!p->fds[i].revents) {
            continue;
        }
        if (!v) {
            receive(in, (int)i - 1);
            continue;
        }
        if (v->fd >= 0) { /* it may just have made room for another one */
            attend_visitor(in, v, p->fds[i].fd);
        }
    }
}

static void *internal_main(void *ctx)
{
    struct internal *in = ctx;
    struct polled *p = xcalloc(1, sizeof *p);
    pthread_setname_np(pthread_self(), "http-internal");
    while (atomic_load(&in->order) != ORDER_STOP) {
        int wait_ms = gather(in, p, clock_us());
        if (poll(p->fds, p->count, wait_ms) > 0) {
            attend(in, p);
        }
    }
    for (int i = 0; i < CONNS_MAX; i++) {
        if (in->visitors[i].fd >= 0) {
            dismiss(&in->visitors[i]);
        }
    }
    free(p);
    return NULL;
}

/* -- life -- */

static struct internal *create(struct pool *pool, const struct http_settings *settings)
{
    struct internal *in = xcalloc(1, sizeof *in);
    in->pool = pool;
    in->token = settings->internal_token;
    in->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (int i = 0; i < CONNS_MAX; i++) {
        in->visitors[i].fd = in->visitors[i].profile.fd = -1;
    }
    return in;
}

static void destroy(struct internal *in)
{
    if (in->wake_fd >= 0) {
        close(in->wake_fd);
    }
    free(in);
}

struct internal *internal_create(const struct http_front *front)
{
    struct internal *in = NULL;
    for (const struct listener *l = front->listeners; l; l = l->next) {
        if (l->frontend != front->frontend || l->kind != LISTENER_INTERNAL || l->fd < 0) {
            continue;
        }
        in = in ? in : create(front->pool, front->settings);
        if (in->listener_count < LISTENERS_MAX) {
            in->local[in->listener_count] = is_local(&l->address);
            in->listeners[in->listener_count++] = l->fd;
        }
    }
    return in;
}

int internal_open(struct internal *in)
{
    int error = !in ? 0 : in->wake_fd < 0 ? errno : thread_start(&in->thread, internal_main, in);
    if (error) {
        log_alert("cannot start the internal listener: %s", strerror(error));
        return -1;
    }
    if (in) {
        in->running = true;
    }
    return 0;
}

static void order(struct internal *in, enum order what)
{
    uint64_t one = 1;
    atomic_store(&in->order, what);
    if (write(in->wake_fd, &one, sizeof one) < 0) {
        log_debug("http: the internal listener is awake already");
    }
}

void internal_drain(struct internal *in)
{
    if (in && !pool_finishing(in->pool)) {
        order(in, ORDER_CLOSE);
    }
}

bool internal_drained(const struct internal *in)
{
    return !in || pool_finishing(in->pool) || atomic_load(&in->over);
}

void internal_stop(struct internal *in)
{
    if (in && in->running) {
        order(in, ORDER_STOP);
        pthread_join(in->thread, NULL);
    }
    if (in) {
        destroy(in);
    }
}
