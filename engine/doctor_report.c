/* What was found, a line each. */
#include <stdarg.h>
#include <stdio.h>

#include "engine/doctor_private.h"

static unsigned lines; /* one thread */

void doctor_found(const struct pool_conf *pool, const char *format, ...)
{
    va_list args;
    printf(pool ? "[pool %s] " : "[machine] ", pool ? pool->name : "");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    lines++;
}

unsigned doctor_lines(void)
{
    return lines;
}
