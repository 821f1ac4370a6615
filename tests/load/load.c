/* load PROTOCOL ADDRESS CONNECTIONS SECONDS [option...]: keeps CONNECTIONS connections busy for SECONDS, then
 * waits until every request has its answer, and prints as JSON what became of them.
 *
 *   PROTOCOL  h1, h1s, h2, h2s (the ones with s over TLS), fcgi
 *   ADDRESS   PORT (of 127.0.0.1) or a unix socket's path
 *   --path P, --script FILE   what is asked for
 *   --echo      the answer has to be the request's query, its number: no answer may go to another request
 *   --close     a connection for each request
 *   --streams N requests at once on an HTTP/2 connection
 *   --pause US  up to so long, at random, between an answer and the next request
 *   --hold S    if a request has no answer: stay so long with open connections, for a debugger
 *
 * No request is ever sent twice. It is "late" after LATE_US, which may be the fault of a machine without time
 * for us; "unanswered" if PATIENCE_US after the end nothing has come; "lost" when its connection ended
 * without a byte of an answer, "cut" when it ended inside of one. One request in sixteen leaves in two
 * pieces. Exit code 1 if any request failed. */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/clock.h"

#define LATE_US     (5 * CLOCK_US_PER_SECOND)
#define PATIENCE_US (20 * CLOCK_US_PER_SECOND)
#define LOOK_US     (CLOCK_US_PER_SECOND / 4)
#define EVENTS      64
#define READ_SIZE   65536
#define CONNS_MAX   4096

struct options options = {.path = "/", .script = "", .host = "localhost", .streams = 8};

static struct {
    uint64_t answered, late, unanswered, lost, lost_kept, cut, wrong, refused, connects, connect_failures;
    uint64_t slowest_us;
    uint64_t statuses[1000];
} count;

static struct conn *conns;
static unsigned conn_count;
static int epoll_fd;
static bool asking = true;
static uint64_t now_us, next_id = 1;
static struct sockaddr_storage address;
static socklen_t address_n;
static SSL_CTX *tls;

/* Known numbers are enough: the moments differ anyway. */
static uint32_t chance(uint32_t one_in)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % one_in;
}

/* -- questions -- */

struct question *load_question(struct conn *c)
{
    struct question *q = c->questions;
    while (q->id) {
        q++;
    }
    *q = (struct question){.id = next_id++, .asked_us = now_us};
    c->open++;
    return q;
}

uint64_t load_oldest(const struct conn *c)
{
    uint64_t oldest = 0;
    for (int i = 0; i < STREAMS_MAX; i++) {
        uint64_t id = c->questions[i].id;
        oldest = id && (!oldest || id < oldest) ? id : oldest;
    }
    return oldest;
}

/* False: there is no such question. */
static bool close_question(struct conn *c, uint64_t id)
{
    for (int i = 0; id && i < STREAMS_MAX; i++) {
        struct question *q = &c->questions[i];
        if (q->id == id) {
            uint64_t took = now_us - q->asked_us;
            count.slowest_us = took > count.slowest_us ? took : count.slowest_us;
            q->id = 0;
            c->open--;
            c->served++;
            c->heard = false;
            c->ask_at_us = options.pause_us ? now_us + chance(options.pause_us) : 0;
            return true;
        }
    }
    return false;
}

static bool is_right(uint64_t id, int status, const char *body, size_t n)
{
    char wanted[24];
    if (status != 200) {
        return false;
    }
    int wanted_n = snprintf(wanted, sizeof wanted, "%llu", (unsigned long long)id);
    return !options.echo || (n == (size_t)wanted_n && memcmp(body, wanted, n) == 0);
}

void load_answered(struct conn *c, uint64_t id, int status, const char *body, size_t body_n)
{
    if (!close_question(c, id)) {
        count.wrong++; /* an answer that nobody asked for */
        return;
    }
    count.answered++;
    count.statuses[status >= 0 && status < 1000 ? status : 0]++;
    if (!is_right(id, status, body, body_n)) {
        count.wrong++;
        if (count.wrong <= 5) {
            fprintf(stderr, "request %llu: status %d, body \"%.*s\"\n", (unsigned long long)id, status,
                    body_n < 60 ? (int)body_n : 60, body);
        }
    }
}

void load_refused(struct conn *c, uint64_t id)
{
    count.refused += close_question(c, id);
}

/* -- connections -- */

static void watch(struct conn *c, bool write)
{
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, c->wants_write || c->connected ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event);
    c->wants_write = write;
}

static void drop(struct conn *c)
{
    if (c->open > 0) {
        uint64_t *what = c->heard ? &count.cut : c->served ? &count.lost_kept : &count.lost;
        *what += 1;
        /* Of several at once nobody knows which were begun. */
        *(c->served ? &count.lost_kept : &count.lost) += c->open - 1;
    }
    if (c->state) {
        options.protocol->end(c);
    }
    if (c->ssl) {
        SSL_free(c->ssl);
    }
    if (c->fd >= 0) {
        close(c->fd);
    }
    buf_free(&c->out);
    *c = (struct conn){.fd = -1};
}

