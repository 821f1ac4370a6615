/* The path of a request, from the bytes of the request line to a name that may be looked up. Decoding happens
 * exactly once. Everything in a name that another reader (a proxy in front, the kernel) could understand
 * differently is refused instead of repaired: dot-dot segments, NUL, backslashes, encoded slashes, overlong
 * UTF-8. Pure functions without memory of their own; any thread. */
#include "http/wire/path.h"

#include <string.h>

/* Do two bytes begin a character in more bytes than it needs (the old disguise of "/" and ".")? */
static bool overlong(unsigned char first, unsigned char second)
{
    if ((second & 0xc0) != 0x80) {
        return false;
    }
    return first == 0xc0 || first == 0xc1 || (first == 0xe0 && second < 0xa0) ||
           (first == 0xf0 && second < 0x90);
}

/* The segment out[from..n) is complete. 0: keep it, 1: drop it ("."), else minus a status. */
static int judge_segment(const char *out, size_t from, size_t n)
{
    if (n == from || out[from] != '.') {
        return 0;
    }
    size_t length = n - from;
    if (length == 1) {
        return 1;
    }
    if (length == 2 && out[from + 1] == '.') {
        return -400;
    }
    bool well_known = from == 1 && length == 11 && memcmp(out + from, ".well-known", 11) == 0;
    return well_known ? 0 : -403;
}

/* A path under way. */
struct reading {
    char *out;
    size_t n, segment; /* bytes in out; where the last segment begins */
    bool hidden, unnameable;
};

/* The last segment is complete. 0, or -400. */
static int end_segment(struct reading *r)
{
    int verdict = judge_segment(r->out, r->segment, r->n);
    r->hidden |= verdict == -403;
    r->n = verdict == 1 ? r->segment : r->n;
    return verdict == -400 ? verdict : 0;
}

static bool is_script(struct reading *r, struct path_script *script)
{
    if (!script || r->hidden || r->unnameable || r->n == r->segment) {
        return false;
    }
    r->out[r->n] = '\0';
    return script->is_here(script->ctx, r->out, r->n);
}

/* By a slash that was not one of the path's own. How an application reads ".." then is not known, and rules
 * by path are held against the text in which it has taken its segment. */
static bool climbs(const struct reading *r)
{
    return strstr(r->out, "/../") || (r->n >= 3 && memcmp(r->out + r->n - 3, "/..", 3) == 0);
}

/* All segments are. */
static int verdict_of(struct reading *r, struct path_script *script)
{
    r->out[r->n] = '\0';
    if (r->unnameable) {
        if (script) {
            script->unnameable = !climbs(r);
        }
        return -400;
    }
    return r->hidden ? -403 : (int)r->n;
}

int path_name(struct str raw, char *out, struct path_script *script)
{
    struct reading r = {.out = out, .segment = 1};
    size_t i = 0;
    if (script) {
        script->rest = STR_NONE;
        script->unnameable = false;
    }
    if (raw.n == 0 || raw.p[0] != '/') {
        return -400;
    }
    while (i < raw.n) {
        bool slash = raw.p[i] == '/';
        int c = path_next_char(raw, &i);
        if (c < 0 || (slash && r.n > 0 && end_segment(&r) != 0)) {
            return -400;
        }
        if (slash && r.n > 0 && out[r.n - 1] == '/') {
            continue; /* "//" is "/" */
        }
        if (slash && is_script(&r, script)) {
            script->rest = (struct str){raw.p + i - 1, raw.n - i + 1};
            return (int)r.n;
        }
        if (r.n == PATH_TEXT_MAX) {
            return -414;
        }
        r.unnameable |= (!slash && (c == '/' || c == '\\')) ||
                        (r.n > r.segment && overlong((unsigned char)out[r.n - 1], (unsigned char)c));
        out[r.n++] = (char)c;
        r.segment = slash ? r.n : r.segment;
    }
    return end_segment(&r) != 0 ? -400 : verdict_of(&r, script);
}

size_t path_encode(struct str path, char *out, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (n + 4 > size) {
            return 0;
        }
        if (alnum || (c != 0 && strchr("/-._~!$&'()*+,;=:@", c) != NULL)) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    out[n] = '\0';
    return n;
}
