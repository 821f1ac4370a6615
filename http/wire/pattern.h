/* Patterns of the configuration: host names; those of paths are in engine/base/pattern.h. Pure functions; any
 * thread. */
#ifndef HTTP_WIRE_PATTERN_H
#define HTTP_WIRE_PATTERN_H

#include "engine/base/pattern.h"

/* Why this cannot be the pattern of a path, or NULL. */
const char *pattern_fault(struct str pattern);
/* How well one of the names fits the host (case ignored; without port and trailing dot): 0 = none does. An
 * exact name beats every wildcard, a longer wildcard ("*.example.org") a shorter one. */
unsigned pattern_host(const char *names, struct str host);
/* "Example.org:8080" -> "Example.org"; the brackets of an IPv6 address stay. */
struct str pattern_host_name(struct str host);

#endif
