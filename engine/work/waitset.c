/* The wait set: readiness becomes a worker's work without a thread in between.
 *
 * A one-shot waitable stays with epoll, edge-triggered, while a worker has it in hand: what comes then is an
 * event for another worker, who finds nobody armed, notes that in the slot (`missed`) and sleeps on. So to
 * arm it again costs no system call, unless something was missed or its owner has not read all that was there
 * (waitable.dry): then epoll looks once more. waitset_mute() is for an owner who expects much to come.
 *
 * Any thread. A one-shot waitable belongs to the set while it is armed and to exactly one thread afterwards.
 * An epoll event does not carry a pointer: between its delivery and the worker's first instruction the
 * control thread may have taken the waitable out and freed it. It carries descriptor and sequence number, and
 * the table of slots (by descriptor, one cache line each, never freed before the set) says under the slot's
 * lock whether that arming still holds. So there is no list, no shared lock on the request path, and a stale
 * event is harmless.
 *
 * Sleepers are woken last in, first out by the kernel, so surplus workers stay cold. The eventfd for wake-ups
 * is edge-triggered and never read: one write wakes one sleeper, at the cost of one system call. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/must.h"
#include "engine/base/thread.h"
#include "engine/work/waitset.h"

#define CHUNK_SLOTS 1024u
#define CHUNKS      1024u /* a million descriptors */
#define WAKE_TAG    UINT64_MAX

struct slot {
    _Alignas(64) pthread_mutex_t lock;
    struct waitable *waitable;    /* lock; NULL = nothing armed */
    uint32_t sequence;            /* lock; of the arming */
    bool listener;                /* lock */
    bool missed;                  /* lock; an event came while nothing was armed */
    _Atomic uint64_t deadline_us; /* written under lock, read without it by waitset_expire; 0 = none */
};

struct waitset {
    int epoll;
    int wake;
    bool one_shot;         /* read-only: epoll forgets what has fired until it is armed again */
    _Atomic uint32_t high; /* one more than the highest descriptor ever added */
    pthread_mutex_t grow;  /* guards making a chunk */
    _Atomic(struct slot *) chunks[CHUNKS];
    _Alignas(64) _Atomic uint32_t sleeping;
    _Atomic bool waking; /* the eventfd was written and nobody has come out with it yet */
};

struct waitset *waitset_create(bool one_shot)
{
    struct waitset *set = aligned_alloc(64, sizeof(*set));

    if (!set) {
        return NULL;
    }
    *set = (struct waitset){.epoll = epoll_create1(EPOLL_CLOEXEC),
                            .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                            .one_shot = one_shot};
    pthread_mutex_init(&set->grow, NULL);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = WAKE_TAG};

    if (set->epoll < 0 || set->wake < 0 || epoll_ctl(set->epoll, EPOLL_CTL_ADD, set->wake, &event) != 0) {
        int saved = errno;

        waitset_destroy(set);
        errno = saved;
        return NULL;
    }
    return set;
}

static void free_chunk(struct slot *chunk)
{
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
        pthread_mutex_destroy(&chunk[i].lock);
    }
    free(chunk);
}

void waitset_destroy(struct waitset *set)
{
    if (set->epoll >= 0) {
        close(set->epoll);
    }
    if (set->wake >= 0) {
        close(set->wake);
    }
    for (uint32_t i = 0; i < CHUNKS; i++) {
        if (set->chunks[i]) {
            free_chunk(set->chunks[i]);
        }
    }
    pthread_mutex_destroy(&set->grow);
    free(set);
}

int waitset_fd(const struct waitset *set)
{
    return set->epoll;
}

/* -- slots -- */

static struct slot *slot_of(struct waitset *set, uint32_t fd)
{
    if (fd >= CHUNKS * CHUNK_SLOTS) {
        return NULL;
    }
    struct slot *chunk = atomic_load_explicit(&set->chunks[fd / CHUNK_SLOTS], memory_order_acquire);

    return chunk ? &chunk[fd % CHUNK_SLOTS] : NULL;
}

static struct slot *make_chunk(void)
{
    struct slot *chunk = aligned_alloc(64, CHUNK_SLOTS * sizeof(*chunk));

    for (uint32_t i = 0; chunk && i < CHUNK_SLOTS; i++) {
        chunk[i] = (struct slot){.waitable = NULL};
        pthread_mutex_init(&chunk[i].lock, NULL);
    }
    return chunk;
}

static struct slot *slot_make(struct waitset *set, int fd)
{
    MUST(fd >= 0);
    struct slot *slot = slot_of(set, (uint32_t)fd);

    if (slot || (uint32_t)fd >= CHUNKS * CHUNK_SLOTS) {
        errno = EMFILE;
        return slot;
    }
    pthread_mutex_lock(&set->grow);
    if (!atomic_load(&set->chunks[(uint32_t)fd / CHUNK_SLOTS])) {
        atomic_store(&set->chunks[(uint32_t)fd / CHUNK_SLOTS], make_chunk());
    }
    pthread_mutex_unlock(&set->grow);
    errno = ENOMEM;
    return slot_of(set, (uint32_t)fd);
}

