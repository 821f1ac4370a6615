/* Who the client is. What a request says of itself (X-Forwarded-*, Forwarded) is believed only when the peer
 * is a proxy that the configuration trusts, and read from the right: the last entry was written by the peer,
 * the one before it by whoever the peer talked to, and so on as long as these are trusted too. So a client
 * can write what it likes into these fields. X-Forwarded-For comes first, because proxies that write it often
 * pass a client's Forwarded on unread. Pure functions but for the list, which is read-only; any thread. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/sock.h"
#include "http/net/limits.h"
#include "http/wire/forwarded.h"

/* -- lists of networks -- */

/* IPv4 as IPv4-mapped IPv6, so that there is one kind. */
struct network {
    unsigned char address[16];
    unsigned bits;
};

struct cidr_list {
    bool unix_peers; /* the word "unix": peers on a unix socket */
    size_t count;
    struct network networks[];
};

static const unsigned char mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool address_bytes(const struct sockaddr_storage *sa, unsigned char out[16])
{
    if (sa->ss_family == AF_INET) {
        memcpy(out, mapped_prefix, 12);
        memcpy(out + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
        return true;
    }
    if (sa->ss_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
        return true;
    }
    return false;
}

static bool bits_equal(const unsigned char *a, const unsigned char *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0) {
        return false;
    }
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/* "10.0.0.0/8", "::1", "2001:db8::/32". */
static bool read_network(const char *word, struct network *out)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(word, '/');
    size_t n = slash != NULL ? (size_t)(slash - word) : strlen(word);
    uint64_t bits = 128;
    if (n >= sizeof(address) || (slash != NULL && !str_to_u64(str_of(slash + 1), &bits))) {
        return false;
    }
    memcpy(address, word, n);
    address[n] = '\0';
    if (inet_pton(AF_INET, address, out->address + 12) == 1) {
        memcpy(out->address, mapped_prefix, 12);
        bits = slash != NULL ? bits + 96 : 128;
        if (bits > 128) {
            return false;
        }
    } else if (inet_pton(AF_INET6, address, out->address) != 1 || bits > 128) {
        return false;
    }
    out->bits = (unsigned)bits;
    return true;
}

struct cidr_list *cidr_list_parse(const char *text, char *error, size_t error_size)
{
    size_t most = strlen(text) / 2 + 1;
    struct cidr_list *list = calloc(1, sizeof(*list) + most * sizeof(list->networks[0]));
    char *copy = strdup(text), *state = NULL;
    if (list == NULL || copy == NULL) {
        snprintf(error, error_size, "out of memory");
        free(list);
        free(copy);
        return NULL;
    }
    for (char *word = strtok_r(copy, " \t,", &state); word != NULL; word = strtok_r(NULL, " \t,", &state)) {
        if (strcmp(word, "unix") == 0) {
            list->unix_peers = true;
        } else if (!read_network(word, &list->networks[list->count++])) {
            snprintf(error, error_size, "expected an address, a network (10.0.0.0/8) or \"unix\", not \"%s\"",
                     word);
            free(copy);
            free(list);
            return NULL;
        }
    }
    free(copy);
    return list;
}

bool cidr_list_has(const struct cidr_list *list, const struct sockaddr_storage *sa)
{
    unsigned char address[16];
    if (list == NULL) {
        return false;
    }
    if (!address_bytes(sa, address)) {
        return sa->ss_family == AF_UNIX && list->unix_peers;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (bits_equal(address, list->networks[i].address, list->networks[i].bits)) {
            return true;
        }
    }
    return false;
}

void cidr_list_free(struct cidr_list *list)
{
    free(list);
}

/* -- addresses as proxies write them -- */

/* "1.2.3.4", "1.2.3.4:80", "2001:db8::1", "[2001:db8::1]:80". */
static bool read_address(struct str text, struct sockaddr_storage *out)
{
    char host[64];
    uint64_t port = 0;
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    struct str left = text, right = STR_NONE;
    bool bracket = text.n > 0 && text.p[0] == '[';
    const char *colon = text.n > 0 ? memrchr(text.p, ':', text.n) : NULL;
    if (bracket) {
        const char *close = memchr(text.p, ']', text.n);
        if (close == NULL) {
            return false;
        }
        left = (struct str){text.p + 1, (size_t)(close - text.p) - 1};
        right = (struct str){close + 1, text.n - left.n - 2};
    } else if (colon != NULL && memchr(text.p, ':', text.n) == colon) {
        left = (struct str){text.p, (size_t)(colon - text.p)};
        right = (struct str){colon, text.n - left.n};
    }
    if (right.n > 0 &&
        (right.p[0] != ':' || !str_to_u64((struct str){right.p + 1, right.n - 1}, &port) || port > 65535)) {
        return false;
    }
    if (left.n == 0 || left.n >= sizeof(host)) {
        return false;
    }
    memcpy(host, left.p, left.n);
    host[left.n] = '\0';
    memset(out, 0, sizeof(*out));
    if (!bracket && inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        return true;
    }
    return false;
}

