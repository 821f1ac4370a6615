/* What C libraries ask the environment once, for the whole process: asked at the start, when it is the
 * pool's. */
#ifndef ENGINE_PHP_FIRST_USE_H
#define ENGINE_PHP_FIRST_USE_H

/* Main thread, when the environment is the pool's and extensions are loaded, before a script runs. */
void first_use_start(void);

#endif
