/* The sampling profiler. See the header.
 *
 * A thread on the processor is sent WORKER_SIGNAL_TRACE and writes its stack down itself, in a file in memory
 * of its own; the next tick collects it, so nobody waits for a thread that does not get the processor. One
 * that sleeps in the kernel stands still and is read from here: a signal would cut its sleep short. */
#include "engine/work/profile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/work/pool_private.h"

#define STACKS_MAX  4096 /* different ones; more are counted as one */
#define STACK_BYTES 3800 /* of its line: a write of it is whole */
#define DEPTH_MAX   128
#define TRACE_BYTES 65536
#define LEAVE_US    (10 * CLOCK_US_PER_SECOND) /* for a reader who does not read */

struct stack {
    char *text; /* NULL = free */
    uint64_t hash, count;
};

struct profile {
    unsigned hz, interval_ms;
    uint64_t until_us, leave_us; /* leave_us: 0 = it is still sampled */
    int fd;
    struct stack *stacks;
    size_t count;
    uint64_t others; /* samples of stacks for which there was no place */
    struct buf text; /* what leaves */
    size_t sent;
};

static struct profile *now_running; /* of this process; control thread */

/* -- stacks -- */

static void count_stack(struct profile *p, const char *text)
{
    uint64_t hash = hash_str(str_of(text), 0);
    for (size_t i = 0; i < STACKS_MAX; i++) {
        struct stack *s = &p->stacks[(hash + i) % STACKS_MAX];
        if (s->text && s->hash == hash && strcmp(s->text, text) == 0) {
            s->count++;
            return;
        }
        if (!s->text && p->count < STACKS_MAX / 2) {
            s->text = strdup(text);
            s->hash = hash;
            s->count = s->text ? 1 : 0;
            p->count += s->text ? 1 : 0;
            return;
        }
        if (!s->text) {
            break;
        }
    }
    p->others++;
}

/* A name as part of a line: no separators, no controls. */
static size_t put_part(char *out, size_t at, size_t size, const char *text, size_t n)
{
    if (at + 2 >= size) {
        return at;
    }
    out[at++] = ';';
    for (size_t i = 0; i < n && at + 1 < size; i++) {
        unsigned char c = (unsigned char)text[i], before = i ? (unsigned char)text[i - 1] : 0;
        bool control = iscntrl(c) || (before == 0xc2 && c >= 0x80 && c < 0xa0); /* UTF-8's, too */
        out[at++] = c == ';' || c == ' ' ? '_' : control ? '?' : (char)c;
    }
    out[at] = '\0';
    return at;
}

/* "[0x...] name() FILE:LINE": the name. */
static struct str name_of(struct str line)
{
    const char *begin = line.n ? memchr(line.p, ' ', line.n) : NULL;
    const char *end = begin ? memmem(begin, line.n - (size_t)(begin - line.p), "() ", 3) : NULL;
    return end ? (struct str){begin + 1, (size_t)(end - begin - 1)} : STR_NONE;
}

/* The trace has the innermost function first. */
static void fold(struct profile *p, const struct worker *w, const char *trace, size_t n)
{
    char text[STACK_BYTES];
    struct str lines[DEPTH_MAX], rest = {trace, n}, line;
    size_t count = 0, at;
    while (count < DEPTH_MAX && rest.n && str_split(&rest, '\n', &line)) {
        lines[count] = name_of(line);
        count += lines[count].p != NULL;
    }
    at = (size_t)snprintf(text, sizeof(text), "%s", w->sample.slept ? "wait" : "cpu");
    at = put_part(text, at, sizeof(text), w->sample.url, strlen(w->sample.url));
    at = put_part(text, at, sizeof(text), w->sample.script, strlen(w->sample.script));
    while (count > 0) {
        count--;
        at = put_part(text, at, sizeof(text), lines[count].p, lines[count].n);
    }
    count_stack(p, text);
}

static void collect(struct profile *p, struct worker *w)
{
    static char trace[TRACE_BYTES]; /* the control thread's */
    ssize_t n = pread(w->sample.fd, trace, sizeof(trace), 0);
    if (n >= 0) {
        fold(p, w, trace, (size_t)n);
    }
    atomic_store(&w->sample.state, SAMPLE_NONE);
}

/* -- taking a sample -- */

static bool write_stack(struct worker *w)
{
    return ftruncate(w->sample.fd, 0) == 0 && lseek(w->sample.fd, 0, SEEK_SET) == 0 &&
           w->pool->executor->backtrace(w, w->sample.fd, DEPTH_MAX) == 0;
}

void profile_answer(struct worker *w)
{
    int saved = errno, wanted = SAMPLE_WANTED;
    if (atomic_compare_exchange_strong(&w->sample.state, &wanted, SAMPLE_TAKEN)) {
        atomic_store(&w->sample.state, write_stack(w) ? SAMPLE_DONE : SAMPLE_NONE);
    }
    errno = saved;
}

