/* What an engine process has to say in the server's own log: finished lines, through a pipe, because the log
 * itself is no process's to hold (scribe.h says why). A line is the word of a peer: bounded, and without
 * control characters. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_JOURNAL_H
#define ENGINE_SUPERVISE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

struct journal; /* the line that has no end yet */

int journal_pipe(int fds[2]);         /* close-on-exec and non-blocking; [0] is ours; 0 or -1 */
struct journal *journal_create(void); /* NULL: out of memory */
void journal_feed(struct journal *j, char *p, size_t n); /* writes over p */
/* Reads what is there, at most `rounds` buffers. false: the end; what had no newline is written. */
bool journal_read(struct journal *j, int fd, int rounds);
void journal_destroy(struct journal *j); /* the same */

#endif
