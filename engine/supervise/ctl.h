/* The clients of the control socket, as commands. */
#ifndef ENGINE_SUPERVISE_CTL_H
#define ENGINE_SUPERVISE_CTL_H

/* `tokiophp top`, and `tokiophp ctl [-s SOCKET | -y FILE] COMMAND [ARGUMENT]`: argv[0] is "ctl" or "top". The
 * process's exit code. */
int ctl_main(int argc, char **argv);

#endif
