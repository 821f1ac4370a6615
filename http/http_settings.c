/* The rows of http.*: names, defaults, bounds, help. Data only. */
#include "http/http_settings.h"

#include <stddef.h>

#include "http/net/front.h"

#define AT(field) offsetof(struct http_settings, field)
#define ROW(whose, key, kind, field, value, text, ...)                                                       \
    {                                                                                                        \
        .name = "http." key, .type = SETTING_##kind, .offset = AT(field), .initial = value, .help = text,    \
        .owner = OWNER_##whose, .given_offset = AT(given.field), ##__VA_ARGS__                               \
    }

static const char *const rate_words[] = {"window", "bucket", NULL};
static const char *const ttl_words[] = {"no-cache", NULL};
static const char *const verify_words[] = {"off", "optional", "required", NULL};

#define COMPRESS_TYPES                                                                                       \
    "text/* application/javascript application/json application/xml application/xhtml+xml "                  \
    "application/rss+xml application/atom+xml application/ld+json application/manifest+json "                \
    "application/wasm application/problem+json image/svg+xml font/ttf font/otf"

static const struct setting_row rows[] = {
    ROW(POOL, "listen", STRING, listen, NULL,
        "addresses to serve HTTP on, separated by commas; tls:ADDRESS for TLS", .environment = "LISTEN_ADDR",
        .reachable = true),
    ROW(POOL, "tls_listen", STRING, tls_listen, NULL, "addresses to serve HTTPS on, separated by commas",
        .reachable = true),
    ROW(POOL, "server_name", STRING, server_name, NULL,
        "host names of this pool, separated by blanks; *.example.org for all below; without an address of "
        "its "
        "own the pool answers to them on every http.listen",
        .reachable = true),
    ROW(POOL, "routes", STRING, routes, NULL,
        "paths that run in this pool whichever pool's http.listen they came to, separated by blanks; * is "
        "any "
        "run of characters; the first pool that matches has them",
        .reachable = true),
    ROW(HOST, "upstream", MAP, upstream, NULL,
        "http.upstream[PATTERN] = HOST:PORT or /PATH.sock: a FastCGI server that runs such paths",
        .open = true),
    ROW(HOST, "upstream_timeout", TIME, upstream_timeout, "60s",
        "longest silence of an http.upstream server before the client gets 504", .min = 1, .max = 86400),
    ROW(HOST, "upstream_keep_alive", BOOL, upstream_keep_alive, "no",
        "keeps connections to http.upstream servers; php-fpm holds a worker for each"),
    ROW(FILES, "document_root", PATH, document_root, NULL, "the directory that is served",
        .environment = "DOCUMENT_ROOT"),
    ROW(FILES, "index", STRING, index, "",
        "empty: traditional; index.php: front controller; index.html: single-page application; /index.php: "
        "traditional, unknown paths run it; nearest:index.php: traditional, unknown paths run the nearest "
        "one "
        "above them",
        .environment = "INDEX_FILE"),
    ROW(FILES, "clean_urls", BOOL, clean_urls, "no", "/about runs about.php"),
    ROW(FILES, "follow_symlinks", BOOL, follow_symlinks, "no",
        "symbolic links may lead out of the document root"),
    ROW(FILES, "symlink_root", PATH, symlink_root, NULL,
        "directory around the document root that its symbolic links may lead to, too"),
    ROW(SITE, "methods", STRING, methods, NULL, "methods that are let through; others get 405; empty = all"),
    ROW(LISTENER, "loops", INT, loops, "0", "event loop threads per engine process; 0 = one for two CPUs",
        .min = 0, .max = 64),
    ROW(SITE, "body_buffer", SIZE, body_buffer, "1M", "a larger request body goes to a temporary file",
        .min = 0, .max = 1 << 30),
    ROW(LISTENER, "body_memory", SIZE, body_memory, "64M",
        "memory of all request bodies in an engine process together; what comes beyond it goes to temporary "
        "files",
        .min = 0, .max = 1LL << 40),
    ROW(LISTENER, "body_files", SIZE, body_files, "4G",
        "the same of their temporary files; beyond it requests are refused with 503 and Retry-After",
        .min = 0, .max = 1LL << 50),
    ROW(SITE, "response_buffer", SIZE, response_buffer, "16M",
        "so much of a response waits for a client that reads slowly, most of it in a temporary file, and its "
        "worker is free; 0 = the worker waits",
        .min = 0, .max = 1LL << 40),
    ROW(LISTENER, "response_files", SIZE, response_files, "4G",
        "all temporary files of responses in an engine process together; beyond it workers wait", .min = 0,
        .max = 1LL << 50),
    ROW(SITE, "max_body_size", SIZE, max_body_size, "64M", "a larger request body is refused with 413",
        .min = 0, .max = 1LL << 40),
    ROW(LISTENER, "header_timeout", TIME, header_timeout, "5s",
        "time in which a request head must have arrived", .min = 1, .max = 3600,
        .environment = "HEADER_TIMEOUT_SECS"),
    ROW(LISTENER, "idle_timeout", TIME, idle_timeout, "60s", "how long an idle connection is kept", .min = 1,
        .max = 86400, .environment = "IDLE_TIMEOUT_SECS"),
    ROW(SITE, "body_timeout", TIME, body_timeout, "30s", "longest pause in a request body", .min = 1,
        .max = 3600),
    ROW(SITE, "write_timeout", TIME, write_timeout, "60s",
        "longest pause of a client that reads its response", .min = 1, .max = 3600),
    ROW(SITE, "stream_timeout", TIME, stream_timeout, "30m",
        "how long a streamed response may take; 0 = no limit", .environment = "SSE_TIMEOUT", .min = 0,
        .max = 86400),
    ROW(LISTENER, "handshake_timeout", TIME, handshake_timeout, "10s", "time for a TLS handshake", .min = 1,
        .max = 3600),
    ROW(POOL, "queue_timeout", TIME, queue_timeout, "30s",
        "a request that waits longer for a worker is answered with 503; 0 = waits as long as the client",
        .min = 0, .max = 86400),
    ROW(SITE, "body_rate_min", SIZE, body_rate_min, "512",
        "bytes a second that a request body must keep up on average; 0 = any", .min = 0, .max = 1LL << 30),
    ROW(LISTENER, "max_connections", INT, max_connections, "0",
        "connections per engine process; 0 = as many as descriptors allow", .min = 0, .max = 10000000),
    ROW(LISTENER, "connections_per_client", INT, connections_per_client, "0",
        "connections per client address; 0 = no limit", .min = 0, .max = 1000000),
    ROW(POOL, "queue_capacity", INT, queue_capacity, "0",
        "requests that may wait for workers; 0 = workers x 100", .min = 0, .max = 10000000,
        .environment = "QUEUE_CAPACITY"),
    ROW(LISTENER, "head_size", SIZE, head_size, "32K", "largest request head", .min = 1024, .max = 65536),
    ROW(LISTENER, "h2_max_streams", INT, h2_max_streams, "128", "concurrent streams of an HTTP/2 connection",
        .min = 1, .max = 1000),
    ROW(LISTENER, "tls_redirect", BOOL, tls_redirect, "no",
        "plain HTTP on a TLS address is sent to https:// (308); otherwise it is answered with 400"),
    ROW(POOL, "tls_cert", PATH, tls_cert, NULL, "certificate chain (PEM); read again when it changes",
        .environment = "TLS_CERT"),
    ROW(POOL, "tls_key", PATH, tls_key, NULL, "private key (PEM); read again when it changes",
        .environment = "TLS_KEY"),
    ROW(POOL, "tls_self_signed", BOOL, tls_self_signed, "no",
        "for development: without http.tls_cert a certificate for localhost, mkcert's where that program is; "
        "kept in ~/.local/share/tokiophp"),
    ROW(POOL, "tls_certs", STRING, tls_certs, NULL, "further certificates for SNI: \"cert:key cert:key\""),
    ROW(HOST, "tls_client_ca", PATH, tls_client_ca, NULL,
        "certificate authorities of client certificates (PEM)"),
    ROW(HOST, "tls_ciphers", STRING, tls_ciphers, NULL,
        "TLS 1.2 ciphers; empty = Mozilla's intermediate list"),
    ROW(HOST, "tls_ocsp_file", PATH, tls_ocsp_file, NULL,
        "OCSP response to staple (DER); read again when it changes"),
    ROW(HOST, "tls_client_verify", WORD, tls_client_verify, "off", "client certificates",
        .words = verify_words),
    ROW(SITE, "compression", BOOL, compression, "yes", "brotli, gzip and zstd by Accept-Encoding"),
    ROW(SITE, "compress_min", SIZE, compress_min, "256", "smaller responses are not compressed", .min = 0,
        .max = 1LL << 30),
    ROW(SITE, "compress_types", STRING, compress_types, COMPRESS_TYPES, "media types that are compressed"),
    ROW(SITE, "gzip_level", INT, gzip_level, "5", "1 fast to 9 small", .min = 1, .max = 9),
    ROW(SITE, "brotli_level", INT, brotli_level, "4", "0 fast to 11 small", .min = 0, .max = 11),
    ROW(SITE, "zstd_level", INT, zstd_level, "3", "1 fast to 19 small", .min = 1, .max = 19),
    ROW(FILES, "static_cache_ttl", TIME, static_cache_ttl, "1d",
        "Cache-Control: max-age of static files; off = no such field, no-cache = ask each time",
        .environment = "STATIC_CACHE_TTL", .words = ttl_words, .word_value = STATIC_NO_CACHE, .min = 0,
        .max = 31536000),
    ROW(FILES, "static_memory", SIZE, static_memory, "32M", "memory for hot static files; 0 = none", .min = 0,
        .max = 1LL << 40),
    ROW(FILES, "cache", MAP, cache, NULL,
        "http.cache[PATTERN] = TIME: http.static_cache_ttl of the static files below such paths",
        .open = true),
    ROW(SITE, "redirect_https", BOOL, redirect_https, "no",
        "plain HTTP is sent to https:// (308), except for /.well-known/acme-challenge/"),
    ROW(SITE, "redirect", MAP, redirect, NULL,
        "http.redirect[/old/*] = /new/*: such paths are sent there; 302, or the status in front of the "
        "target",
        .open = true),
    ROW(SITE, "deny", MAP, deny, NULL, "http.deny[PATTERN] = yes, 403, 404 or 410: such paths are refused",
        .open = true),
    ROW(SITE, "basic_auth", MAP, basic_auth, NULL,
        "http.basic_auth[PATTERN] = FILE: such paths ask for a name and a password that the file of "
        "htpasswd's "
        "has; no = nobody is asked; the first pattern that fits counts; read again when the file changes",
        .open = true),
    ROW(SITE, "basic_auth_realm", STRING, basic_auth_realm, NULL,
        "what browsers call the place that they ask the password for; empty = the pool's name"),
    ROW(SITE, "add_header", MAP, add_header, NULL,
        "http.add_header[NAME] = VALUE: a field of every response that has none of that name", .open = true),
    ROW(SITE, "live_reload", STRING, live_reload, NULL,
        "path at which pages learn that the pool has begun anew (worker.watch), and load themselves again; "
        "for "
        "development"),
    ROW(SITE, "trusted_proxies", STRING, trusted_proxies, NULL,
        "networks whose X-Forwarded-* and Forwarded are believed, separated by blanks or commas"),
    ROW(LISTENER, "proxy_protocol", BOOL, proxy_protocol, "no",
        "connections begin with a PROXY protocol header"),
    ROW(SITE, "rate_limit", INT, rate_limit, "0",
        "requests per client address and http.rate_window; 0 = no limit", .min = 0, .max = 1000000000,
        .environment = "RATE_LIMIT"),
    ROW(SITE, "rate_window", TIME, rate_window, "60s", "the window of http.rate_limit", .min = 1,
        .max = 86400, .environment = "RATE_WINDOW"),
    ROW(SITE, "rate_kind", WORD, rate_kind, "window",
        "window: http.rate_limit requests in each window; bucket: so many at once, refilled evenly over a "
        "window",
        .words = rate_words),
    ROW(SITE, "error_pages_dir", PATH, error_pages_dir, NULL, "directory of 404.html, 500.html, ...",
        .environment = "ERROR_PAGES_DIR"),
    ROW(SITE, "sendfile_root", PATH, sendfile_root, NULL,
        "directory of the files that X-Accel-Redirect and X-Sendfile may name; without it an answer with "
        "either is "
        "500"),
    ROW(SITE, "security_headers", BOOL, security_headers, "no",
        "adds the http.header_* fields to every response"),
    ROW(SITE, "header_frame_options", STRING, header_frame_options, "SAMEORIGIN", "X-Frame-Options"),
    ROW(SITE, "header_content_type_options", STRING, header_content_type_options, "nosniff",
        "X-Content-Type-Options"),
    ROW(SITE, "header_referrer_policy", STRING, header_referrer_policy, "strict-origin-when-cross-origin",
        "Referrer-Policy"),
    ROW(SITE, "header_permissions_policy", STRING, header_permissions_policy, NULL, "Permissions-Policy"),
    ROW(SITE, "header_csp", STRING, header_csp, NULL, "Content-Security-Policy"),
    ROW(SITE, "header_hsts", STRING, header_hsts, NULL, "Strict-Transport-Security; sent over TLS only"),
    ROW(SITE, "profile", BOOL, profile, "no",
        "X-Profile: 1 in a request asks for timing fields in the response", .environment = "PROFILE",
        .environment_shared = true),
    ROW(SITE, "request_id_headers", BOOL, request_id_headers, "yes",
        "X-Request-ID and traceparent in every response"),
    ROW(POOL, "internal_listen", STRING, internal_listen, NULL, "address of health checks and metrics",
        .environment = "INTERNAL_ADDR"),
    ROW(POOL, "internal_token", STRING, internal_token, NULL,
        "token that http.internal_listen asks for, except for /health and /metrics; without one the other "
        "pages are for this machine alone, which is every user and every pool's scripts on it",
        .secret = true, .environment = "INTERNAL_TOKEN"),
    ROW(POOL, "access_log_format", STRING, access_log_format, NULL,
        "json, combined, or a format as in access.format; empty = access.format"),
};

const struct setting_table http_pool_table = {
    .scope = SCOPE_POOL,
    .rows = rows,
    .count = sizeof rows / sizeof rows[0],
    .struct_size = sizeof(struct http_settings),
};
