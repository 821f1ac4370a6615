/* `serve` says what it serves and where: URLs that a browser takes. Supervisor's thread. */
#ifndef ENGINE_ANNOUNCE_H
#define ENGINE_ANNOUNCE_H

#include "engine/engine_settings.h"

/* One line for each address of the first pool, whatever log_level says. */
void announce(const struct config *config);

#endif
