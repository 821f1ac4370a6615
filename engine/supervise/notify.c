/* sd_notify without libsystemd: one datagram from a socket made for it. The variables stay in the
 * environment, because a re-executed supervisor needs them; engine processes lose them (identity.c). */
#include "engine/supervise/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/str.h"

static struct sockaddr_un address;
static socklen_t address_len; /* 0 = not under systemd */
static uint64_t watchdog_us;

void notify_init(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, n);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    uint64_t limit;
    if (getenv("WATCHDOG_USEC") && str_to_u64(str_of(getenv("WATCHDOG_USEC")), &limit)) {
        const char *pid = getenv("WATCHDOG_PID");
        watchdog_us = !pid || atoi(pid) == (int)getpid() ? limit / 2 : 0;
    }
}

bool notify_active(void)
{
    return address_len > 0;
}

uint64_t notify_watchdog_us(void)
{
    return watchdog_us;
}

void notify_send(const char *format, ...)
{
    if (address_len == 0) {
        return;
    }
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || n <= 0 ||
        sendto(fd, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1, MSG_NOSIGNAL,
               (struct sockaddr *)&address, address_len) < 0) {
        log_limited(LEVEL_NOTICE, "failed to notify status to systemd: %s", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}
