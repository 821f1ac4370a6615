/* systemd's notification protocol: datagrams of "KEY=value" lines to the socket named in NOTIFY_SOCKET.
 * Supervisor's thread; without that variable every call is nothing. */
#ifndef ENGINE_SUPERVISE_NOTIFY_H
#define ENGINE_SUPERVISE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

void notify_init(void); /* reads NOTIFY_SOCKET and WATCHDOG_USEC */
bool notify_active(void);
uint64_t notify_watchdog_us(void); /* half of what systemd allows; 0 = no watchdog */
void notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
