/* struct resident, for resident.c (the thread's life) and residents.c (what others ask). Its worker's
 * thread's own, but for booting_since_us. */
#ifndef ENGINE_WORK_RESIDENT_PRIVATE_H
#define ENGINE_WORK_RESIDENT_PRIVATE_H

#include "engine/work/resident.h"

struct resident {
    bool waits;                        /* the script waits for a request */
    bool down;                         /* too many boots have failed: requests are refused */
    bool ready;                        /* this run of the script has asked for a request */
    unsigned failures;                 /* boots in a row */
    char why[256];                     /* of the last one */
    bool shown;                        /* requests are told of it, */
    bool asked;                        /* and one waits to be */
    enum restart_reason end;           /* of this run, should it end now */
    _Atomic uint64_t booting_since_us; /* the control thread reads it; 0 = it is not booting */
};

#endif
