/* Temporary files. See the header. */
#include "http/answer/temp_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/high_fd.h"
#include "engine/base/log.h"

int temp_file_open(const char *what)
{
    const char *dir = getenv("TMPDIR");
    if (!dir || dir[0] != '/') {
        dir = "/tmp";
    }
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        char path[512];
        if ((size_t)snprintf(path, sizeof path, "%s/tokiophp-XXXXXX", dir) >= sizeof path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
        }
    }
    if (fd < 0) {
        log_limited(LEVEL_ERROR, "cannot make a temporary file for %s in %s: %s", what, dir, strerror(errno));
    }
    return high_fd(fd);
}
