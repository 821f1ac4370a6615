/* The end of a process that found its own logic broken. Async-signal-safe: no stdio, no allocation, no lock,
 * because MUST() is also used in signal handlers. Any thread. */
#include "engine/base/must.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static struct iovec piece(const char *text)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
}

_Noreturn void must_fail(const char *file, int line, const char *function, const char *text)
{
    char digits[16];
    char *p = digits + sizeof digits - 1;
    unsigned value = line > 0 ? (unsigned)line : 0;

    *p = '\0';
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);

    struct iovec line_of_text[] = {
        piece(file),     piece(":"),  piece(p),    piece(": "),
        piece(function), piece(": "), piece(text), piece("\n"),
    };
    ssize_t written = writev(STDERR_FILENO, line_of_text, sizeof line_of_text / sizeof *line_of_text);
    (void)written; /* there is nobody left to tell */
    abort();
}
