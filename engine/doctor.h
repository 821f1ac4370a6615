/* `tokiophp doctor`: looks at a configuration and at the machine, and says what will hurt. Main thread of a
 * process of its own; nothing is changed. */
#ifndef ENGINE_DOCTOR_H
#define ENGINE_DOCTOR_H

#include "engine/engine_settings.h"

/* Exit code: 0 nothing was found, 1 something was, 78 the configuration cannot be used. */
int doctor_main(const struct cli_options *cli);

#endif
