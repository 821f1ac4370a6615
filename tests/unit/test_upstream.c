/* Requests that another process runs, from HTTP to FastCGI and back: the whole front end on three loops, with
 * real sockets on both sides and no PHP. What the thread sanitizer is to see: loops, helpers that compress,
 * clients and servers that are slow, leave or die, and an end in the middle of everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool.h"
#include "http/http.h"
#include "tests/support/fcgi_peer.h"
#include "tests/support/http_client.h"

#define CLIENTS 6

static char directory[] = "/tmp/test_upstream-XXXXXX";
static char http_path[64], peer_path[64], config_path[64];
static int said_fd;

/* -- the server -- */

static struct config *config;
static struct scoreboard *board;
static struct pool *pool;
static struct listener *listeners;
static struct fcgi_peer *peer;

static void load_config(int patience_s)
{
    FILE *file = fopen(config_path, "w");
    assert_non_null(file);
    fprintf(file,
            "[www]\nengine = stub\npm = static\npm.max_children = 1\nhttp.listen = %s\nhttp.loops = 3\n"
            "http.document_root = %s\nhttp.upstream[/far/*] = %s\nhttp.upstream_keep_alive = yes\n"
            "http.upstream_timeout = %ds\n",
            http_path, directory, peer_path, patience_s);
    fclose(file);
    const struct cli_options cli = {.config_path = config_path, .daemonize = -1, .allow_root = true};
    config = config_load(&cli);
    assert_non_null(config);
}

/* patience_s: with a peer that says nothing. */
static void start_with(int patience_s)
{
    char error[256];
    load_config(patience_s);
    assert_int_equal(http_frontend.listeners(config->pools, &listeners), 0);
    listeners->fd = sock_listen(&listeners->address, &listeners->options, error, sizeof error);
    assert_true(listeners->fd >= 0);
    board = scoreboard_create(config->pools);
    assert_non_null(board);
    pool = pool_create(config->pools, &stub_executor, board, 1);
    assert_non_null(pool);
    assert_int_equal(http_frontend.start(pool, listeners), 0);
    assert_int_equal(http_frontend.open(pool), 0);
    peer = fcgi_peer_start(peer_path);
}

static void start(void)
{
    start_with(20);
}

static void stop(void)
{
    http_frontend.drain(pool);
    http_frontend.stop(pool);
    fcgi_peer_stop(peer);
    assert_true(pool_stop(pool));
    pool_destroy(pool);
    scoreboard_destroy(board);
    close(listeners->fd);
    free(listeners);
    listeners = NULL;
    config_free(config);
    unlink(http_path);
}

/* -- a client -- */

struct client {
    struct http_client http;
    int number;
    unsigned failures;
    pthread_t thread;
};

static void join(struct client *c)
{
    http_client_join(&c->http, http_path);
}

static void leave(struct client *c)
{
    http_client_leave(&c->http);
}

static void ask(struct client *c, const char *query, bool packed, size_t body_n)
{
    char head[256];
    char *body = calloc(1, body_n + 1);
    int n =
        snprintf(head, sizeof head, "%s /far/x.php?%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n",
                 body_n ? "POST" : "GET", query, packed ? "Accept-Encoding: gzip\r\n" : "", body_n);
    http_client_send(&c->http, head, (size_t)n);
    http_client_send(&c->http, body, body ? body_n : 0);
    free(body);
}

static void unpack(struct http_answer *a)
{
    z_stream z = {.next_in = a->body, .avail_in = (unsigned)a->n};
    size_t size = 4 << 20;
    unsigned char *plain = malloc(size);
    z.next_out = plain;
    z.avail_out = (unsigned)size;
    a->whole &=
        plain && inflateInit2(&z, 31) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_in == 0;
    inflateEnd(&z);
    free(a->body);
    a->body = plain;
    a->n = size - z.avail_out;
}

/* The body is the caller's to free. */
static struct http_answer receive(struct client *c)
{
    struct http_answer a = http_client_receive(&c->http);
    if (a.packed && a.whole) {
        unpack(&a);
    }
    return a;
}

