/* Small files of /proc, whole. Any thread. */
#ifndef ENGINE_BASE_PROC_FILE_H
#define ENGINE_BASE_PROC_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* What is in the file, cut to size, as a string; "" and false: it cannot be read, or there is nothing in it.
 */
bool proc_file_read(const char *path, char *text, size_t size);

#endif
