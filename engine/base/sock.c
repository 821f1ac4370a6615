/* Sockets. Parsing and listening happen on the supervisor's thread at start (umask(2) is the process's);
 * accepting and the printers are for any thread. Descriptors belong to the caller. */
#include "engine/base/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/high_fd.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/base/sock_acl.h"
#include "engine/base/str.h"

/* -- addresses -- */

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == SOCK_PATH_MAX + 1, "the size of sun_path");

static bool all_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static int parse_unix(const char *text, struct sock_address *out)
{
    struct sockaddr_un *sa = (struct sockaddr_un *)&out->sa;

    out->is_unix = true;
    out->len = sizeof *sa;
    sa->sun_family = AF_UNIX;
    snprintf(sa->sun_path, sizeof sa->sun_path, "%s", text); /* too long: cut, as announced in sock.h */
    snprintf(out->text, sizeof out->text, "%s", sa->sun_path);
    if (text[0] == '@') {
        out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(sa->sun_path));
        sa->sun_path[0] = '\0';
    }
    return 0;
}

static void make_key(struct sock_address *address)
{
    char ip[INET6_ADDRSTRLEN] = "";

    if (address->sa.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address->sa)->sin6_addr, ip, sizeof ip);
    } else {
        inet_ntop(AF_INET, &((struct sockaddr_in *)&address->sa)->sin_addr, ip, sizeof ip);
    }
    snprintf(address->text, sizeof address->text, "%s:%u", ip, (unsigned)sock_port(&address->sa));
}

static int parse_port(const char *text, uint16_t *port, char *error, size_t error_size)
{
    uint64_t number;

    if (!str_to_u64(str_of(text), &number) || number < 1 || number > 65535) {
        snprintf(error, error_size, "invalid port value '%s'", text);
        return -1;
    }
    *port = (uint16_t)number;
    return 0;
}

static void use_ipv6_any(struct sock_address *out, uint16_t port)
{
    struct sockaddr_in6 *sa = (struct sockaddr_in6 *)&out->sa;

    out->any_family = true;
    out->len = sizeof *sa;
    *sa = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
    make_key(out);
}

void sock_use_ipv4(struct sock_address *address)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(sock_port(&address->sa))};

    address->any_family = false;
    address->len = sizeof sa;
    memset(&address->sa, 0, sizeof address->sa);
    memcpy(&address->sa, &sa, sizeof sa);
    make_key(address);
}

/* Whether this machine can bind the address at all: a name such as localhost often has an IPv6 address on a
 * machine without IPv6. */
static bool is_local(const struct addrinfo *info)
{
    struct sockaddr_storage any_port = {0};
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return false;
    }
    memcpy(&any_port, info->ai_addr, info->ai_addrlen);
    if (info->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)&any_port)->sin6_port = 0;
    } else {
        ((struct sockaddr_in *)&any_port)->sin_port = 0;
    }
    bool bound = bind(fd, (struct sockaddr *)&any_port, info->ai_addrlen) == 0;
    close(fd);
    return bound;
}

static void take_info(struct sock_address *out, const struct addrinfo *info)
{
    memcpy(&out->sa, info->ai_addr, info->ai_addrlen);
    out->len = info->ai_addrlen;
    make_key(out);
}

static int resolve(const char *host, const char *port, struct sock_address *out, char *error,
                   size_t error_size)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list, *chosen = NULL;
    char ip[INET6_ADDRSTRLEN];
    int status = getaddrinfo(host, port, &hints, &list);

    if (status != 0) {
        snprintf(error, error_size, "getaddrinfo: %s", gai_strerror(status));
        return -1;
    }
    for (struct addrinfo *p = list; p; p = p->ai_next) {
        if (!chosen && (is_local(p) || !p->ai_next)) {
            chosen = p;
        } else if (chosen) {
            getnameinfo(p->ai_addr, p->ai_addrlen, ip, sizeof ip, NULL, 0, NI_NUMERICHOST);
            log_warning("Found multiple addresses for %s, %s ignored", host, ip);
        }
    }
    take_info(out, chosen); /* the last one at the latest; binding it says what is wrong */
    freeaddrinfo(list);
    return 0;
}