static bool is_text(const struct http_answer *a, size_t n)
{
    bool good = a->whole && a->status == 200 && a->n == n;
    for (size_t i = 0; good && i < n; i++) {
        good = (char)a->body[i] == fcgi_peer_text(i);
    }
    return good;
}

/* -- many at once -- */

static struct client clients[8 * CLIENTS];

static void start_clients(unsigned count, void *(*fn)(void *client))
{
    memset(clients, 0, sizeof clients);
    for (unsigned i = 0; i < count; i++) {
        clients[i].number = (int)i;
        assert_int_equal(pthread_create(&clients[i].thread, NULL, fn, &clients[i]), 0);
    }
}

static unsigned await_clients(unsigned count)
{
    unsigned failures = 0;
    for (unsigned i = 0; i < count; i++) {
        pthread_join(clients[i].thread, NULL);
        failures += clients[i].failures;
    }
    return failures;
}

static bool ask_text(struct client *c, size_t n, bool packed)
{
    char query[32];
    snprintf(query, sizeof query, "page=%zu", n);
    ask(c, query, packed, 0);
    struct http_answer a = receive(c);
    bool good = is_text(&a, n) && a.packed == (packed && n >= 256);
    free(a.body);
    return good;
}

static bool ask_for(struct client *c, const char *query, bool packed, size_t body_n, const char *wanted)
{
    ask(c, query, packed, body_n);
    struct http_answer a = receive(c);
    bool good = a.whole && a.status == 200 && a.n == strlen(wanted) && memcmp(a.body, wanted, a.n) == 0;
    free(a.body);
    return good;
}

#define ROUNDS 4
#define ASKED  8 /* in a round */

static void *be_patient(void *client)
{
    static const size_t sizes[] = {0, 255, 300, 20000, 70000, 600000};
    struct client *c = client;
    join(c);
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool packed = (round + (unsigned)c->number) % 2;
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            c->failures += !ask_text(c, sizes[i], packed);
        }
        c->failures += !ask_for(c, "drip=3", packed, 0, "drop\ndrop\ndrop\n");
        c->failures += !ask_for(c, "body", packed, 100000, "100000");
    }
    leave(c);
    return NULL;
}

static void answers_are_whole(void **state)
{
    (void)state;
    start();
    start_clients(CLIENTS, be_patient);
    assert_int_equal(await_clients(CLIENTS), 0);
    assert_int_equal(fcgi_peer_requests(peer), CLIENTS * ROUNDS * ASKED);
    assert_true(fcgi_peer_connections(peer) < CLIENTS * ROUNDS * ASKED / 2); /* GET reuses them */
    stop();
}

static void *ask_late(void *client)
{
    struct client *c = client;
    join(c);
    for (int i = 0; i < 20; i++) {
        c->failures += !ask_for(c, "late", i % 2, i % 5 == 4 ? 10 : 0, "hello");
    }
    leave(c);
    return NULL;
}

static void kept_connections_that_close_are_replaced(void **state)
{
    (void)state;
    start();
    start_clients(CLIENTS, ask_late);
    assert_int_equal(await_clients(CLIENTS), 0);
    stop();
}

/* -- clients -- */

static void *leave_early(void *client)
{
    struct client *c = client;
    for (int i = 0; i < 12; i++) {
        join(c);
        ask(c, i % 3 ? "endless" : "drip=2000", i % 2, 0);
        for (size_t got = 0, wanted = i % 3 ? (size_t)i * 40000 : 1;
             got < wanted && http_client_fill(&c->http);) {
            got += c->http.n;
        }
        usleep((useconds_t)(i * 1000));
        leave(c);
    }
    return NULL;
}

static bool becomes(unsigned (*count)(const struct fcgi_peer *p), unsigned wanted)
{
    for (int i = 0; i < 1000 && count(peer) != wanted; i++) {
        usleep(10000);
    }
    return count(peer) == wanted;
}

static void clients_that_leave_take_their_requests_along(void **state)
{
    struct client *c = &clients[0];
    (void)state;
    start();
    start_clients(CLIENTS, leave_early);
    assert_int_equal(await_clients(CLIENTS), 0);
    assert_true(becomes(fcgi_peer_left, fcgi_peer_requests(peer)));
    assert_true(fcgi_peer_requests(peer) > CLIENTS * 6); /* some left before they were heard */
    join(c);
    assert_true(ask_text(c, 100000, true));
    leave(c);
    stop();
}

