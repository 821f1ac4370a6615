/* Sockets: addresses as php-fpm writes them, listening, accepting, time-outs. */
#ifndef ENGINE_BASE_SOCK_H
#define ENGINE_BASE_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* "ip:port", "[v6]:port", "host:port", "port" (:: then 0.0.0.0), "/path" or a relative path = unix socket;
 * "@name" = an abstract one, which has no file and no permissions. */
struct sock_address {
    char text[256];  /* canonical: the key in FPM_SOCKETS ("ip:port", IPv6 without brackets, or the path) */
    char given[256]; /* as it was written, for messages */
    bool is_unix;
    bool any_family; /* only a port was given */
    struct sockaddr_storage sa;
    socklen_t len;
};

struct sock_options {
    int backlog; /* -1: the kernel's maximum */
    uid_t owner; /* (uid_t)-1: unchanged; unix sockets only, as the next three */
    gid_t group;
    mode_t mode;
    const char *acl_users, *acl_groups; /* comma lists or NULL */
    bool reuse_port;
};

/* 0, or -1 with a sentence in error. */
int sock_parse(const char *text, struct sock_address *out, char *error, size_t error_size);
/* An address that is only a port becomes 0.0.0.0: what sock_listen() does when :: cannot be bound. Its key
 * changes too, so whoever looks for an inherited socket looks for both. */
void sock_use_ipv4(struct sock_address *address);
/* The longest path of a unix socket, without its NUL; longer ones are cut by sock_parse(). */
#define SOCK_PATH_MAX 107
/* A listening, close-on-exec, non-blocking descriptor; or -1 with a sentence in error (php-fpm's wording). */
int sock_listen(struct sock_address *address, const struct sock_options *options, char *error,
                size_t error_size);

/* What an accept can end in. */
enum accept_result { ACCEPT_OK, ACCEPT_EMPTY, ACCEPT_NO_DESCRIPTORS, ACCEPT_BROKEN };
/* One connection, close-on-exec, non-blocking if asked. Harmless errors (ECONNABORTED, EINTR ...) count as
 * EMPTY. */
enum accept_result sock_accept(int listener, bool nonblocking, int *fd, struct sockaddr_storage *peer);

/* For a listening socket that is about to be closed, in all processes that have it: nobody new gets into its
 * queue, and who is in it can still be accepted. A unix socket refuses from here on; TCP lets new clients
 * wait until the last descriptor is closed, and then refuses them. */
void sock_refuse(int listener);

/* A connection to a unix socket, close-on-exec; flags: SOCK_NONBLOCK or 0. -1: errno says why. A peer that
 * takes or says nothing for 20 s is given up, with EAGAIN. */
int sock_dial(const char *path, int flags);

/* Printable IP without port ("-" for unix sockets); IPv4-mapped addresses as IPv4. */
void sock_ip(const struct sockaddr_storage *sa, char *out, size_t size);
uint16_t sock_port(const struct sockaddr_storage *sa);

#endif
