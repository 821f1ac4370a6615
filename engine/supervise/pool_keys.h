/* The keys of a pool as bytes and as text. */
#ifndef ENGINE_SUPERVISE_POOL_KEYS_H
#define ENGINE_SUPERVISE_POOL_KEYS_H

#include <stdbool.h>

#include "engine/engine.h"

#define POOL_KEYS_TEXT (2 * POOL_KEYS * POOL_KEY_BYTES + 1)

void pool_keys_make(struct pool_keys *keys);
void pool_keys_rotate(struct pool_keys *keys); /* the oldest is forgotten */
void pool_keys_write(const struct pool_keys *keys, char out[POOL_KEYS_TEXT]);
bool pool_keys_read(struct pool_keys *keys, const char *text); /* false: it is none */

#endif
