/* The profile of a pool's last hour: samples of its processes, in steps of five minutes. In memory, of a
 * bounded size: tens of kilobytes a step for an ordinary pool, at most 200 for one whose stacks are all
 * different; then URLs become one, and at last stacks do. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_PROFILE_HOUR_H
#define ENGINE_SUPERVISE_PROFILE_HOUR_H

#include <stdint.h>

#include "engine/base/buf.h"

#define HOUR_STEPS  12
#define HOUR_STEP_S 300
#define HOUR_NODES  4096         /* of a step */
#define HOUR_NAMES  4096         /* of functions, scripts, URLs */
#define HOUR_BYTES  (128u << 10) /* of these names */

struct profile_hour;

struct profile_hour *profile_hour_create(void); /* NULL: out of memory */
void profile_hour_free(struct profile_hour *hour);
void profile_hour_wipe(
    struct profile_hour *hour); /* its names, in a copy of our memory that is not to have them */
/* Lines as a process has said them; nobody vouches for them. now_s: of the wall clock. */
void profile_hour_add(struct profile_hour *hour, uint64_t now_s, struct str folded);
/* What came since then, as lines; a stack may stand there several times. */
void profile_hour_write(const struct profile_hour *hour, uint64_t since_s, struct buf *out);
/* All of it as text, for the next image, and back. */
void profile_hour_save(const struct profile_hour *hour, struct buf *out);
void profile_hour_load(struct profile_hour *hour, uint64_t now_s, struct str text);

#endif
