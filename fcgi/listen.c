/* Accepting: see listen.h. A listener stays in the wait set; every worker that is told of it accepts one
 * connection and serves it at once. Out of descriptors, the listener leaves the wait set until the next tick:
 * the kernel keeps the connections meanwhile, and nobody spins. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/sock.h"
#include "fcgi/conn.h"
#include "fcgi/listen.h"

struct fcgi_listener {
    struct waitable wait;
    struct fcgi_front *front;
    int kind;
    bool lasts;                 /* as struct listener's */
    int backlog;                /* how many may wait there */
    _Atomic uint32_t accepting; /* workers that have the descriptor in hand */
    _Atomic bool left;          /* set by the control thread: no worker takes it in hand any more */
    bool taken, closed;         /* control thread: nobody waits there for us; the descriptor is closed */
    pthread_mutex_t lock;       /* guards armed: several workers may run out of descriptors at once */
    bool armed;
    struct fcgi_listener *next;
};

/* -- who may connect -- */

int listen_allow(struct fcgi_front *front, const char *list)
{
    struct str rest = str_of(list), one;

    if (!list) {
        return 0;
    }
    front->restricted = true;
    front->allowed = calloc(strlen(list) / 2 + 1, sizeof(*front->allowed));
    if (!front->allowed) {
        return -1;
    }
    while (str_split(&rest, ',', &one)) {
        struct allowed_client *a = &front->allowed[front->allowed_count];
        char text[INET6_ADDRSTRLEN];
        bool fits = one.n < sizeof(text);

        memcpy(text, fits ? one.p : "", fits ? one.n : 0);
        text[fits ? one.n : 0] = '\0';
        a->family = inet_pton(AF_INET, text, &a->address.v4) > 0    ? AF_INET
                    : inet_pton(AF_INET6, text, &a->address.v6) > 0 ? AF_INET6
                                                                    : 0;
        if (a->family) {
            front->allowed_count++;
        } else {
            log_error("Wrong IP address '%.*s' in listen.allowed_clients", (int)one.n, one.p);
        }
    }
    if (!front->allowed_count) {
        log_error("There are no allowed addresses");
    }
    return 0;
}

static bool is_same_address(const struct allowed_client *a, const struct sockaddr_storage *peer)
{
    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)peer;

        return a->family == AF_INET && memcmp(&v4->sin_addr, &a->address.v4, 4) == 0;
    }
    const struct sockaddr_in6 *v6 = (const void *)peer;

    if (a->family == AF_INET) {
        return IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
               memcmp(v6->sin6_addr.s6_addr + 12, &a->address.v4, 4) == 0;
    }
    return memcmp(&v6->sin6_addr, &a->address.v6, 16) == 0;
}

bool listen_is_allowed(const struct fcgi_front *front, const struct sockaddr_storage *peer)
{
    if (!front->restricted || (peer->ss_family != AF_INET && peer->ss_family != AF_INET6)) {
        return true;
    }
    for (size_t i = 0; i < front->allowed_count; i++) {
        if (is_same_address(&front->allowed[i], peer)) {
            return true;
        }
    }
    return false;
}

/* An internal address has no file whose mode could keep others out: the kernel says who connects. */
static bool is_ours(const struct fcgi_listener *l, int fd)
{
    const struct pool_conf *conf = pool_conf(l->front->pool);
    struct ucred peer;
    socklen_t n = sizeof(peer);

    if (l->kind != FCGI_INTERNAL) {
        return true;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0) {
        return false;
    }
    for (size_t i = 0; i < conf->internal_user_count; i++) {
        if (conf->internal_users[i] == peer.uid) {
            return true;
        }
    }
    log_limited(LEVEL_ERROR, "[pool %s] user %u may not connect to the internal address", conf->name,
                (unsigned)peer.uid);
    return false;
}

/* -- in and out of the wait set -- */

static int arm(struct fcgi_listener *l)
{
    int result = 0;

    pthread_mutex_lock(&l->lock);
    if (!l->armed) {
        result = pool_wait_add(l->front->pool, &l->wait, WAIT_LISTENER);
        l->armed = result == 0;
    }
    pthread_mutex_unlock(&l->lock);
    return result;
}

static void disarm(struct fcgi_listener *l)
{
    pthread_mutex_lock(&l->lock);
    if (l->armed) {
        pool_wait_forget(l->front->pool, &l->wait);
        l->armed = false;
    }
    pthread_mutex_unlock(&l->lock);
}

static bool is_wanted(const struct fcgi_listener *l, int fd, const struct sockaddr_storage *peer)
{
    if (!listen_is_allowed(l->front, peer)) {
        char ip[46];

        sock_ip(peer, ip, sizeof(ip));
        log_limited(LEVEL_ERROR, "Connection disallowed: IP address '%s' has been dropped.", ip);
        return false;
    }
    return is_ours(l, fd);
}

/* *out is NULL: there is none that we want, or can have. */
static enum accept_result accept_one(struct fcgi_listener *l, struct fcgi_conn **out)
{
    struct fcgi_front *front = l->front;
    struct sockaddr_storage peer;
    int fd = -1;
    enum accept_result result = sock_accept(l->wait.fd, false, &fd, &peer);

