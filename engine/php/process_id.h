/* getpid() without a system call: ZendMM asks at the end of each request whether the process has forked. */
#ifndef ENGINE_PHP_PROCESS_ID_H
#define ENGINE_PHP_PROCESS_ID_H

#include <sys/types.h>

/* Main thread of an engine process, once, before others exist. */
void process_id_remember(void);
/* Any thread, at any time, also in a child. */
pid_t process_id(void);

#endif
