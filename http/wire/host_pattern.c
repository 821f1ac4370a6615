/* See host_pattern.h. */
#include "http/wire/host_pattern.h"

#include <string.h>

#define EXACT 0xffffu

struct str host_pattern_name(struct str host)
{
    for (size_t i = host.n; i > 0 && host.p[i - 1] != ']'; i--) {
        if (host.p[i - 1] == ':') {
            return (struct str){host.p, i - 1};
        }
    }
    return host;
}

unsigned host_pattern_fit(const char *names, struct str host)
{
    struct str rest = names ? str_of(names) : (struct str){"", 0}, name;
    unsigned best = 0;
    host = host_pattern_name(host);
    if (host.n > 1 && host.p[host.n - 1] == '.') {
        host.n--;
    }
    while (str_word(&rest, &name)) {
        unsigned fit = 0;
        if (name.n > 2 && name.p[0] == '*' && name.p[1] == '.') {
            struct str suffix = {name.p + 1, name.n - 1};
            struct str end = {host.p + host.n - suffix.n, suffix.n};
            fit = host.n > suffix.n && str_ieq(end, suffix) ? (unsigned)suffix.n : 0;
        } else if (str_ieq(name, host)) {
            fit = EXACT;
        }
        best = fit > best ? fit : best;
    }
    return best;
}
