/* What a script on a test's pool said, and assertions about it. The test's main thread. */
#ifndef TESTS_SUPPORT_PHP_SAYS_H
#define TESTS_SUPPORT_PHP_SAYS_H

#include "tests/support/php_pool.h"

const char *buf_said(const struct buf *b); /* "" if nothing */
void assert_has(const struct buf *b, const char *part);
void assert_has_not(const struct buf *b, const char *part);
/* Runs a script and compares the whole body. */
void assert_says(const char *script, const char *query, const char *body);

#endif
