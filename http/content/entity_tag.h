/* Entity tags of scripts' answers that we compress. Each coding of a representation has a tag of its own (RFC
 * 9110, 8.8.3), and a strong one, or nobody could use it in If-Match: the script's with a mark, "209a" ->
 * "209a-gzip". The mark is taken off again before the script sees what a client has. Pure functions; any
 * thread. */
#ifndef HTTP_CONTENT_ENTITY_TAG_H
#define HTTP_CONTENT_ENTITY_TAG_H

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "http/content/compress.h"

/* Appends the tag; a weak one, and what is no tag, stays as it is. */
void entity_tag_mark(struct buf *out, struct str tag, enum coding coding);
/* A list of tags (If-Match, If-None-Match) without marks; *codings gets the bits of those that it had, bit
 * CODING_IDENTITY of a tag without. STR_NONE: the arena is full. */
struct str entity_tag_unmark(struct arena *arena, struct str list, unsigned *codings);

#endif
