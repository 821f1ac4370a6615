/* The time zone of C: what localtime() and mktime() say on a worker's thread is what the request has set with
 * putenv("TZ=..."). libc has one zone, read from the process's environment. */
#ifndef ENGINE_PHP_LOCAL_TIME_H
#define ENGINE_PHP_LOCAL_TIME_H

#include <stdbool.h>
#include <time.h>

/* Around one call of libc's that caller (an address in its code) makes; this program's own are in the
 * server's zone. begin returns whether a request's zone is in force, for end. Any thread. */
bool local_time_begin(const void *caller);
void local_time_end(bool lent);
void local_time_give_up(void); /* in a child of fork(), which has none of the threads that lent the zone */
struct tm *local_time_result(void); /* of this thread, for localtime() */

#endif