static bool describe(struct worker *w)
{
    const struct request *r = w->request;
    if (w->sample.fd < 0) {
        w->sample.fd = memfd_create("sample", MFD_CLOEXEC);
    }
    snprintf(w->sample.url, sizeof(w->sample.url), "%s %s", r->method ? r->method : "-",
             r->uri ? r->uri : "-");
    snprintf(w->sample.script, sizeof(w->sample.script), "%s", r->script ? r->script : "-");
    return w->sample.fd >= 0;
}

/* With the worker's lock held: its request is not over before we are. */
static void sample_request(struct profile *p, struct worker *w)
{
    if (!describe(w)) {
        return;
    }
    w->sample.slept = worker_is_blocked(w);
    if (!w->sample.slept) {
        atomic_store(&w->sample.state, SAMPLE_WANTED);
        pthread_kill(w->thread, WORKER_SIGNAL_TRACE);
    } else if (write_stack(w)) {
        collect(p, w);
    }
}

static void sample(struct profile *p, struct worker *w)
{
    if (atomic_load(&w->sample.state) == SAMPLE_DONE) {
        collect(p, w);
    }
    if (atomic_load(&w->sample.state) != SAMPLE_NONE || worker_get_state(w) != WORKER_RUNNING ||
        atomic_load(&w->lost) || atomic_load(&w->crash.entered_us) || pthread_mutex_trylock(&w->lock) != 0) {
        return;
    }
    if (w->request && worker_get_state(w) == WORKER_RUNNING) {
        sample_request(p, w);
    }
    pthread_mutex_unlock(&w->lock);
}

/* -- the end -- */

static void end_profile(struct pool *pool)
{
    struct profile *p = now_running;
    now_running = NULL;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct worker *w = pool->workers[i];
        if (w && w->sample.fd >= 0 && atomic_load(&w->sample.state) == SAMPLE_NONE) {
            close(w->sample.fd);
            w->sample.fd = -1;
        }
    }
    for (size_t i = 0; i < STACKS_MAX; i++) {
        free(p->stacks[i].text);
    }
    close(p->fd);
    buf_free(&p->text);
    free(p->stacks);
    free(p);
}

static void compose(struct profile *p)
{
    for (size_t i = 0; i < STACKS_MAX; i++) {
        if (p->stacks[i].text) {
            buf_printf(&p->text, "%s %llu\n", p->stacks[i].text, (unsigned long long)p->stacks[i].count);
        }
    }
    if (p->others) {
        buf_printf(&p->text, "cpu;(other stacks) %llu\n", (unsigned long long)p->others);
    }
}

/* Whole lines, as other processes write into the same pipe. True: all of it has left, or never will. */
static bool leave(struct profile *p, uint64_t now)
{
    while (p->sent < p->text.n) {
        const char *from = p->text.p + p->sent, *end = strchr(from, '\n');
        size_t n = (size_t)(end - from) + 1;
        ssize_t done = write(p->fd, from, n);
        if (done != (ssize_t)n) {
            return !(done < 0 && (errno == EAGAIN || errno == EINTR)) || now >= p->leave_us;
        }
        p->sent += n;
    }
    return true;
}

/* -- the control thread -- */

void profile_begin(struct pool *pool, unsigned hz, unsigned ms, int fd)
{
    struct profile *p = now_running || !pool->executor->backtrace ? NULL : calloc(1, sizeof(*p));
    struct stack *stacks = p ? calloc(STACKS_MAX, sizeof(*stacks)) : NULL;
    if (!stacks || hz == 0 || hz > PROFILE_HZ_MAX || ms > PROFILE_SECONDS_MAX * 1000 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        free(stacks);
        free(p);
        close(fd);
        return;
    }
    *p = (struct profile){.hz = hz,
                          .interval_ms = 1000 / hz ? 1000 / hz : 1,
                          .until_us = clock_us() + (uint64_t)ms * 1000,
                          .fd = fd,
                          .stacks = stacks};
    now_running = p;
}

int profile_tick(struct pool *pool, uint64_t now)
{
    struct profile *p = now_running;
    if (!p) {
        return -1;
    }
    if (now < p->until_us) {
        for (uint32_t i = 0; i < pool->worker_count; i++) {
            if (pool->workers[i]) {
                sample(p, pool->workers[i]);
            }
        }
        return (int)p->interval_ms;
    }
    if (p->leave_us == 0) {
        p->leave_us = now + LEAVE_US;
        compose(p);
    }
    if (leave(p, now)) {
        end_profile(pool);
        return -1;
    }
    return 20;
}
