/* A request's body between the loop that receives it and the worker that reads it: in memory at first, beyond
 * http.body_buffer, or when the bodies of the process together have as much memory as they may, in a
 * temporary file without a name. One thread at a time: the loop's until the request is submitted, the
 * worker's afterwards. */
#ifndef HTTP_ANSWER_BODY_H
#define HTTP_ANSWER_BODY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What all bodies of this process may take together, in bytes. Before the loops start. */
void http_body_limits(uint64_t memory, uint64_t files);

struct body {
    char *p;
    size_t n, size; /* in memory */
    int fd;         /* -1: everything is in memory */
    uint64_t filed; /* bytes of the file */
    uint64_t total; /* bytes received */
    uint64_t read;  /* bytes handed to the worker */
};

void http_body_init(struct body *b);
/* expected: of the whole body, -1 unknown. 0, or -1 with errno: no memory, no disk, or no more
 * of what the process may take (EDQUOT). */
int http_body_add(struct body *b, const char *p, size_t n, int64_t expected, size_t memory_limit);
ssize_t http_body_read(struct body *b, char *out, size_t n); /* 0 = end, -1 = error */
void http_body_free(struct body *b);

#endif
