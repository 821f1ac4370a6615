/* Patterns of the configuration for host names; those for paths are in engine/base/pattern.h. Pure functions;
 * any thread. */
#ifndef HTTP_WIRE_HOST_PATTERN_H
#define HTTP_WIRE_HOST_PATTERN_H

#include "engine/base/str.h"

/* How well one of the names fits the host (case ignored; without port and trailing dot): 0 = none does. An
 * exact name beats every wildcard, a longer wildcard ("*.example.org") a shorter one. */
unsigned host_pattern_fit(const char *names, struct str host);
/* "Example.org:8080" -> "Example.org"; the brackets of an IPv6 address stay. */
struct str host_pattern_name(struct str host);

#endif
