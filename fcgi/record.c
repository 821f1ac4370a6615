/* Writing FastCGI records without libfcgi's buffer: see record.h. Descriptors are written without blocking
 * and waited for with poll(), so that neither a signal nor a slow reader breaks a record. Any thread that
 * owns the connection. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/base/clock.h"
#include "engine/base/fcgi_wire.h"
#include "fcgi/conn.h"
#include "fcgi/record.h"

#define RECORDS_AT_ONCE 16

int record_wait_writable(int fd)
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
static int send_all(int fd, struct iovec *iov, size_t count)
{
    while (count) {
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = count};
        ssize_t sent = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0) {
            bool full = errno == EAGAIN || errno == EWOULDBLOCK;

            if (errno != EINTR && (!full || record_wait_writable(fd) < 0)) {
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

int record_write(int fd, uint16_t id, uint8_t type, const char *p, size_t n)
{
    static char padding[8];
    unsigned char header[RECORDS_AT_ONCE][FCGI_WIRE_HEADER_SIZE];
    struct iovec iov[RECORDS_AT_ONCE * 2 + 1];

    while (n) {
        size_t count = 0, pad = 0;

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
        if (send_all(fd, iov, count) < 0) {
            return -1;
        }
    }
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

/* A control record whose body has eight bytes. */
static bool send_short(int fd, enum fcgi_wire_type type, uint16_t id, const unsigned char body[8])
{
    unsigned char record[FCGI_WIRE_HEADER_SIZE + 8];

    fcgi_wire_put(record, type, id, 8, 0);
    memcpy(record + FCGI_WIRE_HEADER_SIZE, body, 8);
    return record_send(fd, record, sizeof(record)) == 0;
}

bool record_send_unknown_type(int fd, uint8_t type)
{
    return send_short(fd, FCGI_WIRE_UNKNOWN_TYPE, 0, (const unsigned char[8]){type});
}

bool record_send_end(int fd, uint16_t id, uint8_t protocol_status)
{
    return send_short(fd, FCGI_WIRE_END_REQUEST, id, (const unsigned char[8]){[4] = protocol_status});
}
