/* What PHP, its extensions and preloaded scripts print while they start: php-fpm's master has a console then;
 * an engine process has the log. Main thread, before others exist. */
#ifndef ENGINE_SUPERVISE_STARTUP_OUTPUT_H
#define ENGINE_SUPERVISE_STARTUP_OUTPUT_H

/* Descriptors 1 and 2 become a file in memory. Where there is none, they stay as they are. pool must outlive
 * the start. */
void startup_output_begin(const char *pool);
/* They are what they were, and every line of that file is in the log. Also called where PHP ends the process
 * by exit(). */
void startup_output_end(void);

#endif
