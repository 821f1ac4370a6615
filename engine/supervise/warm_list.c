/* What an engine process compiled, its successor compiles before it is ready: the list goes from the one
 * through the supervisor to the other, as a file in memory. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/supervise/channel.h"
#include "engine/supervise/process_private.h"

#define BUDGET_MS  5000
#define AWAITED_MS 50 /* what the first request needs is compiled with it */
#define LIST_MAX   (4u << 20)

/* malloc's; NULL: there is none. A copy: it may be cut meanwhile. */
static char *copy_list(int fd, size_t *n)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= 0 || st.st_size > (off_t)LIST_MAX) {
        return NULL;
    }
    char *list = malloc((size_t)st.st_size);
    ssize_t got = list ? pread(fd, list, (size_t)st.st_size, 0) : -1;
    if (got <= 0) {
        free(list);
        return NULL;
    }
    *n = (size_t)got;
    return list;
}

void warm_list_inherit(const struct process *p)
{
    if (p->executor->inherit && p->args->pool->s.preload) {
        size_t n = 0;
        char *list = copy_list(p->args->warm_fd, &n);
        p->executor->inherit(list, n, p->args->failed);
        free(list);
    }
}

void warm_list_use(struct process *p)
{
    size_t n;
    char *list = p->executor->warm ? copy_list(p->args->warm_fd, &n) : NULL;
    if (list) {
        p->executor->warm(list, n, p->args->awaited ? AWAITED_MS : BUDGET_MS);
    }
    free(list);
    if (p->args->warm_fd >= 0) {
        close(p->args->warm_fd);
    }
}

void warm_list_send(struct process *p)
{
    char *list = p->executor->warm_list ? malloc(LIST_MAX) : NULL;
    size_t n = list ? p->executor->warm_list(list, LIST_MAX) : 0;
    int fd = n > 0 ? memfd_create("warm-list", MFD_CLOEXEC) : -1;
    size_t done = 0;
    while (fd >= 0 && done < n) {
        ssize_t w = write(fd, list + done, n - done);
        if (w <= 0) {
            break;
        }
        done += (size_t)w;
    }
    channel_send(p->args->channel, CHANNEL_WARM_LIST, (int64_t)done, NULL, &fd, fd >= 0 && done == n ? 1 : 0);
    if (fd >= 0) {
        close(fd);
    }
    free(list);
}