#define MAX_HOPS 32 /* what is further away than that can't be relied on */

/* -- the client -- */

static struct str valid_host(struct str host)
{
    if (host.n == 0 || host.n > 255) {
        return STR_NONE;
    }
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && (c == '\0' || strchr(".-_:[]", c) == NULL)) {
            return STR_NONE;
        }
    }
    return host;
}

static void note_scheme(struct str scheme, struct client *out)
{
    bool https = str_ieq(scheme, STR("https")) || str_ieq(scheme, STR("wss"));
    if (https || str_ieq(scheme, STR("http")) || str_ieq(scheme, STR("ws"))) {
        out->https = https;
        out->scheme_said = true;
    }
}

/* Walks back over trusted hops; out->address becomes the first that is not trusted, or the last that could be
 * read. Gives the entry that says so, STR_NONE if there is none; *steps: how many are behind it. */
static struct str walk(const struct cidr_list *trusted, struct forwarded *list, struct client *out,
                       int *steps)
{
    struct str hop, found = STR_NONE;
    *steps = 0;
    for (int i = 0; i < MAX_HOPS && forwarded_back(list, &hop); i++) {
        struct sockaddr_storage address;
        struct str text = list->elements ? forwarded_param(hop, STR("for")) : hop;
        if (!read_address(text, &address)) {
            break; /* "unknown", or an obfuscated name: nothing further left can be relied on */
        }
        out->address = address;
        found = hop;
        *steps = i;
        if (!cidr_list_has(trusted, &address)) {
            break;
        }
    }
    return found;
}

/* The entry `steps` before the peer's own, or the first if there are fewer: not every proxy adds to every
 * list.
 */
static bool entry_at(const struct http_head *head, struct str name, int steps, struct str *entry)
{
    struct forwarded list;
    bool found = false;
    forwarded_begin(&list, head, name);
    while (steps-- >= 0 && forwarded_back(&list, entry)) {
        found = true;
    }
    return found;
}

/* The other lists grow with X-Forwarded-For: what the client's own proxy said of it stands at the same place.
 */
static void from_x_forwarded(const struct cidr_list *trusted, const struct http_head *head,
                             struct client *out)
{
    struct forwarded list;
    struct str entry;
    uint64_t port;
    int steps;
    forwarded_begin(&list, head, STR("X-Forwarded-For"));
    walk(trusted, &list, out, &steps);
    if (entry_at(head, STR("X-Forwarded-Proto"), steps, &entry)) {
        note_scheme(entry, out);
    }
    if (entry_at(head, STR("X-Forwarded-Host"), steps, &entry)) {
        out->host = valid_host(entry);
    }
    if (entry_at(head, STR("X-Forwarded-Port"), steps, &entry) && str_to_u64(entry, &port) && port > 0 &&
        port <= 65535) {
        out->server_port = (uint16_t)port;
    }
}

static void from_forwarded(const struct cidr_list *trusted, const struct http_head *head, struct str last,
                           struct client *out)
{
    struct forwarded list;
    int steps;
    forwarded_begin(&list, head, STR("Forwarded"));
    struct str element = walk(trusted, &list, out, &steps);
    element = element.p ? element : last;
    note_scheme(forwarded_param(element, STR("proto")), out);
    out->host = valid_host(forwarded_param(element, STR("host")));
}

void client_resolve(const struct cidr_list *trusted, const struct sockaddr_storage *peer, bool tls,
                    const struct http_head *head, struct client *out)
{
    out->address = *peer;
    out->https = tls;
    out->host = STR_NONE;
    out->server_port = 0;
    out->scheme_said = false;
    if (cidr_list_has(trusted, peer)) {
        struct str last;
        if (!entry_at(head, STR("X-Forwarded-For"), 0, &last) && entry_at(head, STR("Forwarded"), 0, &last)) {
            from_forwarded(trusted, head, last, out);
        } else {
            from_x_forwarded(trusted, head, out);
        }
    }
    sock_ip(&out->address, out->ip, sizeof(out->ip));
    out->port = sock_port(&out->address);
}
