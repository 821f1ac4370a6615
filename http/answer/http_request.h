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

/* What is known of the name and the password that came with a request (site/basic_auth.c). */
enum password_state { PASSWORD_UNASKED, PASSWORD_ASKED, PASSWORD_FITS, PASSWORD_WRONG };

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
    bool foreign;                   /* target is no pool of ours */
    struct http_head *head; /* kept only where it is asked for later: sendfile_root, error_pages_dir, or while
                               a helper looks at a password */
    enum password_state password; /* the loop's */
    const char *user;             /* whose password has fitted; NULL: nobody was asked */
};

#endif
