/* syslog() of scripts: each request has a name, options and a facility of its own. */
#ifndef ENGINE_PHP_SYSTEM_MESSAGES_H
#define ENGINE_PHP_SYSTEM_MESSAGES_H

#include <stdarg.h>
#include <stdbool.h>

struct system_messages_name {
    char name[128];
    int options, facility;
    bool opened;
};

/* openlog(), closelog() and vsyslog() of libc, for the calling thread. Any thread; the name is copied. */
void system_messages_open(const char *name, int options, int facility);
void system_messages_close(void);
void system_messages_write(int priority, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* What the request has opened is closed, and PHP told so. */
void system_messages_request_end(void);
/* What is open now, and the same again. Any thread, its own. */
void system_messages_keep(struct system_messages_name *out);
void system_messages_put_back(const struct system_messages_name *kept);

#endif
