/* Would an execution bring the program that runs, with the libraries that it runs with? Any thread. */
#ifndef ENGINE_SUPERVISE_SAME_PROGRAM_H
#define ENGINE_SUPERVISE_SAME_PROGRAM_H

#include <stdint.h>

/* What the program that `path` names, its libraries, their folders and the linker's lists are now; 0: nobody
 * can tell, or one of them has changed since then. */
uint64_t same_program_print(const char *path, uint64_t since_wall_us);

#endif
