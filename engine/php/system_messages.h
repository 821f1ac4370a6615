/* syslog() of scripts: each request has a name, options and a facility of its own. */
#ifndef ENGINE_PHP_SYSTEM_MESSAGES_H
#define ENGINE_PHP_SYSTEM_MESSAGES_H

#include <stdarg.h>

/* openlog(), closelog() and vsyslog() of libc, for the calling thread. Any thread; the name is copied. */
void system_messages_open(const char *name, int options, int facility);
void system_messages_close(void);
void system_messages_write(int priority, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* What the request has opened is closed, and PHP told so. */
void system_messages_request_end(void);

#endif
