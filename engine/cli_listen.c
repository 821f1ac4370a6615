/* See cli_listen.h. What is no address is left as it is: whoever listens says what is wrong with it. */
#include "engine/cli_listen.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/str.h"

#define PORT     "8080"
#define TLS_PORT "8443"

static bool is_port(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

/* Without a port: a name, an IPv4 address, or an IPv6 address with or without its brackets. */
static bool is_host(const char *text)
{
    size_t n = strlen(text);

    return n > 0 && (!strchr(text, ':') || (text[0] == '[' && text[n - 1] == ']'));
}

/* malloc'ed. Whoever means all addresses writes 0.0.0.0. */
static char *complete(const char *text, const char *port)
{
    struct in6_addr ip;

    if (strncmp(text, "unix:", 5) == 0) {
        return xstrdup(text + 5);
    }
    if (strchr(text, '/') || text[0] == '@') {
        return xstrdup(text);
    }
    if (is_port(text) || (text[0] == ':' && is_port(text + 1))) {
        return xasprintf("127.0.0.1:%s", text + (text[0] == ':'));
    }
    if (inet_pton(AF_INET6, text, &ip) == 1) {
        return xasprintf("[%s]:%s", text, port);
    }
    return is_host(text) ? xasprintf("%s:%s", text, port) : xstrdup(text);
}

static void append(char **list, const char *address)
{
    char *longer = *list ? xasprintf("%s,%s", *list, address) : xstrdup(address);

    free(*list);
    *list = longer;
}

struct cli_addresses cli_listen(const char *text, bool all_tls)
{
    struct cli_addresses out = {NULL, NULL};
    struct str rest = str_of(text), piece;

    while (str_split(&rest, ',', &piece)) {
        bool says_tls = false;

        for (piece = str_trim(piece); str_starts(piece, STR("tls:")); says_tls = true) {
            piece = (struct str){piece.p + 4, piece.n - 4};
        }
        if (piece.n == 0) {
            continue;
        }
        char *word = xstrndup(piece.p, piece.n);
        char *address = complete(word, says_tls || all_tls ? TLS_PORT : PORT);

        append(says_tls || all_tls ? &out.tls : &out.plain, address);
        free(address);
        free(word);
    }
    return out;
}
