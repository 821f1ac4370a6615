/* An engine process's record, from the fork (or the adoption) until it has been reaped, and what is said to
 * it through its channel. Supervisor's thread. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/state.h"

#define WAIT_MOST_US CLOCK_US_PER_SECOND /* other pools wait as well: for their health, or to be woken up */

struct child *child_add(struct member *member, struct generation *g, pid_t pid)
{
    struct child *child = xcalloc(1, sizeof(*child));
    child->member = member;
    child->generation = g;
    child->pid = pid;
    child->channel = child->lookout = child->board_fd = child->journal_fd = child->kept_fd = -1;
    for (int i = 0; i < LOG_FILES; i++) {
        child->log_pipes[i] = -1;
    }
    child->started_us = clock_us();
    child->output =
        output_sources_create(member->name, pid, !member->conf || member->conf->s.decorate_workers_output);
    child->journal = journal_create();
    child->next = member->supervisor->children;
    member->supervisor->children = child;
    g->process = child;
    g->pid = pid;
    return child;
}

void child_close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* Who reads a message now and then would have us wait again and again: a pool's processes get WAIT_MOST_US,
 * and beyond it a tenth of the time. */
static int may_wait_ms(struct member *m, uint64_t now)
{
    uint64_t back = (now - m->waited_at_us) / 10;
    m->waited_us -= back < m->waited_us ? back : m->waited_us;
    m->waited_at_us = now;
    return m->waited_us < WAIT_MOST_US ? (int)((WAIT_MOST_US - m->waited_us) / 1000) : 0;
}

/* A full channel is emptied as fast as the process gets the processor, unless it is stuck: then nothing more
 * is waited for. */
int child_send(struct child *child, enum channel_type type, int64_t number, const char *text, const int *fds,
               int fd_count)
{
    struct pollfd room = {.fd = child->channel, .events = POLLOUT};
    uint64_t since;
    int rc, ms;
    while ((rc = channel_send(child->channel, type, number, text, fds, fd_count)) != 0 && errno == EAGAIN &&
           !child->deaf && (ms = may_wait_ms(child->member, since = clock_us())) > 0) {
        child->deaf = poll(&room, 1, ms) <= 0;
        child->member->waited_us += clock_us() - since;
    }
    child->deaf = child->deaf && rc != 0;
    return rc;
}

void child_tell(struct child *child, enum channel_type type, int64_t number)
{
    if (child->channel >= 0) {
        child_send(child, type, number, NULL, NULL, 0);
    }
}
