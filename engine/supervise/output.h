/* What an engine process writes to its stdout and stderr, as lines of the log: php-fpm's
 * `[pool P] child N said into stderr: "..."`, with `, request ID` behind it where one is known, or the bare
 * line when decoration is off. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_OUTPUT_H
#define ENGINE_SUPERVISE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum output_stream { OUTPUT_STDOUT, OUTPUT_STDERR };

struct output;

/* pool is borrowed. NULL: out of memory. */
struct output *output_create(const char *pool, pid_t pid, bool decorate);
void output_feed(struct output *o, enum output_stream stream, const char *p, size_t n);
/* The stream's end; the last line without a newline is said with ", pipe is closed". */
void output_close(struct output *o, enum output_stream stream);
void output_destroy(struct output *o);

/* What comes from now on is of this request of a worker; an unfinished line of the one before ends. */
void output_is_of(struct output *o, const char *request);
/* An unfinished line ends here. */
void output_end_line(struct output *o);
/* Whether text lines say so; they do at first. */
void output_name_requests(bool on);
/* No unfinished line in it. */
bool output_idle(const struct output *o);

/* -- output_sources.c: the pipes of an engine process, and everybody who talks into them -- */

/* The workers of an engine process, each with lines of its own (base/frame.h), and for all else the process
 * itself: C libraries, and programs that inherited its pipe. */
struct output_sources;

struct output_sources *output_sources_create(const char *pool, pid_t pid, bool decorate);
void output_sources_destroy(struct output_sources *s); /* with the pipes that are open */

/* One pipe of the process, or of one of its workers: then all in it is this worker's, framed or not. */
struct output_pipe;

/* worker: 0 = the process. NULL: out of memory. */
struct output_pipe *output_pipe_open(struct output_sources *s, enum output_stream stream, int32_t worker);
void output_pipe_feed(struct output_pipe *pipe, const char *p, size_t n);
/* Reads what is there, at most *rounds buffers so that one talker cannot hold the supervisor; they are
 * counted down. false: the pipe is at its end, and to be closed. */
bool output_pipe_read(struct output_pipe *pipe, int fd, int *rounds);
void output_pipe_close(struct output_pipe *pipe); /* frees it */

/* For somebody else who is to read on: the frame that was begun is read to its end, and what has been said of
 * unfinished lines is said. Then the request is all that he has to know. */
void output_pipe_settle(struct output_pipe *pipe, int fd);
const char *output_pipe_request(const struct output_pipe *pipe); /* "" = none */
void output_pipe_set_request(struct output_pipe *pipe, const char *request);

#endif
