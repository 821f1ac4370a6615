/* See fcgi_peer.h. Each thread owns its connection and closes it; fcgi_peer_stop() waits for the last. */
#include "tests/support/fcgi_peer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD  "Content-Type: text/plain\r\n\r\n"
#define PIECE 8000

enum { PARAMS = 4, STDIN = 5, STDOUT = 6 };

struct visit {
    struct fcgi_peer *peer;
    int fd;
    struct visit *prev, *next;
};

struct fcgi_peer {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock; /* guards visits */
    pthread_cond_t empty;
    struct visit *visits;
    _Atomic unsigned connections, requests, left;
};

struct asked {
    char params[16384];
    size_t params_n, body_n;
    bool keep;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(2);
    }
}

char fcgi_peer_text(size_t at)
{
    uint32_t x = (uint32_t)at * 2654435761u;

    x ^= x >> 15;
    x *= 2246822519u;
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[x >> 26];
}

/* -- records -- */

static bool get(int fd, void *to, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = recv(fd, (char *)to + at, n - at, 0);

        if (got <= 0) {
            return false;
        }
        at += (size_t)got;
    }
    return true;
}

static bool put(int fd, const void *from, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t done = send(fd, (const char *)from + at, n - at, MSG_NOSIGNAL);

        if (done <= 0) {
            return false;
        }
        at += (size_t)done;
    }
    return true;
}

static bool put_out(int fd, const char *p, size_t n)
{
    const unsigned char header[8] = {1, STDOUT, 0, 1, (unsigned char)(n >> 8), (unsigned char)n, 0, 0};

    return put(fd, header, sizeof(header)) && put(fd, p, n);
}

static bool put_end(int fd)
{
    static const char end[16] = {1, 3, 0, 1, 0, 8};

    return put(fd, end, sizeof(end));
}

static bool put_text(int fd, size_t n)
{
    char piece[PIECE];

    for (size_t at = 0; at < n;) {
        size_t take = n - at < PIECE ? n - at : PIECE;

        for (size_t i = 0; i < take; i++) {
            piece[i] = fcgi_peer_text(at + i);
        }
        if (!put_out(fd, piece, take)) {
            return false;
        }
        at += take;
    }
    return true;
}

/* A whole request; false: the connection has ended. */
static bool get_request(int fd, struct asked *a)
{
    unsigned char header[8];
    char content[65535 + 255];

    a->params_n = a->body_n = 0;
    while (get(fd, header, sizeof(header))) {
        size_t n = (size_t)header[4] << 8 | header[5];

        if (!get(fd, content, n + header[6])) {
            return false;
        }
        if (header[1] == 1) {
            a->keep = content[2] & 1;
        } else if (header[1] == PARAMS && n <= sizeof(a->params) - a->params_n) {
            memcpy(a->params + a->params_n, content, n);
            a->params_n += n;
        } else if (header[1] == STDIN && n == 0) {
            return true;
        }
        a->body_n += header[1] == STDIN ? n : 0;
    }
    return false;
}

/* -- answers -- */

/* The number behind "name=", 0 behind a bare "name", -1 if the query is another. */
static long asked_for(const struct asked *a, const char *name)
{
    char text[64], number[16] = "";
    int n = snprintf(text, sizeof(text), "QUERY_STRING%s", name);
    const char *at = memmem(a->params, a->params_n, text, (size_t)n);

    if (!at) {
        return -1;
    }
    at += n;
    for (size_t i = 0; at < a->params + a->params_n && *at >= '0' && *at <= '9' && i < sizeof(number) - 1;
         i++) {
        number[i] = *at++;
    }
    return atol(number);
}

static bool drip(int fd, long lines)
{
    for (long i = 0; i < lines; i++) {
        if (!put_out(fd, "drop\n", 5)) {
            return false;
        }
        usleep(7000);
    }
    return true;
}

