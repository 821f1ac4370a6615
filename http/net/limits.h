/* Who the client is, and what it may do: trusted proxies, PROXY protocol, rate limit, connections per
 * address. */
#ifndef HTTP_NET_LIMITS_H
#define HTTP_NET_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "http/wire/head.h"

/* -- client.c: any thread -- */
/* Addresses and networks, blanks or commas between; "unix" = peers on a unix socket. */
struct cidr_list;
struct cidr_list *cidr_list_parse(const char *text, char *error,
                                  size_t error_size); /* NULL and error on bad input */
/* A NULL list has nobody. */
bool cidr_list_has(const struct cidr_list *list, const struct sockaddr_storage *sa);
void cidr_list_free(struct cidr_list *list);
/* What the request says of its client, believed only if peer is trusted (else peer itself, scheme and host as
 * seen). */
struct client {
    struct sockaddr_storage address;
    char ip[64];
    uint16_t port;
    bool https;
    struct str host;      /* from X-Forwarded-Host or Forwarded; STR_NONE = as received */
    uint16_t server_port; /* that the client asked, from X-Forwarded-Port; 0 = not said */
    bool scheme_said;     /* by a proxy: it is not our port that the client asked */
};
void client_resolve(const struct cidr_list *trusted, const struct sockaddr_storage *peer, bool tls,
                    const struct http_head *head, struct client *out);
/* -- proxy_header.c -- */
/* PROXY protocol v1 and v2 at the start of a connection: >0 its length, of which the end need not be here
 * yet; 0 more needed, <0 bad. local: keep the peer. */
int proxy_header_parse(const char *p, size_t n, struct sockaddr_storage *source, bool *local);

/* -- limits.c: any thread, own lock; bounded tables with fair eviction -- */
/* `requests` per window, which begins with a client's first request. IPv6 clients count by their /64; peers
 * on a unix socket are not limited. NULL: out of memory. */
struct rate_limit;
struct rate_limit *rate_limit_create(uint32_t requests, uint64_t window_us, uint32_t table_size);
/* The same as a token bucket: `requests` may come at once, and come back evenly over the window. */
struct rate_limit *rate_limit_create_bucket(uint32_t requests, uint64_t window_us, uint32_t table_size);
void rate_limit_destroy(struct rate_limit *r);
struct rate_verdict {
    bool allowed;
    uint32_t limit, remaining, reset_s; /* reset_s: who is refused and comes back then is let in */
};
/* now_us: exact, or who comes back when he was told to is too early by the clock's error. */
struct rate_verdict rate_limit_take(struct rate_limit *r, const struct sockaddr_storage *client,
                                    uint64_t now_us);
/* table_size: how many addresses can be counted; as many as there may be connections. */
struct conn_limit;
struct conn_limit *conn_limit_create(uint32_t per_address, uint32_t table_size);
bool conn_limit_enter(struct conn_limit *c, const struct sockaddr_storage *client);
void conn_limit_leave(struct conn_limit *c, const struct sockaddr_storage *client);
void conn_limit_destroy(struct conn_limit *c);

#endif
