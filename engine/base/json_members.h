/* Reading JSON for a few facts: every member of every object is shown once, with the names that lead to it.
 * Pure; any thread. */
#ifndef ENGINE_BASE_JSON_MEMBERS_H
#define ENGINE_BASE_JSON_MEMBERS_H

#include "engine/base/str.h"

#define JSON_DEPTH 32 /* deeper text is refused */

/* names: as they stand between their quotes, from the outermost object's member on; lists add none. value: as
 * it stands, quotes, braces and all. */
typedef void json_member(void *ctx, const struct str *names, size_t count, struct str value);

/* False: it is no JSON, or too deep; what came before that was shown. */
bool json_members(struct str text, json_member *each, void *ctx);

#endif