static void dial(struct conn *c)
{
    int one = 1;
    *c = (struct conn){.fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, address_n) != 0) {
        count.connect_failures++;
        drop(c);
        return;
    }
    count.connects++;
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (address.ss_family != AF_UNIX) {
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (options.protocol->tls) {
        static const unsigned char h1_alpn[] = "\x08http/1.1", h2_alpn[] = "\x02h2";
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_connect_state(c->ssl);
        SSL_set_alpn_protos(c->ssl, options.protocol->h2 ? h2_alpn : h1_alpn, options.protocol->h2 ? 3 : 9);
    }
    if (!options.protocol->begin(c)) {
        drop(c);
        return;
    }
    watch(c, false);
    c->connected = true;
}

/* What transport says: more than 0 bytes, 0 = not now, -1 = the connection is over. */
static ssize_t transport_result(struct conn *c, ssize_t n)
{
    if (c->ssl) {
        int why = n > 0 ? 0 : SSL_get_error(c->ssl, (int)n);
        return n > 0 ? n : why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
    return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

/* False: the connection is over. */
static bool send_out(struct conn *c)
{
    while (c->out_at < c->out_stop) {
        const char *p = c->out.p + c->out_at;
        size_t n = c->out_stop - c->out_at;
        ssize_t done =
            transport_result(c, c->ssl ? SSL_write(c->ssl, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL));
        if (done < 0) {
            return false;
        }
        if (done == 0) {
            break;
        }
        c->out_at += (size_t)done;
    }
    if (c->out_at == c->out.n) {
        c->out.n = c->out_at = c->out_stop = 0;
    }
    if (c->wants_write != (c->out_at < c->out_stop)) {
        watch(c, !c->wants_write);
    }
    return true;
}

static bool may_ask(const struct conn *c)
{
    unsigned most = options.protocol->h2 ? options.streams : 1;
    return asking && !c->leaving && c->open < most && c->ask_at_us <= now_us && c->out_at == c->out.n &&
           !(options.close && c->open + c->served > 0);
}

static void ask(struct conn *c)
{
    bool asked = false;
    while (may_ask(c)) {
        size_t before = c->out.n;
        options.protocol->ask(c);
        asked = true;
        if (c->out.n == before || !options.protocol->h2) {
            break;
        }
    }
    c->out_stop = c->out.n;
    if (asked && chance(16) == 0 && c->out.n - c->out_at > 1) {
        c->out_stop = c->out_at + 1 + chance((uint32_t)(c->out.n - c->out_at - 1));
    }
}

/* Goes on with a connection, or with a new one in its place. */
static void move_on(struct conn *c)
{
    if (c->fd >= 0 && c->leaving && c->open == 0) {
        drop(c);
    }
    if (c->fd < 0 && asking) {
        dial(c);
    }
    if (c->fd >= 0) {
        ask(c);
        if (!send_out(c)) {
            drop(c);
        }
    }
}

static void receive(struct conn *c)
{
    static char piece[READ_SIZE];
    ssize_t n;
    do {
        n = transport_result(c, c->ssl ? SSL_read(c->ssl, piece, sizeof piece)
                                       : recv(c->fd, piece, sizeof piece, 0));
        if (n > 0) {
            c->heard = c->open > 0;
            if (!options.protocol->take(c, piece, (size_t)n)) {
                fprintf(stderr, "not an answer: \"%.*s\"\n", n < 80 ? (int)n : 80, piece);
                n = -1;
            }
        }
    } while (n > 0 && c->ssl);
    if (n < 0) {
        drop(c);
    }
}

/* -- time -- */

/* Requests that wait too long are named once, with their connection's port. */
static void look(void)
{
    for (unsigned i = 0; i < conn_count; i++) {
        struct conn *c = &conns[i];
        struct sockaddr_storage own = {0};
        socklen_t n = sizeof own;
        for (int k = 0; c->fd >= 0 && k < STREAMS_MAX; k++) {
            struct question *q = &c->questions[k];
            if (!q->id || q->told || now_us - q->asked_us < LATE_US) {
                continue;
            }
            q->told = true;
            count.late++;
            getsockname(c->fd, (struct sockaddr *)&own, &n);
            fprintf(stderr, "request %llu, %u. of its connection (port %d): no answer yet\n",
                    (unsigned long long)q->id, c->served + 1,
                    own.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&own)->sin_port) : 0);
        }
    }
}

static unsigned open_questions(void)
{
    unsigned open = 0;
    for (unsigned i = 0; i < conn_count; i++) {
        open += conns[i].open;
    }
    return open;
}

/* Those that have no event of their own: pauses, halves of requests, connections that could not be made. */
static void nudge(void)
{
    for (unsigned i = 0; i < conn_count; i++) {
        struct conn *c = &conns[i];
        if (c->fd < 0 || c->open == 0 || c->out_stop < c->out.n || options.protocol->h2) {
            c->out_stop = c->out.n;
            move_on(c);
        }
    }
}

