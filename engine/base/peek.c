#include "engine/base/peek.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/uio.h>
#include <unistd.h>

#define AT_ONCE    128
#define FIRST_PAGE 4096 /* what lies below is no address of anything */

/* One after the other, where process_vm_readv is forbidden: through a pipe, into which the kernel copies the
 * same way. */
static void copy_through_pipe(struct peek *pieces, size_t count)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct peek *p = &pieces[i];
        ssize_t n = p->from ? write(ends[1], p->from, p->n) : -1;

        p->copied = n > 0 && read(ends[0], p->to, (size_t)n) == (ssize_t)p->n;
    }
    close(ends[0]);
    close(ends[1]);
}

/* The kernel stops at the first piece that is not there; the others follow in another call. */
void peek_all(struct peek *pieces, size_t count)
{
    struct iovec local[AT_ONCE], remote[AT_ONCE];
    size_t from = 0;

    while (from < count) {
        size_t n = 0, done = 0;

        for (; from + n < count && n < AT_ONCE; n++) {
            const struct peek *p = &pieces[from + n];

            local[n] = (struct iovec){p->to, p->n};
            remote[n] = (struct iovec){(void *)(uintptr_t)p->from, p->n};
        }
        ssize_t got = process_vm_readv(getpid(), local, n, remote, n, 0);

        if (got < 0 && errno != EFAULT) {
            copy_through_pipe(pieces + from, count - from);
            return;
        }
        while (done < n && got > 0 && got >= (ssize_t)pieces[from + done].n) {
            got -= (ssize_t)pieces[from + done].n;
            pieces[from + done++].copied = true;
        }
        from += done < n ? done + 1 : done;
    }
}

/* Without the lists of peek_all(): the caller's stack may be that of a signal handler. */
bool peek(void *to, const void *from, size_t n)
{
    struct peek piece = {to, from, n, false};
    struct iovec local = {to, n}, remote = {(void *)(uintptr_t)from, n};

    if ((uintptr_t)from < FIRST_PAGE) {
        return false;
    }
    ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

    if (got < 0 && errno != EFAULT) {
        copy_through_pipe(&piece, 1);
    }
    return got == (ssize_t)n || piece.copied;
}
