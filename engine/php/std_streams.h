/* php://stderr and php://stdout. */
#ifndef ENGINE_PHP_STD_STREAMS_H
#define ENGINE_PHP_STD_STREAMS_H

/* Main thread, after module start-up, before other threads exist. */
void std_streams_start(void);

#endif