static void run(uint64_t seconds)
{
    struct epoll_event events[EVENTS];
    now_us = clock_us();
    uint64_t stop = now_us + seconds * CLOCK_US_PER_SECOND, looked = now_us;
    while (asking || (open_questions() > 0 && now_us < stop + PATIENCE_US)) {
        nudge();
        int n = epoll_wait(epoll_fd, events, EVENTS, 1);
        now_us = clock_us();
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            receive(c);
            move_on(c);
        }
        asking = now_us < stop;
        if (now_us - looked >= LOOK_US) {
            looked = now_us;
            look();
        }
    }
    count.unanswered = open_questions();
}

/* -- the beginning and the end -- */

static bool find_address(const char *text)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    struct sockaddr_un *un = (struct sockaddr_un *)&address;
    if (text[0] == '/') {
        un->sun_family = AF_UNIX;
        address_n = sizeof *un;
        return (size_t)snprintf(un->sun_path, sizeof un->sun_path, "%s", text) < sizeof un->sun_path;
    }
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons((uint16_t)atoi(text));
    address_n = sizeof *in;
    return in->sin_port != 0;
}

static const struct protocol *find_protocol(const char *name)
{
    static const struct protocol *const all[] = {&h1_protocol, &h1s_protocol, &h2_protocol, &h2s_protocol,
                                                 &fcgi_protocol};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    return NULL;
}

static int usage(void)
{
    fputs("usage: load PROTOCOL ADDRESS CONNECTIONS SECONDS [--path P] [--script FILE] [--echo] [--close]\n"
          "            [--streams N] [--pause US] [--hold S]\n",
          stderr);
    return 2;
}

static bool report(uint64_t took_us)
{
    uint64_t bad = count.unanswered + count.lost + count.lost_kept + count.cut + count.wrong;
    printf("{\"answered\": %llu, \"late\": %llu, \"unanswered\": %llu, \"lost\": %llu, \"lost_kept\": %llu, "
           "\"cut\": %llu, "
           "\"wrong\": %llu, \"refused\": %llu, \"connects\": %llu, \"connect_failures\": %llu, "
           "\"slowest_ms\": %llu, \"per_second\": %llu, \"statuses\": {",
           (unsigned long long)count.answered, (unsigned long long)count.late,
           (unsigned long long)count.unanswered, (unsigned long long)count.lost,
           (unsigned long long)count.lost_kept, (unsigned long long)count.cut,
           (unsigned long long)count.wrong, (unsigned long long)count.refused,
           (unsigned long long)count.connects, (unsigned long long)count.connect_failures,
           (unsigned long long)count.slowest_us / 1000,
           (unsigned long long)(count.answered * CLOCK_US_PER_SECOND / (took_us ? took_us : 1)));
    const char *comma = "";
    for (int i = 0; i < 1000; i++) {
        if (count.statuses[i]) {
            printf("%s\"%d\": %llu", comma, i, (unsigned long long)count.statuses[i]);
            comma = ", ";
        }
    }
    printf("}}\n");
    return bad == 0 && count.answered > 0;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"path", required_argument, NULL, 'p'},    {"script", required_argument, NULL, 's'},
        {"echo", no_argument, NULL, 'e'},          {"close", no_argument, NULL, 'c'},
        {"streams", required_argument, NULL, 'n'}, {"pause", required_argument, NULL, 'u'},
        {"hold", required_argument, NULL, 'h'},    {NULL, 0, NULL, 0}};
    unsigned hold_s = 0;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'p': options.path = optarg; break;
        case 's': options.script = optarg; break;
        case 'e': options.echo = true; break;
        case 'c': options.close = true; break;
        case 'n': options.streams = (unsigned)atoi(optarg); break;
        case 'u': options.pause_us = (unsigned)atoi(optarg); break;
        case 'h': hold_s = (unsigned)atoi(optarg); break;
        default: return usage();
        }
    }
    if (argc - optind != 4 || !(options.protocol = find_protocol(argv[optind])) ||
        !find_address(argv[optind + 1]) || options.streams < 1 || options.streams > STREAMS_MAX) {
        return usage();
    }
    conn_count = (unsigned)atoi(argv[optind + 2]);
    conns = conn_count > 0 && conn_count <= CONNS_MAX ? calloc(conn_count, sizeof *conns) : NULL;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    tls = options.protocol->tls ? SSL_CTX_new(TLS_client_method()) : NULL;
    if (!conns || epoll_fd < 0 || (options.protocol->tls && !tls)) {
        return usage();
    }
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < conn_count; i++) {
        conns[i].fd = -1;
    }
    uint64_t began = clock_us();
    run((uint64_t)atoi(argv[optind + 3]));
    bool good = report(clock_us() - began);
    fflush(stdout);
    if (count.unanswered && hold_s) {
        sleep(hold_s);
    }
    return good ? 0 : 1;
}