/* Does what the query says short of the end; false: the client has left. */
static bool put_answer(int fd, const struct asked *a)
{
    char text[64];
    long n;

    if (!put_out(fd, HEAD, sizeof(HEAD) - 1)) {
        return false;
    }
    if ((n = asked_for(a, "page=")) >= 0) {
        return put_text(fd, (size_t)n);
    }
    if ((n = asked_for(a, "drip=")) >= 0) {
        return drip(fd, n);
    }
    if (asked_for(a, "endless") >= 0) {
        while (put_text(fd, 1 << 20)) {
        }
        return false;
    }
    if (asked_for(a, "body") >= 0) {
        return put_out(fd, text, (size_t)snprintf(text, sizeof(text), "%zu", a->body_n));
    }
    return put_out(fd, "hello", 5);
}

/* False: the connection ends. */
static bool serve(struct fcgi_peer *p, int fd, const struct asked *a)
{
    char byte;
    long n = asked_for(a, "cut=");

    if (n >= 0) {
        put_out(fd, HEAD, sizeof(HEAD) - 1);
        put_text(fd, (size_t)n);
        return false;
    }
    if (asked_for(a, "close") >= 0) {
        return false;
    }
    if (asked_for(a, "garbage") >= 0) {
        put(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        return false;
    }
    if (asked_for(a, "never") >= 0) {
        p->left += !get(fd, &byte, 1);
        return false;
    }
    if (!put_answer(fd, a) || !put_end(fd)) {
        p->left++;
        return false;
    }
    return a->keep && asked_for(a, "late") < 0;
}

/* -- threads -- */

static void link_visit(struct fcgi_peer *p, struct visit *v)
{
    pthread_mutex_lock(&p->lock);
    v->prev = NULL;
    v->next = p->visits;
    if (v->next) {
        v->next->prev = v;
    }
    p->visits = v;
    pthread_mutex_unlock(&p->lock);
}

/* p may be gone afterwards. */
static void end_visit(struct fcgi_peer *p, struct visit *v)
{
    pthread_mutex_lock(&p->lock);
    *(v->prev ? &v->prev->next : &p->visits) = v->next;
    if (v->next) {
        v->next->prev = v->prev;
    }
    close(v->fd);
    free(v);
    pthread_cond_signal(&p->empty);
    pthread_mutex_unlock(&p->lock);
}

static void *visit_main(void *arg)
{
    struct visit *v = arg;
    struct asked a;

    while (get_request(v->fd, &a)) {
        v->peer->requests++;
        if (!serve(v->peer, v->fd, &a)) {
            break;
        }
    }
    end_visit(v->peer, v);
    return NULL;
}

static void *accept_main(void *arg)
{
    struct fcgi_peer *p = arg;
    pthread_t thread;
    int fd;

    while ((fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct visit *v = malloc(sizeof(*v));

        must(v != NULL, "malloc");
        v->peer = p;
        v->fd = fd;
        p->connections++;
        link_visit(p, v);
        must(pthread_create(&thread, NULL, visit_main, v) == 0, "thread");
        pthread_detach(thread);
    }
    return NULL;
}

struct fcgi_peer *fcgi_peer_start(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct fcgi_peer *p = calloc(1, sizeof(*p));

    must(p != NULL && strlen(path) < sizeof(address.sun_path), "path");
    strcpy(address.sun_path, path);
    unlink(path);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->empty, NULL);
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(p->fd >= 0 && bind(p->fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
             listen(p->fd, 128) == 0,
         path);
    must(pthread_create(&p->thread, NULL, accept_main, p) == 0, "thread");
    return p;
}

void fcgi_peer_stop(struct fcgi_peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
    pthread_mutex_lock(&p->lock);
    for (struct visit *v = p->visits; v; v = v->next) {
        shutdown(v->fd, SHUT_RDWR);
    }
    while (p->visits) {
        pthread_cond_wait(&p->empty, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    pthread_cond_destroy(&p->empty);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

unsigned fcgi_peer_connections(const struct fcgi_peer *p)
{
    return p->connections;
}

unsigned fcgi_peer_requests(const struct fcgi_peer *p)
{
    return p->requests;
}

unsigned fcgi_peer_left(const struct fcgi_peer *p)
{
    return p->left;
}
