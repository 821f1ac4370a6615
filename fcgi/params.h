/* A request's variables, as rules read and change them after they have arrived. Worker's thread. */
#ifndef FCGI_PARAMS_H
#define FCGI_PARAMS_H

#include "engine/engine.h"

const char *params_get(const struct request *r, struct str name); /* in the arena; NULL: absent */
/* Replaces or adds a copy of value; NULL removes. 0, or -1: the arena is full. */
int params_set(struct request *r, struct str name, const char *value);

#endif
