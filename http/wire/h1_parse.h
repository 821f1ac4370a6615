/* HTTP/1 on the wire, as pure functions over bytes: the end of a head, the head itself, chunked bodies. No
 * I/O, no allocation, no state but what the caller holds: any thread. A head points into the caller's bytes.
 * The reading is strict on purpose: whatever another server on the path could frame differently is refused.
 */
#ifndef HTTP_WIRE_H1_PARSE_H
#define HTTP_WIRE_H1_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/wire/head.h"

/* Refusals are negative HTTP status codes; the connection ends after each of them. */
enum h1_verdict {
    H1_MORE = 0,
    H1_BAD = -400,
    H1_URI_TOO_LONG = -414,
    H1_EXPECTATION = -417,
    H1_TOO_LARGE = -431,
    H1_CODING = -501, /* a transfer coding other than chunked */
    H1_VERSION = -505,
};

#define H1_MAX_TARGET 8192 /* a longer request target is 414 */

/* What the framing fields of a head say. */
struct h1_facts {
    bool keep_alive;
    bool chunked;
    bool expect_continue;
    bool upgrade_h2c; /* Upgrade: h2c with Connection: upgrade, http2-settings and exactly one settings field
                       */
    struct str h2_settings; /* HTTP2-Settings, base64url as received */
};

/* Length of a complete head (its empty line included), H1_MORE, or a refusal that needs no more bytes.
 * *scanned is where the search goes on next time: zero at first, so that a head is looked through once
 * however small its pieces are. limit: bytes a head may have. */
ptrdiff_t h1_parse_end(const char *p, size_t n, size_t limit, size_t *scanned);

/* A complete head of n bytes. 0 or a refusal. */
int h1_parse_head(const char *p, size_t n, struct http_head *head, struct h1_facts *facts);

/* Whether p is a valid Host value (or :authority): name, IPv4 or [IPv6], with an optional port. */
bool h1_parse_host_ok(struct str host);
/* Splits target into path and query; false if it holds what no request target may hold. */
bool h1_parse_target(struct str target, struct http_head *head);
bool h1_parse_token(struct str s); /* a non-empty RFC 9110 token */

/* -- chunked bodies -- */
enum h1_chunk_state {
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER_START,
    CHUNK_TRAILER_NAME,
    CHUNK_TRAILER_VALUE,
    CHUNK_TRAILER_LF,
    CHUNK_END_LF,
    CHUNK_DONE,
};

struct h1_chunks { /* zero to begin with */
    enum h1_chunk_state state;
    uint64_t left;     /* of the chunk's data */
    uint32_t digits;   /* of the size that is being read, from the first on that is not zero */
    bool digit, blank; /* the size has begun; it is over, and an extension has to come */
    uint32_t overhead; /* bytes of extensions and trailers so far; bounded for the whole body */
    uint32_t trailers;
};

enum h1_chunk_result { H1_CHUNK_MORE, H1_CHUNK_DATA, H1_CHUNK_END, H1_CHUNK_BAD };

/* Takes some of the n bytes: *used of them. DATA: *data is a piece of the body (inside p), call again.
 * MORE: all were used. END: the body and its trailers are complete; what follows is not part of it.
 * Trailers are checked and dropped. */
enum h1_chunk_result h1_chunks_next(struct h1_chunks *c, const char *p, size_t n, size_t *used,
                                    struct str *data);

#endif
