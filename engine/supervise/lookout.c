/* Questions of engine processes to their supervisor. See the header.
 *
 * In the engine process one thread asks at a time. A thread can be lost while it asks (its worker was written
 * off, or crashed), so nobody waits for the lock for longer than for an answer; and an answer that comes too
 * late meets the next question, which knows it by its number. */
#include "engine/supervise/lookout.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/carried.h"
#include "engine/base/clock.h"
#include "engine/base/thread.h"
#include "engine/supervise/closer.h"
#include "engine/supervise/output.h"

#define MAGIC        0x746b6c6fu
#define UNREAD       2048 /* bytes of answers, as the kernel counts them: a few, each of which may hold a view */
#define NONSENSE_MAX 64  /* packets that are no questions: others get their turn */
#define ANSWER_MS    700 /* longer than a reload needs to execute the supervisor anew */

struct answer {
    uint32_t magic;
    uint64_t number, count;
};

int lookout_pair(int fds[2])
{
    int room = UNREAD;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
        return -1;
    }
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    return 0;
}

/* -- supervisor -- */

/* A question carries no descriptors; what a process sends along all the same is not for us to wait for. */
int lookout_hear(int fd, struct lookout_question *out)
{
    for (int i = 0; i < NONSENSE_MAX; i++) {
        struct iovec part = {out, sizeof(*out)};
        union carried room;
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

        carried_expect(&message, &room);
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return 0;
        }
        if (n < 0) {
            return -1;
        }
        closer_drop_carried(&message);
        if (n == 0) { /* the end, or an empty packet */
            return -1;
        }
        if (n == (ssize_t)sizeof(*out) && out->magic == MAGIC) {
            out->layout[sizeof(out->layout) - 1] = '\0';
            out->pool[sizeof(out->pool) - 1] = out->token[sizeof(out->token) - 1] = '\0';
            return 1;
        }
    }
    return 0;
}

void lookout_answer(int fd, const struct lookout_question *question, uint64_t count, int view_fd)
{
    struct answer answer = {.magic = MAGIC, .number = question->number, .count = count};
    struct iovec part = {&answer, sizeof(answer)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union carried room;

    carried_put(&message, &room, &view_fd, view_fd >= 0);
    while (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR) {
    }
}

/* -- engine process -- */

static int supervisor_fd = -1; /* constant once there are threads */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_number; /* asking */

void lookout_open(int fd)
{
    supervisor_fd = fd;
}

/* asking. 1 with *view_fd (-1 = none came), 0 = nothing now, -1 = nobody is there any more. */
static int receive(struct answer *out, int *view_fd)
{
    struct iovec part = {out, sizeof(*out)};
    union carried room;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int fds[CARRIED_MAX];

    carried_expect(&message, &room);
    ssize_t n = recvmsg(supervisor_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    }
    *view_fd = carried_take(&message, fds) > 0 ? fds[0] : -1; /* the supervisor sends one at most */
    return n == (ssize_t)sizeof(*out) ? 1 : -1;
}

/* asking. Until the answer to this question is there. */
static bool wait_answer(uint64_t number, uint64_t until_us, struct answer *out, int *view_fd)
{
    for (;;) {
        struct pollfd p = {.fd = supervisor_fd, .events = POLLIN};
        uint64_t now = clock_us();

        if (now >= until_us || (poll(&p, 1, (int)((until_us - now) / 1000) + 1) < 0 && errno != EINTR)) {
            return false;
        }
        int rc = receive(out, view_fd);

        if (rc < 0 || (rc > 0 && out->number == number)) {
            return rc > 0;
        }
        if (rc > 0 && *view_fd >= 0) {
            close(*view_fd);
        }
    }
}

/* What is asked; number and layout are filled in here. */
static bool ask_question(struct lookout_question question, struct answer *out, int *view_fd)
{
    uint64_t until_us = clock_us() + ANSWER_MS * 1000;

    *view_fd = -1;
    if (supervisor_fd < 0 || !thread_lock_within(&asking, ANSWER_MS)) {
        return false;
    }
    question.number = ++last_number;
    memcpy(question.layout, view_layout(), strlen(view_layout()));
    bool good = send(supervisor_fd, &question, sizeof(question), MSG_NOSIGNAL | MSG_DONTWAIT) ==
                    (ssize_t)sizeof(question) &&
                wait_answer(question.number, until_us, out, view_fd);

    pthread_mutex_unlock(&asking);
    return good;
}

static bool ask(enum lookout_kind kind, struct answer *out, int *view_fd)
{
    return ask_question((struct lookout_question){.magic = MAGIC, .kind = kind}, out, view_fd);
}

struct view *lookout_view(void)
{
    struct answer answer;
    int fd;
    struct view *view = ask(LOOKOUT_VIEW, &answer, &fd) && fd >= 0 ? view_load(fd) : NULL;

    if (fd >= 0) {
        close(fd);
    }
    return view;
}

bool lookout_workers(uint32_t *count)
{
    struct answer answer;
    int fd;
    bool good = ask(LOOKOUT_WORKERS, &answer, &fd);

    if (fd >= 0) {
        close(fd);
    }
    *count = good && answer.count < UINT32_MAX ? (uint32_t)answer.count : 0;
    return good;
}

bool lookout_text(enum lookout_kind kind, struct buf *out)
{
    struct answer answer;
    char piece[16384];
    off_t at = 0;
    ssize_t n = -1;
    int fd;

    if (!ask(kind, &answer, &fd) || fd < 0) {
        return false;
    }
    while (at < LOOKOUT_TEXT_MAX && (n = pread(fd, piece, sizeof(piece), at)) > 0) {
        buf_add(out, piece, (size_t)n);
        at += n;
    }
    close(fd);
    return n == 0 && !out->failed;
}

bool lookout_order(enum lookout_kind kind, const char *pool, const char *token)
{
    struct lookout_question question = {.magic = MAGIC, .kind = kind};
    struct answer answer;
    int fd = -1;

    if (strlen(pool) >= sizeof(question.pool) || strlen(token) >= sizeof(question.token)) {
        return false;
    }
    memcpy(question.pool, pool, strlen(pool));
    memcpy(question.token, token, strlen(token));
    bool done = ask_question(question, &answer, &fd) && answer.count == 1;
    explicit_bzero(&question, sizeof(question));
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

int lookout_profile(const char *pool, unsigned seconds, unsigned hz)
{
    struct lookout_question question = {
        .magic = MAGIC, .kind = LOOKOUT_PROFILE, .seconds = seconds, .hz = hz};
    struct answer answer;
    int fd = -1;

    if (pool && strlen(pool) >= sizeof(question.pool)) {
        return -1;
    }
    memcpy(question.pool, pool ? pool : "", pool ? strlen(pool) : 0);
    return ask_question(question, &answer, &fd) ? fd : -1;
}

int lookout_talker(int stream_fd, int32_t worker)
{
    struct lookout_question question = {.magic = MAGIC, .kind = LOOKOUT_TALKER, .worker = worker};
    struct answer answer;
    int fd = -1;

    question.stream = stream_fd == STDOUT_FILENO ? OUTPUT_STDOUT : OUTPUT_STDERR;
    return ask_question(question, &answer, &fd) ? fd : -1;
}
