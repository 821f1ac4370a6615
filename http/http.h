/* The HTTP front end, as a list of front ends names it. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "engine/engine.h"

extern const struct frontend http_frontend;

#endif
