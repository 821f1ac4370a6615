/* What an image of the supervisor leaves to the next one that it executes itself into: a memory file of
 * lines. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_INHERITED_H
#define ENGINE_SUPERVISE_INHERITED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

bool inherited(void);       /* did an earlier image leave us processes? */
FILE *inherited_open(void); /* the file from its first line on, the caller's; NULL: there is none */
bool inherited_line(FILE *file, char **line, size_t *size); /* as getline(), without the line's end */
int inherited_fd(int fd);   /* a descriptor that a line names, close-on-exec again; -1: there is no such */
void inherited_done(void);  /* all of it has been taken */
void inherited_never(void); /* this process, a fork, takes itself for a first start */

/* Lines of a file of a pool's: the pool's name, in the line, and the descriptor; NULL: another kind of line.
 */
const char *inherited_file_line(const char *line, int *fd);
bool inherited_write_counters(int file, int fd, const char *pool);
/* What the pool's metrics counted in, the caller's; -1: nothing. */
int inherited_counters(const char *pool);
bool inherited_write_task_notes(int file, int fd, const char *pool);
int inherited_task_notes(const char *pool); /* the caller's; -1: none */

/* What is remembered of a pool (story.h). */
bool inherited_write_story(int file, int fd, const char *pool);
int inherited_story(const char *pool);

/* A line of a pool's keys: the pool's name, in the line; NULL: another kind of line. */
const char *inherited_keys_line(const char *line);
bool inherited_write_keys(int file, uint64_t until_us, const char *text, const char *pool);
char *inherited_keys(const char *pool); /* the caller's, to be wiped; NULL: none */
uint64_t inherited_keys_until(void);    /* when they change; 0: there are none */

void inherited_leave(int fd); /* this file is for the next image; -1: nothing is */

#endif
