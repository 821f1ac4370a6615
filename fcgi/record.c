/* Writing FastCGI records: see record.h. Descriptors are written without blocking
 * and waited for with poll(), so that neither a signal nor a slow reader breaks a record. Any thread that
 * owns the connection. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/base/clock.h"
#include "fcgi/conn.h"
#include "fcgi/record.h"

#define RECORDS_AT_ONCE 16

/* 0 once the socket takes more; -1: it does not for too long, or is broken. */
static int wait_writable(int fd)
{
    uint64_t until = clock_us() + FCGI_WRITE_WAIT_MS * 1000ULL;
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    for (;;) {
        uint64_t now = clock_us();
        int n = now < until ? poll(&p, 1, (int)((until - now) / 1000) + 1) : 0;

        if (n > 0) {
            return p.revents & (POLLERR | POLLHUP) ? -1 : 0;
        }
        if (n == 0 || errno != EINTR) {
            return -1;
        }
    }
}

int record_send(int fd, const void *record, size_t n)
{
    return send(fd, record, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1;
}

/* Everything in iov; 0 or -1. */
static int send_all(int fd, struct iovec *iov, size_t count, int flags)
{
    while (count) {
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = count};
        ssize_t sent = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL | flags);

        if (sent < 0) {
            bool full = errno == EAGAIN || errno == EWOULDBLOCK;

            if (errno != EINTR && (!full || wait_writable(fd) < 0)) {
                return -1;
            }
            continue;
        }
        while (count && (size_t)sent >= iov->iov_len) {
            sent -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count) {
            iov->iov_base = (char *)iov->iov_base + sent;
            iov->iov_len -= (size_t)sent;
        }
    }
    return 0;
}

int record_write(int fd, struct str before, uint16_t id, enum fcgi_wire_type type, const char *p, size_t n,
                 bool last)
{
    static char padding[8];
    unsigned char header[RECORDS_AT_ONCE][FCGI_WIRE_HEADER_SIZE];
    struct iovec iov[1 + RECORDS_AT_ONCE * 2 + 1];
    size_t count = 0, pad = 0;

    if (before.n) {
        iov[count++] = (struct iovec){(void *)(uintptr_t)before.p, before.n};
    }
    do {
        for (size_t i = 0; n && i < RECORDS_AT_ONCE; i++) {
            size_t content = n < FCGI_WIRE_CONTENT_MAX ? n : FCGI_WIRE_CONTENT_MAX;

            pad = fcgi_wire_padding(content);
            fcgi_wire_put(header[i], type, id, content, (uint8_t)pad);
            iov[count++] = (struct iovec){header[i], sizeof(header[i])};
            iov[count++] = (struct iovec){(void *)(uintptr_t)p, content};
            p += content;
            n -= content;
        }
        if (pad) { /* only the last record can need it */
            iov[count++] = (struct iovec){padding, pad};
        }
        if (send_all(fd, iov, count, last ? MSG_MORE : 0) < 0) {
            return -1;
        }
        count = 0;
    } while (n);
    return 0;
}

bool record_send_values(int fd, bool mpxs_asked)
{
    static const unsigned char none[] = "\x0f\x01"
                                        "FCGI_MPXS_CONNS"
                                        "0"; /* one request at a time */
    unsigned char record[FCGI_WIRE_HEADER_SIZE + 24] = {0};
    size_t n = mpxs_asked ? sizeof(none) - 1 : 0;
    uint8_t padding = fcgi_wire_padding(n);

    fcgi_wire_put(record, FCGI_WIRE_GET_VALUES_RESULT, 0, n, padding);
    memcpy(record + FCGI_WIRE_HEADER_SIZE, none, n);
    return record_send(fd, record, FCGI_WIRE_HEADER_SIZE + n + padding) == 0;
}

bool record_send_unknown_type(int fd, uint8_t type)
{
    unsigned char record[FCGI_WIRE_HEADER_SIZE + 8] = {[FCGI_WIRE_HEADER_SIZE] = type};

    fcgi_wire_put(record, FCGI_WIRE_UNKNOWN_TYPE, 0, 8, 0);
    return record_send(fd, record, sizeof(record)) == 0;
}

bool record_send_end(int fd, uint16_t id, uint8_t protocol_status)
{
    unsigned char record[FCGI_WIRE_END_SIZE];

    fcgi_wire_put_end(record, id, protocol_status);
    return record_send(fd, record, sizeof(record)) == 0;
}
