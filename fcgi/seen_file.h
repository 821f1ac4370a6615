/* Scripts that were there a moment ago: a busy one costs no stat() a request. Only existence is remembered,
 * for a second at most (php-fpm's realpath cache remembers it for two minutes); a script that went away
 * meanwhile is found missing by PHP, which opens it. Each worker's thread has its own. */
#ifndef FCGI_SEEN_FILE_H
#define FCGI_SEEN_FILE_H

#include <stdbool.h>
#include <stddef.h>

#define SEEN_FILE_US 1000000

/* Is there something at this path? n: its length. */
bool seen_file_exists(const char *path, size_t n);
/* Forgets everything: for tests. */
void seen_file_forget(void);

#endif
