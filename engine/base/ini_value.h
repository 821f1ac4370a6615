/* The right side of a configuration line, as PHP's own ini scanner understands it: quotes, ${VARIABLE},
 * boolean words, constants (E_ALL), and expressions of them (E_ALL & ~E_NOTICE). Pure: no input, no output,
 * only the environment is read. */
#ifndef ENGINE_BASE_INI_VALUE_H
#define ENGINE_BASE_INI_VALUE_H

#include <stddef.h>

#include "engine/base/buf.h"

/* text: what stands behind '='. Sets value (evaluated) and raw (quotes and comment off, nothing expanded);
 * both must be empty. 0, or -1 with a sentence in error. */
int ini_value_parse(const char *text, struct buf *value, struct buf *raw, char *error, size_t error_size);

/* PHP 8.4 took E_STRICT out of E_ALL. */
#ifdef PHP_RUNTIME_VERSION
#define INI_E_ALL_HAS_STRICT (PHP_RUNTIME_VERSION[0] == '8' && PHP_RUNTIME_VERSION[2] < '4')
#else
#define INI_E_ALL_HAS_STRICT false
#endif

#endif