    *out = NULL;
    switch (result) {
    case ACCEPT_EMPTY: break;
    case ACCEPT_NO_DESCRIPTORS:
        log_limited(LEVEL_WARNING, "[pool %s] out of file descriptors: connections wait",
                    pool_conf(front->pool)->name);
        disarm(l);
        break;
    case ACCEPT_BROKEN:
        log_limited(LEVEL_ERROR, "[pool %s] accept failed: %s (%d)", pool_conf(front->pool)->name,
                    strerror(errno), errno);
        disarm(l);
        break;
    case ACCEPT_OK:
        if (is_wanted(l, fd, &peer)) {
            *out = conn_accepted(front, l->kind, fd, &peer);
        } else {
            close(fd);
        }
    }
    return result;
}

/* Control thread: a worker was lost while it accepted. */
static void lost(struct waitable *w)
{
    struct fcgi_listener *l = (struct fcgi_listener *)((char *)w - offsetof(struct fcgi_listener, wait));

    atomic_fetch_sub(&l->accepting, 1);
    atomic_fetch_sub(&l->front->open, 1);
}

/* Worker's thread. It counts as open from before it accepts until the connection counts: either it sees that
 * the process drains and leaves the connection to the next one, or `drained` sees it. Otherwise a connection
 * could be taken out of the kernel's queue by a process that believes it has none and ends. No longer: a
 * worker may get lost in the request. */
static void ready(struct waitable *w, struct worker *worker)
{
    struct fcgi_listener *l = (struct fcgi_listener *)((char *)w - offsetof(struct fcgi_listener, wait));
    struct fcgi_conn *c = NULL;

    atomic_fetch_add(&l->front->open, 1);
    atomic_fetch_add(&l->accepting, 1);
    worker_holds(w);
    if (!atomic_load(&l->left)) {
        worker_took(worker, w, accept_one(l, &c) == ACCEPT_OK);
    }
    worker_holds(NULL);
    atomic_fetch_sub(&l->accepting, 1);
    atomic_fetch_sub(&l->front->open, 1);
    if (c) {
        l->front->serve(c, worker);
    }
}

/* False: somebody still waits, and there is no descriptor for him at the moment. */
static bool take_waiting(struct fcgi_listener *l)
{
    enum accept_result result = ACCEPT_OK;
    struct fcgi_conn *c;

    for (int i = 0; i <= l->backlog && result == ACCEPT_OK; i++) {
        result = accept_one(l, &c);
        if (c) {
            conn_wait(c);
        }
    }
    return result != ACCEPT_NO_DESCRIPTORS;
}

/* Nothing is taken if there is a successor: what waits is its. */
static void leave(struct fcgi_listener *l)
{
    atomic_store(&l->left, true);
    disarm(l);
    l->taken = l->taken || !pool_finishing(l->front->pool) || take_waiting(l);
    if (l->taken && !l->closed && atomic_load(&l->accepting) == 0) {
        close(l->wait.fd);
        l->closed = true;
    }
}

int listen_take(struct fcgi_front *front, const struct listener *listeners)
{
    for (const struct listener *from = listeners; from; from = from->next) {
        if (from->frontend != front->frontend || from->pool != pool_conf(front->pool) || from->fd < 0) {
            continue;
        }
        struct fcgi_listener *l = calloc(1, sizeof(*l));

        if (!l || (from->reserved && pool_reserve(front->pool) < 0)) {
            free(l);
            log_error("fcgi: no memory for a listener");
            return -1;
        }
        l->front = front;
        l->kind = from->kind;
        l->lasts = from->lasts;
        l->backlog = from->options.backlog < 0 ? SOMAXCONN : from->options.backlog;
        l->wait = (struct waitable){
            .fd = from->fd, .ready = ready, .lost = lost, .reserved = from->reserved, .shared = true};
        pthread_mutex_init(&l->lock, NULL);
        l->next = front->listeners;
        front->listeners = l;
    }
    return 0;
}

int listen_open(struct fcgi_front *front)
{
    for (struct fcgi_listener *l = front->listeners; l; l = l->next) {
        if (!atomic_load(&l->left) && arm(l) < 0) {
            log_error("fcgi: cannot wait for connections: %s (%d)", strerror(errno), errno);
            return -1;
        }
    }
    return 0;
}

void listen_tick(struct fcgi_front *front)
{
    for (struct fcgi_listener *l = front->listeners; l; l = l->next) {
        if (atomic_load(&l->left)) {
            leave(l);
        } else {
            arm(l);
        }
    }
}

void listen_leave(struct fcgi_front *front, bool all)
{
    for (struct fcgi_listener *l = front->listeners; l; l = l->next) {
        if (all || !l->lasts) {
            leave(l);
        }
    }
}

bool listen_taken(const struct fcgi_front *front)
{
    const struct fcgi_listener *l = front->listeners;

    while (l && (l->taken || !atomic_load(&l->left))) {
        l = l->next;
    }
    return l == NULL;
}

void listen_free(struct fcgi_front *front)
{
    while (front->listeners) {
        struct fcgi_listener *l = front->listeners;

        front->listeners = l->next;
        disarm(l);
        pthread_mutex_destroy(&l->lock);
        free(l);
    }
    free(front->allowed);
    front->allowed = NULL;
}
