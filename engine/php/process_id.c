/* See the header. The kernel wipes the page in every child that fork makes, and a child asks the kernel. */
#include "engine/php/process_id.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const pid_t *remembered; /* written before threads exist; 0 there: unknown */

void process_id_remember(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    pid_t *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return;
    }
    if (madvise(page, size, MADV_WIPEONFORK) != 0) {
        munmap(page, size);
        return;
    }
    *page = (pid_t)syscall(SYS_getpid);
    remembered = page;
}

pid_t process_id(void)
{
    pid_t known = remembered ? *(const volatile pid_t *)remembered : 0;

    return known ? known : (pid_t)syscall(SYS_getpid);
}
