/* The server log, written to a pipe and read back. One a program, on one thread. */
#ifndef TESTS_SUPPORT_LOG_PIPE_H
#define TESTS_SUPPORT_LOG_PIPE_H

extern int log_pipe[2];      /* neither end waits */
extern char log_text[65536]; /* what was read last */

int log_pipe_open(void);         /* the log goes there from now on, as text, NOTICE and above; 0 or -1 */
void log_pipe_close(void);       /* it goes to stderr again */
const char *log_pipe_read(void); /* what was logged since the last time: log_text */
/* An extended regular expression. */
void assert_matches(const char *text, const char *pattern);

#endif
