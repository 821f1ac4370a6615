/* See proc_file.h. One read(2), which is how the kernel wants to be asked. */
#include "engine/base/proc_file.h"

#include <fcntl.h>
#include <unistd.h>

bool proc_file_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;

    if (fd >= 0) {
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}
