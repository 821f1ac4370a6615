/* libc keeps one name, one set of options and one facility for syslog(3), and only a pointer to the name: a
 * second request would log as the first, and with memory that is gone. Here they are the thread's and end
 * with its request; the lines go out by the socket of base/system_log.c, which waits a second at most. */
#include "engine/php/system_messages.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "engine/base/system_log.h"
#include "engine/php/thread.h"

#define WAIT_MS 1000

static _Thread_local struct system_messages_name own;

void system_messages_open(const char *name, int options, int facility)
{
    snprintf(own.name, sizeof own.name, "%s", name ? name : program_invocation_short_name);
    own.options = options;
    own.facility = facility & LOG_FACMASK;
    own.opened = true;
}

void system_messages_close(void)
{
    own.opened = false;
}

static void connect_once(void)
{
    if (system_log_fd() < 0) {
        system_log_open("php", LOG_USER, "/dev/log");
    }
}

void system_messages_write(int priority, const char *format, va_list arguments)
{
    static pthread_once_t connected = PTHREAD_ONCE_INIT;
    int saved = errno;
    char *text = NULL;
    struct system_log_sender sender = {.name = own.opened ? own.name : program_invocation_short_name,
                                       .facility = own.opened && own.facility ? own.facility : LOG_USER,
                                       .with_pid = own.opened && (own.options & LOG_PID)};

    pthread_once(&connected, connect_once);
    errno = saved; /* %m */
    int n = vasprintf(&text, format, arguments);

    if (n >= 0) {
        n = (int)(n > 0 && text[n - 1] == '\n' ? n - 1 : n);
        if (own.opened && (own.options & LOG_PERROR)) {
            dprintf(STDERR_FILENO, "%s: %.*s\n", sender.name, n, text);
        }
        if (priority & LOG_FACMASK) {
            sender.facility = priority & LOG_FACMASK;
        }
        system_log_send_as(&sender, LOG_PRI(priority), text, (size_t)n, WAIT_MS);
        free(text);
    }
    errno = saved;
}

void system_messages_request_end(void)
{
    if (own.opened) {
        own.opened = false;
        PG(have_called_openlog) = 0;
    }
}

void system_messages_keep(struct system_messages_name *out)
{
    *out = own;
}

void system_messages_put_back(const struct system_messages_name *kept)
{
    if (!kept->opened) {
        system_messages_request_end();
    }
    own = *kept;
}
