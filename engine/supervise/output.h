/* What an engine process writes to its stdout and stderr, as lines of the log: php-fpm's
 * `[pool P] child N said into stderr: "..."`, with `, request ID` behind it where one is known, or the bare
 * line when decoration is off. Supervisor's thread. */
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

/* What comes from now on is of this request of a worker; an unfinished line of the one before ends. */
void output_is_of(struct output *o, const char *request);
/* Whether text lines say so; they do at first. */
void output_name_requests(bool on);
/* No unfinished line in it. */
bool output_idle(const struct output *o);

/* -- output_sources.c: one pipe, and everybody who talks into it -- */

/* The workers of an engine process, each with lines of its own (base/frame.h), and for all else the process
 * itself: C libraries, and programs that inherited the pipe. */
struct output_sources;

struct output_sources *output_sources_create(const char *pool, pid_t pid, bool decorate);
void output_sources_feed(struct output_sources *s, enum output_stream stream, const char *p, size_t n);
void output_sources_close(struct output_sources *s, enum output_stream stream);
void output_sources_destroy(struct output_sources *s);

/* Reads what is there, at most `rounds` buffers so that one talker cannot hold the supervisor. false: the
 * pipe is at its end (output_sources_close has been called). */
bool output_sources_read(struct output_sources *s, enum output_stream stream, int fd, int rounds);

#endif
