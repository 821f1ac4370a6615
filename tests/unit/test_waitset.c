/* The wait set: one owner per event, stale events, deadlines, eviction, wake-ups. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/work/waitset.h"

static int expired, evicted;

static void on_expire(struct waitable *w)
{
    (void)w;
    expired++;
}

static void on_evict(struct waitable *w)
{
    (void)w;
    evicted++;
}

static void pair(int fds[2], struct waitable *w)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *w = (struct waitable){.fd = fds[0], .expire = on_expire};
}

static void fires_once_until_rearmed(void **state)
{
    struct waitset *set = waitset_create(false);
    struct waitable w, *out;
    int fds[2];

    (void)state;
    pair(fds, &w);
    assert_int_equal(waitset_add(set, &w, WAIT_ONESHOT), 0);
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
    assert_ptr_equal(out, &w);
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
    assert_int_equal(waitset_rearm(set, &w), 0); /* the byte is still there */
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
    waitset_forget(set, &w);
    close(fds[0]);
    close(fds[1]);
    waitset_destroy(set);
}

/* What comes while somebody has the waitable in hand wakes nobody for nothing twice, and is not lost. */
static void what_came_meanwhile(void **state)
{
    struct waitset *set = waitset_create(false);
    struct waitable w, *out;
    char bytes[4];
    int fds[2];

    (void)state;
    pair(fds, &w);
    assert_int_equal(waitset_add(set, &w, WAIT_ONESHOT), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
    assert_int_equal(recv(fds[0], bytes, sizeof(bytes), 0), 1);
    assert_int_equal(write(fds[1], "y", 1), 1);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_NOTHING);
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
    w.dry = true; /* it was, before the second byte */
    assert_int_equal(waitset_rearm(set, &w), 0);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
    assert_int_equal(recv(fds[0], bytes, sizeof(bytes), 0), 1);
    assert_int_equal(waitset_rearm(set, &w), 0);
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
    assert_int_equal(write(fds[1], "z", 1), 1);
    shutdown(fds[1], SHUT_WR);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
    assert_int_equal(recv(fds[0], bytes, sizeof(bytes), 0), 1);
    assert_int_equal(waitset_rearm(set, &w), 0);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY); /* of the end behind the byte */
    waitset_forget(set, &w);
    close(fds[0]);
    close(fds[1]);
    waitset_destroy(set);
}

static bool shows(const struct waitset *set)
{
    struct pollfd p = {.fd = waitset_fd(set), .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* A muted one wakes nobody, and is told of what came when it is armed again. One-shot sets never show what is
 * in somebody's hand. */
static void in_hand(void **state)
{
    (void)state;
    for (int one_shot = 0; one_shot < 2; one_shot++) {
        struct waitset *set = waitset_create(one_shot);
        struct waitable w, *out;
        int fds[2];

        pair(fds, &w);
        w.dry = true;
        assert_int_equal(waitset_add(set, &w, WAIT_ONESHOT), 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_true(shows(set));
        assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
        assert_false(shows(set));
        waitset_mute(set, &w);
        assert_int_equal(write(fds[1], "y", 1), 1);
        assert_false(shows(set));
        assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
        assert_int_equal(waitset_rearm(set, &w), 0);
        assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
        assert_int_equal(write(fds[1], "z", 1), 1);
        assert_int_equal(shows(set), !one_shot);
        waitset_forget(set, &w);
        close(fds[0]);
        close(fds[1]);
        waitset_destroy(set);
    }
}

/* Somebody was told, and is no more: of what is armed, and of what another has in hand. */
static void what_a_lost_sleeper_was_told(void **state)
{
    struct waitset *set = waitset_create(false);
    struct waitable w[2], *out;
    struct epoll_event event;
    int fds[2][2];
    char byte;

    (void)state;
    for (int i = 0; i < 2; i++) {
        pair(fds[i], &w[i]);
        assert_int_equal(waitset_add(set, &w[i], WAIT_ONESHOT), 0);
    }
    assert_int_equal(write(fds[1][1], "x", 1), 1);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY); /* in hand */
    assert_int_equal(read(fds[1][0], &byte, 1), 1);
    w[1].dry = true;
    waitset_enter(set);
    waitset_wake(set);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(fds[i][1], "x", 1), 1);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(epoll_wait(waitset_fd(set), &event, 1, 1000), 1);
    }
    waitset_enter(set); /* another one */
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
    waitset_lost(set);
    assert_int_equal(waitset_sleeping(set), 1);
    bool woken = false, ready = false;
    for (int i = 0; i < 2; i++) {
        enum wait_outcome outcome = waitset_wait(set, 1000, &out);
        woken |= outcome == WAIT_WOKEN;
        ready |= outcome == WAIT_READY && out == &w[0];
    }
    assert_true(woken && ready);
    assert_int_equal(waitset_rearm(set, &w[1]), 0);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
    assert_ptr_equal(out, &w[1]);
    for (int i = 0; i < 2; i++) {
        waitset_forget(set, &w[i]);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    waitset_destroy(set);
}

static void listeners_stay(void **state)
{
    struct waitset *set = waitset_create(false);
    struct waitable w, *out;
    int fds[2];

    (void)state;
    pair(fds, &w);
    assert_int_equal(waitset_add(set, &w, WAIT_LISTENER), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(waitset_wait(set, 1000, &out), WAIT_READY);
        assert_ptr_equal(out, &w);
    }
    evicted = 0;
    waitset_evict(set, on_evict);
    assert_int_equal(evicted, 0);
    waitset_forget(set, &w);
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
    close(fds[0]);
    close(fds[1]);
    waitset_destroy(set);
}

static void deadlines(void **state)
{
    struct waitset *set = waitset_create(false);
    struct waitable w[3], *out;
    int fds[3][2];
    uint64_t now = clock_us();

    (void)state;
    expired = 0;
    for (int i = 0; i < 3; i++) {
        pair(fds[i], &w[i]);
        w[i].deadline_us = i == 2 ? 0 : now + (uint64_t)i * 1000000;
        assert_int_equal(waitset_add(set, &w[i], WAIT_ONESHOT), 0);
    }
    waitset_expire(set, now);
    assert_int_equal(expired, 1);
    waitset_expire(set, now + 2000000);
    assert_int_equal(expired, 2);
    /* An event that comes after the control thread took it out is nobody's. */
    assert_int_equal(write(fds[0][1], "x", 1), 1);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_NOTHING);
    evicted = 0;
    waitset_evict(set, on_evict);
    assert_int_equal(evicted, 1);
    for (int i = 0; i < 3; i++) {
        waitset_forget(set, &w[i]);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    waitset_destroy(set);
}

static void errors_are_told(void **state)
{
    struct waitset *set = waitset_create(false);
    struct waitable w = {.fd = 900000};

    (void)state;
    assert_int_equal(waitset_add(set, &w, WAIT_ONESHOT), -1);
    w.fd = 5000000;
    assert_int_equal(waitset_add(set, &w, WAIT_ONESHOT), -1);
    waitset_destroy(set);
}

static void wakes_only_sleepers(void **state)
{
    struct waitset *set = waitset_create(false);
    struct waitable *out;

    (void)state;
    waitset_wake(set);
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT);
    waitset_enter(set);
    waitset_wake(set);
    waitset_wake(set);
    assert_int_equal(waitset_wait(set, 1000, &out), WAIT_WOKEN);
    assert_int_equal(waitset_wait(set, 0, &out), WAIT_TIMEOUT); /* once for both */
    assert_int_equal(waitset_leave(set), 0);
    waitset_destroy(set);
}

