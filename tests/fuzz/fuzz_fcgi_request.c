/* Whatever a web server sends, the reader of heads says the same of it however it is cut, and where it finds
 * a request, libfcgi reads the same variables out of its parameters. Then the bytes go to a real pool, and
 * our side is shut down, so that nothing waits for more: the connection ends, and the next one is served. */
#include <fcgiapp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/must.h"
#include "fcgi/head.h"
#include "tests/support/fcgi_pool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int connected(void)
{
    static struct sockaddr_un a = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!a.sun_path[0]) { /* the first call: the pool lives until the process ends */
        snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/tkfuzz%d", (int)getpid());
        fcgi_pool_start(a.sun_path, 2, NULL);
    }
    MUST(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

/* Everything that comes until the end; its length. */
static size_t drain(int fd)
{
    char waste[65536];
    size_t sum = 0;
    ssize_t n;

    while ((n = recv(fd, waste, sizeof(waste), 0)) > 0) {
        sum += (size_t)n;
        MUST(sum < 64u << 20);
    }
    return sum;
}

/* -- the reader of heads -- */

#define TOLD_MAX 64

struct told {
    enum head_event events[TOLD_MAX];
    size_t count, left; /* bytes behind the last event */
    struct fcgi_head head;
};

/* What is told of the bytes, fed in pieces of so many, up to a request or a refusal. */
static void read_in_pieces(struct told *t, const uint8_t *data, size_t size, size_t piece)
{
    enum head_event e = HEAD_MORE;
    size_t at = 0;

    memset(t, 0, sizeof(*t));
    fcgi_head_reset(&t->head);
    while (e != HEAD_REQUEST && e != HEAD_REFUSED) {
        size_t n = size - at < piece ? size - at : piece, whole = n;
        unsigned char *bytes = malloc(n + 1); /* of its own: nothing outlives a piece but what is kept */
        const unsigned char *p = memcpy(bytes, data + at, n);

        do {
            e = fcgi_head_feed(&t->head, &p, &n);
            if (e != HEAD_MORE && t->count < TOLD_MAX) {
                t->events[t->count++] = e;
            }
        } while (e != HEAD_MORE && e != HEAD_REQUEST && e != HEAD_REFUSED);
        MUST(fcgi_head_keep(&t->head));
        at += whole - n;
        free(bytes);
        if (at == size && e == HEAD_MORE) {
            break;
        }
    }
    t->left = size - at;
}

/* A head that says the same in records of the usual size, as libfcgi reads it. */
static void write_head(int fd, const struct fcgi_head *h)
{
    struct str rest = fcgi_head_params(h);
    unsigned char header[FCGI_WIRE_HEADER_SIZE];
    const char begin[8] = {0, (char)h->role, 1};

    MUST(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    fcgi_wire_put(header, FCGI_WIRE_BEGIN_REQUEST, h->id, sizeof(begin), 0);
    MUST(write(fd, header, sizeof(header)) == sizeof(header) && write(fd, begin, 8) == 8);
    for (;;) {
        size_t n = rest.n < FCGI_WIRE_CONTENT_MAX ? rest.n : FCGI_WIRE_CONTENT_MAX;

        fcgi_wire_put(header, FCGI_WIRE_PARAMS, h->id, n, 0);
        MUST(write(fd, header, sizeof(header)) == sizeof(header));
        if (!n) {
            break;
        }
        MUST(write(fd, rest.p, n) == (ssize_t)n);
        rest = (struct str){rest.p + n, rest.n - n};
    }
    MUST(lseek(fd, 0, SEEK_SET) == 0);
}

/* libfcgi's "NAME=VALUE" strings end at a NUL, wherever it is. */
static bool is_same(const char *theirs, struct str name, struct str value)
{
    size_t n = strnlen(name.p, name.n);

    if (strncmp(theirs, name.p, n) != 0) {
        return false;
    }
    if (n < name.n) {
        return theirs[n] == '\0';
    }
    size_t value_n = value.n ? strnlen(value.p, value.n) : 0;

    return theirs[n] == '=' && strlen(theirs + n + 1) == value_n && !memcmp(theirs + n + 1, value.p, value_n);
}

static void compare_with_libfcgi(const struct fcgi_head *h)
{
    static int fd = -1;
    struct str rest = fcgi_head_params(h), name, value;
    FCGX_Request theirs;
    uint32_t pairs = 0;

    if (fd < 0) {
        fd = memfd_create("head", MFD_CLOEXEC);
        MUST(fd >= 0 && FCGX_Init() == 0);
    }
    write_head(fd, h);
    FCGX_InitRequest(&theirs, -1, 0);
    theirs.ipcFd = fd;
    theirs.keepConnection = 1;
    MUST(FCGX_Accept_r(&theirs) == 0 && theirs.requestId == h->id && theirs.role == h->role);
    char **env = theirs.envp + 1; /* behind FCGI_ROLE */

    for (; fcgi_wire_pair(&rest, &name, &value); pairs++, env++) {
        MUST(*env && is_same(*env, name, value));
    }
    MUST(!rest.n && !*env && pairs == h->pairs);
    FCGX_Free(&theirs, 0);
}

static void check_reader(const uint8_t *data, size_t size)
{
    static struct told whole, cut;

    read_in_pieces(&whole, data, size, size + 1);
    read_in_pieces(&cut, data, size, 1 + size % 13);
    MUST(whole.count == cut.count && !memcmp(whole.events, cut.events, whole.count * sizeof(*whole.events)));
    MUST(whole.left == cut.left || whole.events[whole.count - 1] == HEAD_REFUSED);
    if (whole.count && whole.count < TOLD_MAX && whole.events[whole.count - 1] == HEAD_REQUEST) {
        MUST(str_eq(fcgi_head_params(&whole.head), fcgi_head_params(&cut.head)));
        compare_with_libfcgi(&whole.head);
    }
    fcgi_head_reset(&whole.head);
    fcgi_head_reset(&cut.head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_reader(data, size);
    static const char values[] = "\1\x09\0\0\0\x11\0\0\x0f\0FCGI_MPXS_CONNS";
    char answer[26] = "";
    int fd = connected();
    int other = connected();
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

    (void)sent; /* it may have been closed in the middle */
    shutdown(fd, SHUT_WR);
    drain(fd);
    close(fd);
    MUST(send(other, values, sizeof(values) - 1, MSG_NOSIGNAL) == sizeof(values) - 1);
    MUST(recv(other, answer, sizeof(answer), MSG_WAITALL) == sizeof(answer) && answer[1] == 10);
    close(other);
    return 0;
}