static void *read_slowly(void *client)
{
    struct client *c = client;
    int little = 4096;
    c->http.rest = 2000;
    join(c);
    setsockopt(c->http.fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    c->failures += !ask_text(c, 3000000, c->number % 2);
    leave(c);
    return NULL;
}

static void slow_readers_lose_nothing(void **state)
{
    (void)state;
    start();
    start_clients(CLIENTS, read_slowly);
    assert_int_equal(await_clients(CLIENTS), 0);
    stop();
}

/* -- servers -- */

/* An error, or an answer that says of itself that it is not whole. */
static bool breaks(struct client *c, const char *query, bool packed, bool shown)
{
    join(c);
    ask(c, query, packed, 0);
    struct http_answer a = receive(c);
    bool good = (a.status == 502 && !shown) || (a.status == 200 && !a.whole);
    if (!good) {
        print_error("%s: status %d, %zu bytes, %s, ended %d\n", query, a.status, a.n,
                    a.whole ? "whole" : "cut", c->http.ended);
    }
    free(a.body);
    leave(c);
    return good;
}

static void *meet_death(void *client)
{
    struct client *c = client;
    for (int i = 0; i < 4; i++) {
        c->failures += !breaks(c, "close", i % 2, false);
        c->failures += !breaks(c, "garbage", i % 2, false);
        c->failures += !breaks(c, "cut=0", i % 2, false);
        c->failures += !breaks(c, "cut=1000", i % 2, false);
        c->failures += !breaks(c, "cut=400000", i % 2, true);
    }
    return NULL;
}

static void answers_that_break_off_are_seen_to(void **state)
{
    (void)state;
    start();
    start_clients(CLIENTS, meet_death);
    assert_int_equal(await_clients(CLIENTS), 0);
    stop();
}

static void *wait_in_vain(void *client)
{
    struct client *c = client;
    join(c);
    ask(c, "never", false, 0);
    struct http_answer a = receive(c);
    c->failures += a.status != 504;
    free(a.body);
    leave(c);
    return NULL;
}

static void silence_ends(void **state)
{
    (void)state;
    start_with(1);
    start_clients(CLIENTS, wait_in_vain);
    assert_int_equal(await_clients(CLIENTS), 0);
    assert_true(becomes(fcgi_peer_left, CLIENTS));
    stop();
}

/* -- the end -- */

static void *stay_to_the_end(void *client)
{
    static const char *const queries[] = {"endless", "never", "page=2000000", "drip=1000"};
    struct client *c = client;
    join(c);
    c->http.rest = c->number % 3 ? 0 : 3000;
    ask(c, queries[c->number % 4], c->number % 2, 0);
    while (http_client_fill(&c->http)) {
    }
    leave(c);
    return NULL;
}

static void everything_ends_in_the_middle(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        start();
        start_clients(4 * CLIENTS, stay_to_the_end);
        assert_true(becomes(fcgi_peer_requests, 4 * CLIENTS));
        usleep(i * 70000);
        stop();
        await_clients(4 * CLIENTS);
    }
}

static int set_up(void **state)
{
    (void)state;
    said_fd = memfd_create("log", MFD_CLOEXEC);
    if (said_fd < 0 || !mkdtemp(directory)) {
        return -1;
    }
    snprintf(http_path, sizeof http_path, "%s/http", directory);
    snprintf(peer_path, sizeof peer_path, "%s/peer", directory);
    snprintf(config_path, sizeof config_path, "%s/x.ini", directory);
    log_set_level(LEVEL_NOTICE);
    log_to_fd(said_fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_to_fd(STDERR_FILENO);
    close(said_fd);
    unlink(peer_path);
    unlink(config_path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_whole),
        cmocka_unit_test(kept_connections_that_close_are_replaced),
        cmocka_unit_test(clients_that_leave_take_their_requests_along),
        cmocka_unit_test(slow_readers_lose_nothing),
        cmocka_unit_test(answers_that_break_off_are_seen_to),
        cmocka_unit_test(silence_ends),
        cmocka_unit_test(everything_ends_in_the_middle),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
