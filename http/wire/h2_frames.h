/* Where DATA frames begin in the bytes that an HTTP/2 client sends: nghttp2 does not tell of those that it
 * ignores. Pure function; the state is one connection's. */
#ifndef HTTP_WIRE_H2_FRAMES_H
#define HTTP_WIRE_H2_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#define H2_PREFACE_BYTES 24 /* before the first frame (RFC 9113, 3.4) */

struct h2_frames { /* {.left = H2_PREFACE_BYTES} to begin with */
    uint32_t left; /* bytes before the next frame's head */
    unsigned have; /* of the head */
    unsigned char head[9];
};

/* Takes n bytes up to the end of the next head of a DATA frame, whose stream is *id then; all of them, and
 * -1, where there is none. How many were taken. */
size_t h2_frames_next_data(struct h2_frames *f, const char *p, size_t n, int32_t *id);

#endif
