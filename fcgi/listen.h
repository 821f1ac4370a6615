/* Listening sockets of the pool in the wait set, and who may connect. */
#ifndef FCGI_LISTEN_H
#define FCGI_LISTEN_H

#include <netinet/in.h>

#include "fcgi/fcgi.h"

struct allowed_client {
    int family;
    union {
        struct in_addr v4;
        struct in6_addr v6;
    } address;
};

/* Control thread. listen_take and listen_open: 0 or -1 (reported). listen_tick takes listeners up again that
 * ran out of descriptors. */
int listen_take(struct fcgi_front *front, const struct listener *listeners);
int listen_open(struct fcgi_front *front); /* from here on workers are told of connections */
void listen_tick(struct fcgi_front *front);
/* Accepts nothing more, and closes our descriptors as soon as no worker has one in hand; called again until
 * then. If the whole server ends, who waits in them is accepted before. all: those that last, too. */
void listen_leave(struct fcgi_front *front, bool all);
bool listen_taken(const struct fcgi_front *front); /* nobody waits for us where we do not listen any more */
void listen_free(struct fcgi_front *front);

/* Main thread: reads listen.allowed_clients; wrong entries are logged as php-fpm does. 0 or -1 (memory). */
int listen_allow(struct fcgi_front *front, const char *list);
bool listen_is_allowed(const struct fcgi_front *front, const struct sockaddr_storage *peer);

#endif
