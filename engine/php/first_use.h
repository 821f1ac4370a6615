/* What C libraries ask the environment once, for the whole process: asked at the start, when it is the
 * pool's. */
#ifndef ENGINE_PHP_FIRST_USE_H
#define ENGINE_PHP_FIRST_USE_H

void first_use_start(void); /* main thread, when the environment is the pool's and extensions are loaded */

#endif