static void note_high(struct waitset *set, uint32_t high)
{
    uint32_t seen = atomic_load(&set->high);

    while (seen < high && !atomic_compare_exchange_weak(&set->high, &seen, high)) {
    }
}

static void slot_arm(struct slot *slot, struct waitable *waitable)
{
    slot->waitable = waitable;
    atomic_store_explicit(&slot->deadline_us, slot->listener ? 0 : waitable->deadline_us,
                          memory_order_relaxed);
}

static void slot_disarm(struct slot *slot)
{
    slot->waitable = NULL;
    atomic_store_explicit(&slot->deadline_us, 0, memory_order_relaxed);
}

/* The waitable that an event is about, or NULL if that arming is over. over: the peer has ended, which stays
 * so after all that it sent has been read, and comes in no further event. */
static struct waitable *slot_claim(struct slot *slot, uint32_t sequence, bool over)
{
    struct waitable *waitable = NULL;

    pthread_mutex_lock(&slot->lock);
    slot->missed |= over;
    if (slot->waitable && slot->sequence == sequence) {
        waitable = slot->waitable;
        if (!slot->listener) {
            slot_disarm(slot);
        }
    } else {
        slot->missed = true;
    }
    pthread_mutex_unlock(&slot->lock);
    return waitable;
}

/* Listeners are level-triggered. Measured, 8 threads in one set, a connection a request, two cores: with all
 * threads busy a connection costs 22-25 us of CPU level-triggered and 23-27 us with EPOLLONESHOT and a
 * re-arming epoll_ctl; with idle threads 45 us against 31, because the kernel tells a second sleeper of a
 * connection that the first one is just accepting (a quarter of these wake-ups finds nothing). So the busy
 * server wins and the idle one pays. EPOLLET is no cheaper and would lose connections: two that come together
 * make one event, and the worker that got it serves only one. Nor EPOLLEXCLUSIVE, although it would keep the
 * other processes of the pool asleep: a process that leaves the listener, or dies, just when the kernel has
 * told it alone takes the news with it, and the connection waits until the next one comes. */

/* -- arming -- */

static struct epoll_event event_of(const struct waitset *set, const struct slot *slot,
                                   const struct waitable *waitable)
{
    uint32_t once = EPOLLIN | EPOLLRDHUP | (set->one_shot ? (uint32_t)EPOLLONESHOT : (uint32_t)EPOLLET);

    return (struct epoll_event){.events = slot->listener ? (uint32_t)EPOLLIN : once,
                                .data.u64 = (uint64_t)slot->sequence << 32 | (uint32_t)waitable->fd};
}

/* Under the slot's lock. 0 or an errno. */
static int tell_epoll(struct waitset *set, struct slot *slot, const struct waitable *waitable, int operation)
{
    struct epoll_event event = event_of(set, slot, waitable);

    slot->missed = false;
    return epoll_ctl(set->epoll, operation, waitable->fd, &event) == 0 ? 0 : errno;
}

/* The lock is held until the kernel knows: else the control thread could take the waitable out, and its owner
 * close it, before our epoll_ctl, which would then fail, or arm whatever got the descriptor next. Once it is
 * armed, another thread may take it out and free it. */
int waitset_add(struct waitset *set, struct waitable *waitable, enum wait_mode mode)
{
    struct slot *slot = slot_make(set, waitable->fd);

    if (!slot) {
        return -1;
    }
    note_high(set, (uint32_t)waitable->fd + 1);
    pthread_mutex_lock(&slot->lock);
    MUST(!slot->waitable);
    slot->listener = mode == WAIT_LISTENER;
    slot->sequence++;
    slot_arm(slot, waitable);
    int error = tell_epoll(set, slot, waitable, EPOLL_CTL_ADD);

    if (error) {
        slot_disarm(slot);
    }
    pthread_mutex_unlock(&slot->lock);
    errno = error;
    return error ? -1 : 0;
}

int waitset_rearm(struct waitset *set, struct waitable *waitable)
{
    struct slot *slot = slot_of(set, (uint32_t)waitable->fd);
    int error = 0;

    MUST(slot);
    pthread_mutex_lock(&slot->lock);
    MUST(!slot->waitable);
    slot_arm(slot, waitable);
    if (set->one_shot || slot->missed || !waitable->dry) {
        error = tell_epoll(set, slot, waitable, EPOLL_CTL_MOD);
    }
    if (error) {
        slot_disarm(slot);
    }
    pthread_mutex_unlock(&slot->lock);
    errno = error;
    return error ? -1 : 0;
}

void waitset_mute(struct waitset *set, struct waitable *waitable)
{
    struct slot *slot = slot_of(set, (uint32_t)waitable->fd);

    MUST(slot);
    pthread_mutex_lock(&slot->lock);
    struct epoll_event event = {.events = EPOLLET, .data = event_of(set, slot, waitable).data};

    slot->missed = true;
    if (!set->one_shot) {
        epoll_ctl(set->epoll, EPOLL_CTL_MOD, waitable->fd, &event);
    }
    pthread_mutex_unlock(&slot->lock);
}

