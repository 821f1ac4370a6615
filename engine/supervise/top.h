/* `tokiophp top`: the running server in a terminal, over its control socket. A process of its own. */
#ifndef ENGINE_SUPERVISE_TOP_H
#define ENGINE_SUPERVISE_TOP_H

#include <stdbool.h>

/* Until q is pressed, or one frame. The process's exit code. */
int top_run(const char *socket_path, bool once);

#endif
