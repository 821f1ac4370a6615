/* The time zone of C for one request of many.
 *
 * libc reads TZ in its environ and keeps what it made of it, for all threads. So a call by a request that has
 * set TZ has libc to itself: environ is exchanged for one with that TZ, tzset() reads it, and both are put
 * back behind the call. Calls by other requests wait for each other no more than they do in libc. */
#include "engine/php/local_time.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/php/env.h"

#define ZONE_MAX 4096 /* a path; a longer one is no zone, and that is UTC */

static pthread_rwlock_t zone_lock = PTHREAD_RWLOCK_INITIALIZER; /* of libc's zone; for writing: lent */
static char setting[ZONE_MAX + sizeof "TZ="]; /* guarded by it; libc may look at it until the next one */

/* Lines of our logs are stamped in the server's zone, whoever makes us write them. */
static bool is_ours(const void *caller)
{
    extern const char __executable_start[], etext[]; /* the linker's */
    uintptr_t at = (uintptr_t)caller;

    return at >= (uintptr_t)__executable_start && at < (uintptr_t)etext;
}

bool local_time_begin(const void *caller)
{
    const char *zone;

    if (is_ours(caller) || !env_changes("TZ", &zone)) {
        pthread_rwlock_rdlock(&zone_lock);
        return false;
    }
    pthread_rwlock_wrlock(&zone_lock);
    if (zone) {
        snprintf(setting, sizeof setting, "TZ=%s", strlen(zone) > ZONE_MAX ? "" : zone);
    }
    env_lend_zone(zone ? setting : NULL);
    tzset();
    return true;
}

void local_time_end(bool is_lent)
{
    if (is_lent) {
        env_take_back();
        tzset();
    }
    pthread_rwlock_unlock(&zone_lock);
}

void local_time_give_up(void)
{
    pthread_rwlock_init(&zone_lock, NULL);
    env_take_back();
}

struct tm *local_time_result(void)
{
    static _Thread_local struct tm result;

    return &result;
}
