/* Processor time as a script may see it: its thread's. */
#ifndef ENGINE_PHP_USAGE_H
#define ENGINE_PHP_USAGE_H

#include <sys/resource.h>
#include <sys/times.h>

/* RUSAGE_THREAD for RUSAGE_SELF on a worker's thread inside a request. */
__rusage_who_t usage_whose(__rusage_who_t who);
/* On such a thread: its own time instead of the process's. Time of children stays the process's. */
void usage_of_thread(struct tms *out);

#endif
