/* A client of HTTP/1 on a unix socket, for one thread, that waits in every call: it takes an answer as it
 * comes, slowly if asked to, and says whether all of it came. */
#ifndef TESTS_SUPPORT_HTTP_CLIENT_H
#define TESTS_SUPPORT_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

struct http_client {
    int fd;
    char input[65536];
    size_t at, n;    /* of input: used, filled */
    useconds_t rest; /* before each read */
    bool ended;      /* the connection has */
};

struct http_answer {
    int status;
    bool whole, packed, chunked; /* all of it came; gzip; in chunks */
    long length;                 /* -1: none was said */
    unsigned char *body;
    size_t n;
};

void http_client_join(struct http_client *c, const char *path);
void http_client_leave(struct http_client *c);
void http_client_send(struct http_client *c, const char *p, size_t n);
bool http_client_fill(struct http_client *c);                  /* reads once; false: that was the end */
struct http_answer http_client_receive(struct http_client *c); /* the body is the caller's to free */

#endif
