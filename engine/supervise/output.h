/* What an engine process writes to its stdout and stderr, as lines of the log: php-fpm's
 * `[pool P] child N said into stderr: "..."`, or the bare line when decoration is off. Supervisor's thread.
 */
#ifndef ENGINE_SUPERVISE_OUTPUT_H
#define ENGINE_SUPERVISE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum output_stream { OUTPUT_STDOUT, OUTPUT_STDERR };

struct output;

/* pool is borrowed. NULL: out of memory. */
struct output *output_create(const char *pool, pid_t pid, bool decorate);
void output_feed(struct output *o, enum output_stream stream, const char *p, size_t n);
/* The stream's end; the last line without a newline is said with ", pipe is closed". */
void output_close(struct output *o, enum output_stream stream);
void output_destroy(struct output *o);

/* Reads what is there, at most `rounds` buffers so that one talker cannot hold the supervisor. false: the
 * pipe is at its end (output_close has been called). */
bool output_read(struct output *o, enum output_stream stream, int fd, int rounds);

#endif
