/* php-fpm's access.format. Made once, on the main thread; read-only from then on, for every thread. */
#ifndef ENGINE_TELEMETRY_ACCESS_FORMAT_H
#define ENGINE_TELEMETRY_ACCESS_FORMAT_H

#include "engine/telemetry/access_facts.h"

#define ACCESS_FORMAT_MAX 1024 /* bytes of a line, with its newline: php-fpm's; longer ones are cut */

struct access_format;

/* NULL with php-fpm's sentence ("Invalid token in the access.format (%z)") in error. */
struct access_format *access_format_create(const char *text, char *error, size_t error_size);
void access_format_destroy(struct access_format *format);
/* 0, or -1 with the same sentence. */
int access_format_check(const char *text, char *error, size_t error_size);
bool access_format_has(const struct access_format *format, char letter);
/* A whole line with its newline in out, of ACCESS_FORMAT_MAX bytes; its length. */
size_t access_format_line(const struct access_format *format, const struct request *r,
                          const struct access_facts *facts, char *out);

#endif
