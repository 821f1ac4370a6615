/* `tokiophp ctl profile`. A process of its own. */
#ifndef ENGINE_SUPERVISE_CTL_PROFILE_H
#define ENGINE_SUPERVISE_CTL_PROFILE_H

#include <stdbool.h>

/* As they were said. pool: NULL = all; output: NULL = stdout. */
struct ctl_profile {
    const char *pool, *seconds, *hz, *format, *output;
    const char *last; /* so many seconds of what is kept; NULL: what runs now */
};
/* fd: a connection to the control socket at path, the caller's. An exit code. */
int ctl_profile(int fd, const char *path, const struct ctl_profile *asked);

/* Says that nothing came back of a command; waited: until it was given up. An exit code. */
int ctl_unanswered(const char *path, bool waited);

#endif
