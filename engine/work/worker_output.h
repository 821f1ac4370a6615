/* Pipes of a worker's own beside the process's stdout and stderr, for its programs. */
#ifndef ENGINE_WORK_WORKER_OUTPUT_H
#define ENGINE_WORK_WORKER_OUTPUT_H

#include <stdbool.h>

struct worker;

/* Whether w, whose thread this is, has one for STDOUT_FILENO or STDERR_FILENO: then it is frame_own() of
 * frame.h. Asks the supervisor for it, and waits for the answer for less than a second. */
bool worker_output_own(const struct worker *w, int stream_fd);
/* For a name of the process's own stdout or stderr, as /dev/stderr, that of w's, whose thread this is; else
 * `path`. */
#define WORKER_OUTPUT_PATH 32
const char *worker_output_path(const struct worker *w, const char *path, char out[WORKER_OUTPUT_PATH]);
void worker_output_close(void); /* this thread's; safe in a signal's handler */
/* In a child of fork(): its own take the place of stdout and stderr, nobody else's stays open. */
void worker_output_in_child(void);

#endif
