/* Going to the background, and the pid file. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_DAEMON_H
#define ENGINE_SUPERVISE_DAEMON_H

/* In the caller's process: waits for the child's word, at most 10 s, and exits with 0, 70, or what the child
 * said. Returns in the child: the descriptor to say it on, or -1 (reported). */
int daemon_fork(void);
void daemon_report(int *report_fd, int exit_code); /* once; then it is closed and -1 */

int daemon_null_stdio(void);              /* descriptors 0 and 1 become /dev/null; 0 or -1 (reported) */
int daemon_write_pid(const char *path);   /* 0 or -1 (reported) */
void daemon_remove_pid(const char *path); /* only if it is still ours */

#endif
