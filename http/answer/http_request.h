/* What a client asked for, as HTTP knows it, beside the struct request that PHP and the engine see. The
 * loop's until the request is submitted; from then on the worker's (its body), and else read-only for both.
 * Texts are the exchange's arena's. */
#ifndef HTTP_ANSWER_HTTP_REQUEST_H
#define HTTP_ANSWER_HTTP_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "http/answer/body.h"
#include "http/content/compress.h"
#include "http/content/site.h"
#include "http/net/limits.h"
#include "http/wire/head.h"

struct upstream_target;

struct http_request {
    struct body body;
    struct client client;
    const char *local_ip;
    bool head_only; /* HEAD */
    bool h2;
    bool keep_alive;                /* h1: the client's wish */
    enum coding coding;             /* that the client accepts best */
    unsigned tag_codings;           /* bits of codings whose tags it has (If-None-Match); 1: of none */
    bool profile;                   /* the client asked for X-Profile fields */
    uint64_t tls_us;                /* of its connection's handshake, if it did */
    const struct http_site *site;   /* whose files, pages and settings */
    struct upstream_target *target; /* NULL: this process's workers run it */
    struct http_head *head; /* kept only where it is asked for later: sendfile_root, error_pages_dir */
};

#endif
