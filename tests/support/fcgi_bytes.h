/* Records of FastCGI as a client sends them, for tests; of request 1. */
#ifndef TESTS_SUPPORT_FCGI_BYTES_H
#define TESTS_SUPPORT_FCGI_BYTES_H

#include <stddef.h>

#include "engine/base/buf.h"

void fcgi_add_record(struct buf *b, int type, const char *p, size_t n); /* n is below 65536 */
void fcgi_add_pair(struct buf *b, const char *name, const char *value); /* each is below 128 bytes */

#endif
