/* Files that are watched for changes (inotify), by patterns (pattern.h). One thread.
 *
 * Patterns are words, of paths or, without a '/' in front, of what is below the folder `from`; one that
 * begins with '!' takes out what it fits, a folder that it fits with all that is below. Folders are found
 * when it is opened, and new ones as they come, also those where patterns begin; symbolic links to folders
 * are not followed, except in the part of a pattern that has no '*'. */
#ifndef ENGINE_BASE_FILE_WATCH_H
#define ENGINE_BASE_FILE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

struct file_watch;

/* NULL with errno. What cannot be watched, because the system allows no more, is said in the log. */
struct file_watch *file_watch_open(const char *from, const char *patterns);
void file_watch_close(struct file_watch *watch);            /* NULL is fine */
int file_watch_fd(const struct file_watch *watch);          /* readable: there is news */
bool file_watch_has_folder(const struct file_watch *watch); /* there is one in which something could fit */
/* Reads the news. True: a file that fits has come, changed or gone; its path is in name, cut to size. */
bool file_watch_changed(struct file_watch *watch, char *name, size_t size);

#endif
