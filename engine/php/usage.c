/* getrusage() and times() for one request of many: php-fpm's child has a process to itself. */
#include "engine/php/usage.h"

#include <unistd.h>

#include "engine/php/thread.h"

static bool in_request(void)
{
    return php_thread && php_thread->request;
}

__rusage_who_t usage_whose(__rusage_who_t who)
{
    return who == RUSAGE_SELF && in_request() ? (__rusage_who_t)RUSAGE_THREAD : who;
}

static clock_t in_ticks(const struct timeval *time)
{
    long ticks = sysconf(_SC_CLK_TCK);

    return (clock_t)(time->tv_sec * ticks + time->tv_usec * ticks / 1000000);
}

void usage_of_thread(struct tms *out)
{
    struct rusage used;

    if (out && in_request() && getrusage((__rusage_who_t)RUSAGE_THREAD, &used) == 0) {
        out->tms_utime = in_ticks(&used.ru_utime);
        out->tms_stime = in_ticks(&used.ru_stime);
    }
}