static int parse_inet(const char *text, struct sock_address *out, char *error, size_t error_size)
{
    char host[sizeof out->given];
    uint16_t port;
    const char *colon = strrchr(text, ':');
    const char *port_text = colon ? colon + 1 : text;

    if (parse_port(port_text, &port, error, error_size) < 0) {
        return -1;
    }
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (n == 0 || (n == 1 && *text == '*')) {
        use_ipv6_any(out, port);
        return 0;
    }
    if (text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    snprintf(host, sizeof host, "%.*s", (int)n, text);
    return resolve(host, port_text, out, error, error_size);
}

int sock_parse(const char *text, struct sock_address *out, char *error, size_t error_size)
{
    memset(out, 0, sizeof *out);
    if (!*text || strlen(text) >= sizeof out->given) {
        snprintf(error, error_size, *text ? "the address '%s' is too long" : "the address '%s' is empty",
                 text);
        return -1;
    }
    snprintf(out->given, sizeof out->given, "%s", text);
    if (text[0] == '/' || (!strchr(text, ':') && !all_digits(text))) {
        return parse_unix(text, out);
    }
    return parse_inet(text, out, error, error_size);
}

/* -- listening -- */

static int fail(char *error, size_t error_size, const char *what, const char *address)
{
    int saved = errno;

    snprintf(error, error_size, "%s '%s': %s (%d)", what, address, strerror(saved), saved);
    errno = saved;
    return -1;
}

/* A socket file from an earlier life is removed; one that answers belongs to somebody. */
static int clear_stale_socket(const struct sock_address *address, char *error, size_t error_size)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        snprintf(error, error_size, "failed to create new listening socket: socket(): %s (%d)",
                 strerror(errno), errno);
        return -1;
    }
    /* EAGAIN: its backlog is full, so somebody is there. */
    bool answered = connect(fd, (const struct sockaddr *)&address->sa, address->len) == 0 || errno == EAGAIN;
    close(fd);
    if (answered) {
        errno = EADDRINUSE;
        snprintf(error, error_size, "Another FPM instance seems to already listen on %s", address->text);
        return -1;
    }
    if (address->text[0] != '@' && lstat(address->text, &st) == 0 && S_ISSOCK(st.st_mode)) {
        unlink(address->text);
    }
    return 0;
}

static int set_permissions(const struct sock_address *address, const struct sock_options *options,
                           char *error, size_t error_size)
{
    if (options->acl_users || options->acl_groups) {
        return sock_acl_grant(address->text, options->acl_users, options->acl_groups, error, error_size);
    }
    if (options->owner == (uid_t)-1 && options->group == (gid_t)-1) {
        return 0;
    }
    if (chown(address->text, options->owner, options->group) < 0) {
        return fail(error, error_size, "failed to chown() the socket", address->text);
    }
    return 0;
}

/* The mode is there from the first moment: chmod() after bind() would leave a gap. */
static int bind_unix(int fd, const struct sock_address *address, const struct sock_options *options,
                     char *error, size_t error_size)
{
    mode_t saved = umask(0777 ^ (options->mode & 0777));
    int bound = bind(fd, (const struct sockaddr *)&address->sa, address->len);

    umask(saved);
    if (bound < 0) {
        return fail(error, error_size, "unable to bind listening socket for address", address->given);
    }
    return set_permissions(address, options, error, error_size);
}

static int bind_inet(int fd, const struct sock_address *address, const struct sock_options *options,
                     char *error, size_t error_size)
{
    int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (options->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)) {
        log_warning("failed to change socket attribute");
    }
    if (bind(fd, (const struct sockaddr *)&address->sa, address->len) < 0) {
        return fail(error, error_size, "unable to bind listening socket for address", address->given);
    }
    return 0;
}

