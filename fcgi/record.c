/* Writing FastCGI records without libfcgi's buffer: see record.h. Descriptors are written without blocking
 * and waited for with poll(), so that neither a signal nor a slow reader breaks a record. Any thread that
 * owns the connection. */
#include <errno.h>
#include <fastcgi.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/base/clock.h"
#include "fcgi/conn.h"
#include "fcgi/record.h"

#define RECORD_CONTENT_MAX 65528 /* the largest length that needs no padding */
#define RECORDS_AT_ONCE    16

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
    FCGI_Header header[RECORDS_AT_ONCE];
    struct iovec iov[RECORDS_AT_ONCE * 2 + 1];

    while (n) {
        size_t count = 0, pad = 0;

        for (size_t i = 0; n && i < RECORDS_AT_ONCE; i++) {
            size_t content = n < RECORD_CONTENT_MAX ? n : RECORD_CONTENT_MAX;

            pad = -content & 7;
            header[i] = (FCGI_Header){.version = FCGI_VERSION_1,
                                      .type = type,
                                      .requestIdB1 = (unsigned char)(id >> 8),
                                      .requestIdB0 = (unsigned char)id,
                                      .contentLengthB1 = (unsigned char)(content >> 8),
                                      .contentLengthB0 = (unsigned char)content,
                                      .paddingLength = (unsigned char)pad};
            iov[count++] = (struct iovec){&header[i], sizeof(header[i])};
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
    static const unsigned char name[] = "FCGI_MPXS_CONNS";
    unsigned char record[FCGI_HEADER_LEN + 24] = {FCGI_VERSION_1, FCGI_GET_VALUES_RESULT};
    size_t n = 0;

    if (mpxs_asked) { /* one request at a time on a connection */
        unsigned char *p = record + FCGI_HEADER_LEN;

        p[n++] = sizeof(name) - 1;
        p[n++] = 1;
        memcpy(p + n, name, sizeof(name) - 1);
        n += sizeof(name) - 1;
        p[n++] = '0';
    }
    record[5] = (unsigned char)n;
    record[6] = (unsigned char)(-n & 7);
    return record_send(fd, record, FCGI_HEADER_LEN + n + record[6]) == 0;
}

bool record_send_unknown_type(int fd, uint8_t type)
{
    FCGI_UnknownTypeRecord record = {.header = {.version = FCGI_VERSION_1,
                                                .type = FCGI_UNKNOWN_TYPE,
                                                .contentLengthB0 = sizeof(record.body)},
                                     .body = {.type = type}};

    return record_send(fd, &record, sizeof(record)) == 0;
}

bool record_send_end(int fd, uint16_t id, uint8_t protocol_status)
{
    FCGI_EndRequestRecord record = {.header = {.version = FCGI_VERSION_1,
                                               .type = FCGI_END_REQUEST,
                                               .requestIdB1 = (unsigned char)(id >> 8),
                                               .requestIdB0 = (unsigned char)id,
                                               .contentLengthB0 = sizeof(record.body)},
                                    .body = {.protocolStatus = protocol_status}};

    return record_send(fd, &record, sizeof(record)) == 0;
}
