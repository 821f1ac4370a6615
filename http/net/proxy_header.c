/* The PROXY protocol's header (versions 1 and 2) that a load balancer puts before a connection's first byte.
 * Pure function; any thread. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "http/net/limits.h"

#define V1_MAX 107 /* the standard's longest line */

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static bool read_port(struct str text, uint16_t *port)
{
    uint64_t value;
    if (text.n == 0 || text.n > 5 || !str_to_u64(text, &value) || value > 65535) {
        return false;
    }
    *port = htons((uint16_t)value);
    return true;
}

static bool read_ip(int family, struct str text, void *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    return inet_pton(family, copy, out) == 1;
}

/* "TCP4 1.2.3.4 5.6.7.8 1234 80", "UNKNOWN anything". */
static int parse_line(struct str line, struct sockaddr_storage *source, bool *local)
{
    struct str word[5] = {STR_NONE}, extra;
    int n = 0;
    while (n < 5 && str_split(&line, ' ', &word[n])) {
        n++;
    }
    if (str_eq(word[0], STR("UNKNOWN"))) {
        *local = true;
        return 0;
    }
    if (n < 5 || str_split(&line, ' ', &extra)) {
        return -1;
    }
    uint16_t port, to_port;
    struct in6_addr from, to;
    int family = str_eq(word[0], STR("TCP4")) ? AF_INET : str_eq(word[0], STR("TCP6")) ? AF_INET6 : AF_UNSPEC;
    if (family == AF_UNSPEC || !read_ip(family, word[1], &from) || !read_ip(family, word[2], &to) ||
        !read_port(word[3], &port) || !read_port(word[4], &to_port)) {
        return -1;
    }
    if (family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)source;
        v4->sin_family = AF_INET;
        v4->sin_port = port;
        memcpy(&v4->sin_addr, &from, sizeof(v4->sin_addr));
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)source;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = port;
        v6->sin6_addr = from;
    }
    *local = false;
    return 0;
}

static int parse_v1(const char *p, size_t n, struct sockaddr_storage *source, bool *local)
{
    const char *end = memchr(p, '\n', n < V1_MAX ? n : V1_MAX);
    if (end == NULL) {
        return n < V1_MAX ? 0 : -1;
    }
    if (end - p < 7 || end[-1] != '\r') {
        return -1;
    }
    struct str line = {p + 6, (size_t)(end - 1 - (p + 6))};
    return parse_line(line, source, local) == 0 ? (int)(end + 1 - p) : -1;
}

/* Behind the addresses there may be up to 64 KB of type-length-value extras, which nobody needs to have seen.
 */
static int parse_v2(const unsigned char *p, size_t n, struct sockaddr_storage *source, bool *local)
{
    if (n < 16) {
        return 0;
    }
    size_t length = (size_t)p[14] << 8 | p[15];
    unsigned version = p[12] >> 4, command = p[12] & 15, family = p[13] >> 4;
    size_t addresses = command != 1 ? 0 : family == 1 ? 12 : family == 2 ? 36 : 0;
    if (version != 2 || command > 1 || length < addresses) {
        return -1;
    }
    if (n < 16 + addresses) {
        return 0;
    }
    *local = addresses == 0; /* health checks of the balancer, and families without an address */
    if (addresses == 12) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)source;
        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, p + 16, 4);
        memcpy(&v4->sin_port, p + 24, 2);
    } else if (addresses == 36) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)source;
        v6->sin6_family = AF_INET6;
        memcpy(&v6->sin6_addr, p + 16, 16);
        memcpy(&v6->sin6_port, p + 48, 2);
    }
    return (int)(16 + length);
}

int proxy_header_parse(const char *p, size_t n, struct sockaddr_storage *source, bool *local)
{
    memset(source, 0, sizeof(*source));
    *local = false;
    if (n == 0) {
        return 0;
    }
    if (memcmp(p, signature, n < sizeof(signature) ? n : sizeof(signature)) == 0) {
        return parse_v2((const unsigned char *)p, n, source, local);
    }
    if (memcmp(p, "PROXY ", n < 6 ? n : 6) == 0) {
        return parse_v1(p, n, source, local);
    }
    return -1;
}
