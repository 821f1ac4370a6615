/* Patterns of the configuration for paths of requests and of files. Pure functions; any thread. */
#ifndef ENGINE_BASE_PATTERN_H
#define ENGINE_BASE_PATTERN_H

#include "engine/base/str.h"

/* '*' stands for any run of characters, none and slashes included; everything else for itself. */
bool pattern_match(struct str pattern, struct str text);
/* Of a file's path: '*' stays within a segment, a segment "**" stands for any number of folders whose names
 * do not begin with a dot, none included. At the end of a pattern it stands for everything below, and for the
 * folder itself. */
bool pattern_file_match(struct str pattern, struct str path);
/* Could something below this folder fit? */
bool pattern_file_below(struct str pattern, struct str folder);
/* Why this cannot be the pattern of a path, or NULL. */
const char *pattern_fault(struct str pattern);
/* Does one of the words fit? NULL: there are none. */
bool pattern_list_match(const char *patterns, struct str text);

#endif
