/* What engine processes write into log files. Whoever holds a file's descriptor can also overwrite it, and
 * cut it off, O_APPEND or not: so a process gets a pipe for each of its logs, and a thread of the
 * supervisor's appends to the file what comes out. A reader of a log that does not read (a FIFO, a terminal)
 * holds up that thread alone; the pipe fills, and the process drops lines and counts them.
 *
 * Supervisor's thread, but for what the scribes do themselves. */
#ifndef ENGINE_SUPERVISE_SCRIBE_H
#define ENGINE_SUPERVISE_SCRIBE_H

#include <stdint.h>

/* What a pool's processes write besides the server's log (journal.h). */
enum log_file { LOG_FILE_ACCESS, LOG_FILE_SLOW, LOG_FILES };

struct scribe;

/* Close-on-exec and non-blocking; [0] is the scribe's, [1] the process's. 0 or -1. */
int scribe_pipe(int fds[2]);
/* Reads fd until its end. target keeps its number as long as the supervisor lives; another file may take its
 * place at any time (dup3). fd stays the caller's until scribe_leave(). NULL: no thread (reported). */
struct scribe *scribe_start(int fd, int target);
/* Its process is gone: what is left is written, and fd closed, in its own time. NULL is fine. */
void scribe_leave(struct scribe *scribe);

/* Before an execution, which ends all threads: those that were left are done, and the others hold nothing
 * that is not in a pipe or in a file; they wait until scribes_go_on(). As much of it as wait_ms allows. */
void scribes_rest(unsigned wait_ms);
void scribes_go_on(void);
/* At the end: until those that were left are done, at most wait_ms. */
void scribes_finish(unsigned wait_ms);

/* Lines that a file did not take, ever. */
uint64_t scribes_lost(void);

#endif