void waitset_forget(struct waitset *set, struct waitable *waitable)
{
    struct slot *slot = waitable->fd >= 0 ? slot_of(set, (uint32_t)waitable->fd) : NULL;
    struct epoll_event event = {0};

    if (!slot) {
        return;
    }
    epoll_ctl(set->epoll, EPOLL_CTL_DEL, waitable->fd, &event);
    pthread_mutex_lock(&slot->lock);
    if (slot->waitable == waitable) {
        slot_disarm(slot);
    }
    pthread_mutex_unlock(&slot->lock);
}

/* A lost worker may have taken the lock along; everybody else has it for a moment. Who comes again soon waits
 * briefly. */
#define BRIEFLY_MS 20
#define ONCE_MS    1000

/* Takes out the one-shot waitable of a slot if its deadline is not after `before`. */
static struct waitable *take_out(struct slot *slot, uint64_t before, int limit_ms)
{
    struct waitable *waitable = NULL;

    if (!thread_lock_within(&slot->lock, limit_ms)) {
        return NULL;
    }
    if (slot->waitable && !slot->listener &&
        atomic_load_explicit(&slot->deadline_us, memory_order_relaxed) <= before) {
        waitable = slot->waitable;
        slot_disarm(slot);
    }
    pthread_mutex_unlock(&slot->lock);
    return waitable;
}

void waitset_evict(struct waitset *set, void (*fn)(struct waitable *self))
{
    uint32_t high = atomic_load(&set->high);

    for (uint32_t fd = 0; fd < high; fd++) {
        struct slot *slot = slot_of(set, fd);
        struct waitable *waitable = slot ? take_out(slot, UINT64_MAX, ONCE_MS) : NULL;

        if (waitable) {
            fn(waitable);
        }
    }
}

void waitset_expire(struct waitset *set, uint64_t now_us)
{
    uint32_t high = atomic_load(&set->high);

    for (uint32_t fd = 0; fd < high; fd++) {
        struct slot *slot = slot_of(set, fd);
        uint64_t deadline = slot ? atomic_load_explicit(&slot->deadline_us, memory_order_relaxed) : 0;
        struct waitable *waitable =
            deadline && deadline <= now_us ? take_out(slot, now_us, BRIEFLY_MS) : NULL;

        if (waitable) {
            waitable->expire(waitable);
        }
    }
}

void waitset_listeners(struct waitset *set, void (*fn)(void *ctx, int fd), void *ctx)
{
    uint32_t high = atomic_load(&set->high);

    for (uint32_t fd = 0; fd < high; fd++) {
        struct slot *slot = slot_of(set, fd);

        if (!slot || !thread_lock_within(&slot->lock, BRIEFLY_MS)) {
            continue;
        }
        bool listener = slot->waitable && slot->listener;
        pthread_mutex_unlock(&slot->lock);
        if (listener) {
            fn(ctx, (int)fd);
        }
    }
}

/* -- a lost sleeper -- */

void waitset_lost(struct waitset *set)
{
    uint32_t high = atomic_load(&set->high);

    waitset_leave(set);
    for (uint32_t fd = 0; fd < high; fd++) {
        struct slot *slot = slot_of(set, fd);

        if (!slot || !thread_lock_within(&slot->lock, BRIEFLY_MS)) {
            continue;
        }
        if (slot->waitable && !slot->listener) {
            tell_epoll(set, slot, slot->waitable, EPOLL_CTL_MOD);
        } else {
            slot->missed = true; /* whoever has it in hand asks when he arms it */
        }
        pthread_mutex_unlock(&slot->lock);
    }
    atomic_store(&set->waking, false);
    waitset_wake(set);
}

/* -- sleeping -- */

void waitset_enter(struct waitset *set)
{
    atomic_fetch_add(&set->sleeping, 1);
}

uint32_t waitset_leave(struct waitset *set)
{
    return atomic_fetch_sub(&set->sleeping, 1) - 1;
}

uint32_t waitset_sleeping(const struct waitset *set)
{
    return atomic_load(&set->sleeping);
}

enum wait_outcome waitset_wait(struct waitset *set, int timeout_ms, struct waitable **out)
{
    struct epoll_event event;
    int n = epoll_wait(set->epoll, &event, 1, timeout_ms); /* one: a worker does one thing at a time */

    *out = NULL;
    if (n <= 0) {
        return n == 0 ? WAIT_TIMEOUT : WAIT_NOTHING;
    }
    if (event.data.u64 == WAKE_TAG) {
        atomic_store(&set->waking, false);
        return WAIT_WOKEN;
    }
    struct slot *slot = slot_of(set, (uint32_t)event.data.u64);
    bool over = event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);

    *out = slot ? slot_claim(slot, (uint32_t)(event.data.u64 >> 32), over) : NULL;
    return *out ? WAIT_READY : WAIT_NOTHING;
}

void waitset_wake(struct waitset *set)
{
    if (atomic_load(&set->sleeping) > 0 && !atomic_exchange(&set->waking, true)) {
        uint64_t one = 1;

        /* The counter cannot be full: it would take 2^64 wake-ups. */
        MUST(write(set->wake, &one, sizeof(one)) == (ssize_t)sizeof(one));
    }
}
