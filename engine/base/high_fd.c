#include "engine/base/high_fd.h"

#include <fcntl.h>
#include <sys/select.h>
#include <unistd.h>

#define STAY_BELOW 128

int high_fd(int fd)
{
    if (fd < STAY_BELOW || fd >= FD_SETSIZE) {
        return fd;
    }
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_SETSIZE);

    if (high < 0) {
        return fd; /* the process may not have so many */
    }
    close(fd);
    return high;
}
