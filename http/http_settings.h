/* The settings of the HTTP front end, one struct per pool. Read-only after the start. */
#ifndef HTTP_HTTP_SETTINGS_H
#define HTTP_HTTP_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/settings.h"
#include "engine/engine_settings.h"

#define STATIC_NO_CACHE (-1) /* may be kept, but is asked for each time */

/* Which rows somebody has set: what is not set may be the host's (site/sites.c), and what has no effect where
 * it is set is refused (site/owners.c). */
struct http_given {
    bool listen, tls_listen, server_name, routes, upstream, upstream_timeout, upstream_keep_alive,
        document_root, index, clean_urls, follow_symlinks, symlink_root, methods, loops, body_buffer,
        body_memory, body_files, response_buffer, response_files, max_body_size, header_timeout, idle_timeout,
        body_timeout, write_timeout, stream_timeout, handshake_timeout, queue_timeout, body_rate_min,
        max_connections, connections_per_client, queue_capacity, head_size, h2_max_streams, tls_redirect,
        tls_self_signed, tls_cert, tls_key, tls_certs, tls_client_ca, tls_ciphers, tls_ocsp_file,
        tls_client_verify, compression, compress_min, compress_types, gzip_level, brotli_level, zstd_level,
        static_cache_ttl, static_memory, cache, redirect_https, redirect, deny, basic_auth, basic_auth_realm,
        add_header, live_reload, trusted_proxies, proxy_protocol, rate_limit, rate_window, rate_kind,
        error_pages_dir, sendfile_root, security_headers, header_frame_options, header_content_type_options,
        header_referrer_policy, header_permissions_policy, header_csp, header_hsts, profile,
        request_id_headers, internal_listen, internal_token, access_log_format;
};

struct http_settings {
    char *listen;      /* http.listen: comma list of addresses; "tls:" prefix or http.tls_listen for TLS */
    char *tls_listen;  /* http.tls_listen */
    char *server_name; /* http.server_name: names for virtual hosts, blanks between */
    char *routes;      /* http.routes: path patterns that this pool claims on other pools' listeners */
    struct setting_pair *upstream; /* http.upstream[PATTERN] = ADDRESS of a FastCGI server */
    int64_t upstream_timeout;
    bool upstream_keep_alive;
    char *document_root;  /* http.document_root */
    char *index;          /* http.index: "", "index.php", "index.html" (FEATURES.md, routing modes) */
    bool clean_urls;      /* http.clean_urls */
    bool follow_symlinks; /* http.follow_symlinks: may point outside the document root */
    char *symlink_root;   /* http.symlink_root: or below this; NULL = none */
    char *methods;        /* http.methods; NULL = any token */
    int64_t loops;        /* http.loops; 0 = by CPU */
    int64_t body_buffer, max_body_size;
    int64_t body_memory, body_files; /* of all bodies of a process together */
    int64_t response_buffer, response_files;
    int64_t header_timeout, idle_timeout, body_timeout, write_timeout, stream_timeout, handshake_timeout,
        queue_timeout;
    int64_t body_rate_min; /* bytes a second an upload must keep up */
    int64_t max_connections, connections_per_client, queue_capacity;
    int64_t head_size; /* http.head_size: 32K */
    int64_t h2_max_streams;
    char *tls_cert, *tls_key, *tls_certs /* further pairs: "cert:key ..." for SNI */, *tls_client_ca,
        *tls_ciphers;
    char *tls_ocsp_file;
    bool tls_redirect;
    bool tls_self_signed;  /* http.tls_self_signed: tls_cert and tls_key, where they are not set */
    int tls_client_verify; /* 0 off 1 optional 2 required */
    bool compression;
    int64_t compress_min;
    char *compress_types;
    int64_t gzip_level, brotli_level, zstd_level;
    int64_t static_cache_ttl;   /* seconds; 0 = off, or STATIC_NO_CACHE */
    int64_t static_memory;      /* bytes of the hot-file cache */
    struct setting_pair *cache; /* PATTERN = TIME */
    bool redirect_https;
    struct setting_pair *redirect, *deny, *basic_auth, *add_header;
    char *basic_auth_realm;
    char *live_reload; /* path of the stream of events; NULL or "" = none */
    char *trusted_proxies;
    bool proxy_protocol;
    int64_t rate_limit, rate_window;
    int rate_kind; /* 0 fixed window, 1 token bucket */
    char *error_pages_dir;
    char *sendfile_root;
    bool security_headers;
    char *header_frame_options, *header_content_type_options, *header_referrer_policy,
        *header_permissions_policy, *header_csp, *header_hsts;
    bool profile, request_id_headers;
    char *internal_listen, *internal_token;
    struct http_given given;
    const struct config *config; /* all pools; no row: set by the check */
    char *access_log_format;     /* json, combined or a php-fpm format; the path is access.log */
};

extern const struct setting_table http_pool_table;

static inline struct http_settings *http_settings_of(const struct pool_conf *pool)
{
    return pool_frontend_settings(pool, "http");
}

#endif