static int listen_once(const struct sock_address *address, const struct sock_options *options, char *error,
                       size_t error_size)
{
    if (address->is_unix && clear_stale_socket(address, error, error_size) < 0) {
        return -1;
    }
    int fd = socket(address->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        snprintf(error, error_size, "failed to create new listening socket: socket(): %s (%d)",
                 strerror(errno), errno);
        return -1;
    }
    int bound = address->is_unix ? bind_unix(fd, address, options, error, error_size)
                                 : bind_inet(fd, address, options, error, error_size);
    if (bound == 0 && listen(fd, options->backlog < 0 ? INT_MAX : options->backlog) < 0) {
        bound = fail(error, error_size, "failed to listen to address", address->given);
    }
    if (bound < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int sock_listen(struct sock_address *address, const struct sock_options *options, char *error,
                size_t error_size)
{
    int fd = listen_once(address, options, error, error_size);

    if (fd < 0 && address->any_family) {
        log_notice("Failed implicitly binding to ::, retrying with 0.0.0.0");
        sock_use_ipv4(address);
        fd = listen_once(address, options, error, error_size);
    }
    return fd;
}

/* -- connections -- */

enum accept_result sock_accept(int listener, bool nonblocking, int *fd, struct sockaddr_storage *peer)
{
    socklen_t len = sizeof *peer;

    memset(peer, 0, sizeof *peer);
    *fd = accept4(listener, (struct sockaddr *)peer, &len, SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0));
    if (*fd >= 0) {
        *fd = high_fd(*fd);
        return ACCEPT_OK;
    }
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return ACCEPT_NO_DESCRIPTORS;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EFAULT: return ACCEPT_BROKEN;
    default: return ACCEPT_EMPTY; /* accept(2) also reports errors of the new connection: not ours */
    }
}

/* Closing a listening TCP socket resets what is in its queue, and it fills until the last moment; and every
 * process that has it has to close it. So first those who knock are not heard: their SYN is dropped, and sent
 * again a second later. Handshakes that are under way are completed. */
static void drop_syn(int listener)
{
    enum { FLAGS_AT = 13, SYN = 2 };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};

    if (setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) {
        log_debug("a listening socket cannot be quieted: %s (%d)", strerror(errno), errno);
    }
}

void sock_refuse(int listener)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;

    if (getsockname(listener, (struct sockaddr *)&address, &len) < 0) {
        return;
    }
    if (address.ss_family == AF_UNIX) {
        shutdown(listener, SHUT_RD);
    } else {
        drop_syn(listener);
    }
}

/* inet_ntop would do, with a printf. */
static void print_v4(const unsigned char bytes[4], char *out, size_t size)
{
    char text[4 * (3 + 1) + STR_U64_MAX];
    size_t n = 0;

    for (int i = 0; i < 4; i++) {
        n += str_put_u64(text + n, bytes[i]);
        text[n++] = i < 3 ? '.' : '\0';
    }
    memcpy(out, n <= size ? text : "-", n <= size ? n : 2);
}

void sock_ip(const struct sockaddr_storage *sa, char *out, size_t size)
{
    MUST(size >= 2);
    if (sa->ss_family == AF_INET) {
        print_v4((const unsigned char *)&((const struct sockaddr_in *)sa)->sin_addr, out, size);
        return;
    }
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;

    if (sa->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6)) {
        print_v4(&v6->s6_addr[12], out, size);
    } else if (sa->ss_family != AF_INET6 || !inet_ntop(AF_INET6, v6, out, (socklen_t)size)) {
        memcpy(out, "-", 2);
    }
}

uint16_t sock_port(const struct sockaddr_storage *sa)
{
    if (sa->ss_family == AF_INET) {
        return ntohs(((const struct sockaddr_in *)sa)->sin_port);
    }
    if (sa->ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
    }
    return 0;
}

#define DIAL_PATIENCE_S 20

int sock_dial(const char *path, int flags)
{
    const struct timeval patience = {.tv_sec = DIAL_PATIENCE_S};
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) > SOCK_PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd >= 0) { /* of connect(), too */
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}