/* Many threads, many one-shot waitables: each byte is read by exactly one owner. */
#define LINES   32
#define ROUNDS  2000
#define THREADS 4

static struct line {
    struct waitable w;
    int fds[2];
    _Atomic int owners;
    int received;
} lines[LINES];
static struct waitset *shared;
static _Atomic int total, mistakes;

static void *reader(void *arg)
{
    struct waitable *out;
    char byte;

    (void)arg;
    while (total < LINES * ROUNDS) {
        if (waitset_wait(shared, 100, &out) != WAIT_READY) {
            continue;
        }
        struct line *line = (struct line *)out;

        mistakes += line->owners++ != 0;
        /* Nothing is there if it was read between two events. */
        bool got = recv(out->fd, &byte, 1, MSG_DONTWAIT) == 1;

        line->received += got;
        total += got;
        out->dry = !got;
        line->owners--;
        waitset_rearm(shared, out);
    }
    return NULL;
}

static void one_owner_at_a_time(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    shared = waitset_create(false);
    for (int i = 0; i < LINES; i++) {
        pair(lines[i].fds, &lines[i].w);
        assert_int_equal(waitset_add(shared, &lines[i].w, WAIT_ONESHOT), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader, NULL), 0);
    }
    for (int i = 0; i < LINES * ROUNDS; i++) {
        assert_int_equal(write(lines[i % LINES].fds[1], "x", 1), 1);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(mistakes, 0);
    for (int i = 0; i < LINES; i++) {
        assert_int_equal(lines[i].received, ROUNDS);
        waitset_forget(shared, &lines[i].w);
        close(lines[i].fds[0]);
        close(lines[i].fds[1]);
    }
    waitset_destroy(shared);
}

/* -- taken out while it is being armed -- */

#define ARMINGS 100000

static _Atomic int taken;
static _Atomic bool armed_all;

static void on_take(struct waitable *w)
{
    close(w->fd);
    taken++;
}

static void *evictor(void *arg)
{
    (void)arg;
    while (!armed_all) {
        waitset_evict(shared, on_take);
    }
    waitset_evict(shared, on_take);
    return NULL;
}

/* Its new owner closes it at once: that must not be before the arming thread's epoll_ctl. */
static void eviction_waits_for_the_arming(void **state)
{
    static struct waitable all[ARMINGS];
    pthread_t thread;

    (void)state;
    shared = waitset_create(false);
    taken = 0;
    armed_all = false;
    assert_int_equal(pthread_create(&thread, NULL, evictor, NULL), 0);
    int failed = 0, tried = 0;

    for (int i = 0; i < ARMINGS; i++) {
        int fd = eventfd(0, EFD_CLOEXEC);

        if (fd < 0) { /* the other thread has not run for a while */
            sched_yield();
            continue;
        }
        all[i].fd = fd;
        tried++;
        failed += waitset_add(shared, &all[i], WAIT_ONESHOT) != 0;
    }
    armed_all = true;
    pthread_join(thread, NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(taken, tried);
    waitset_destroy(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_once_until_rearmed),
        cmocka_unit_test(what_came_meanwhile),
        cmocka_unit_test(in_hand),
        cmocka_unit_test(what_a_lost_sleeper_was_told),
        cmocka_unit_test(listeners_stay),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(errors_are_told),
        cmocka_unit_test(wakes_only_sleepers),
        cmocka_unit_test(one_owner_at_a_time),
        cmocka_unit_test(eviction_waits_for_the_arming),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
