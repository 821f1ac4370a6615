/* Symbols of libc and libphp that this program answers. */
#ifndef ENGINE_PHP_INTERPOSE_H
#define ENGINE_PHP_INTERPOSE_H

#include <stdbool.h>

/* Main thread, after PHP and its extensions were loaded: whether each is really bound in libphp. What is not
 * is logged. Returns whether libphp leaves its path functions to us. */
bool interpose_check(void);
/* Likewise, after the former: in the other objects that were loaded, ten times as many names. */
void interpose_check_others(void);

#endif
