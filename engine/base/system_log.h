/* The system's log: the messages of syslog(3), sent without waiting for whoever reads them. Any thread, once
 * it is open; open before other threads exist. Sources: RFC 3164, syslog(3). */
#ifndef ENGINE_BASE_SYSTEM_LOG_H
#define ENGINE_BASE_SYSTEM_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* From here on messages are "ident[pid]: text" of this facility (LOG_DAEMON ...). path: of the daemon's
 * socket,
 * "/dev/log"; both texts are copied. The daemon need not be there yet. */
void system_log_open(const char *ident, int facility, const char *path);
/* One message, text without newline. wait_ms: how long to wait for a daemon that takes nothing. False: it is
 * lost; errno EAGAIN = the daemon takes nothing. */
bool system_log_send(int priority, const char *text, size_t n, int wait_ms);
/* The same in another name, of another facility. */
struct system_log_sender {
    const char *name;
    int facility;
    bool with_pid; /* "name[pid]: " instead of "name: " */
};
bool system_log_send_as(const struct system_log_sender *sender, int priority, const char *text, size_t n,
                        int wait_ms);
/* The socket, the same for the life of the process; children may keep it. -1: not open. */
int system_log_fd(void);

#endif
