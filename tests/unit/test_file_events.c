/* Changes of files are told, and whoever makes them without end is not listened to for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "engine/base/file_events.h"

#define ENDLESS 1000000

static char folder[] = "/tmp/file-events-XXXXXX";
static char names[2][64];

static void change(unsigned i)
{
    close(open(names[i % 2], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int watch(void)
{
    int fd = file_events_open();

    assert_true(fd >= 0);
    assert_true(inotify_add_watch(fd, folder, IN_CLOSE_WRITE) > 0);
    return fd;
}

static bool has_more(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

static void note(const struct inotify_event *event, void *ctx)
{
    unsigned *told = ctx;

    assert_string_equal(event->name, strrchr(names[*told % 2], '/') + 1);
    (*told)++;
}

static void test_each_is_told(void **state)
{
    int fd = watch();
    unsigned told = 0;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        change(i);
    }
    while (has_more(fd)) {
        file_events_read(fd, note, &told);
    }
    assert_int_equal(told, 1000);
    close(fd);
}

/* Two that are alike, one behind the other, would be one. */
static void answer(const struct inotify_event *event, void *ctx)
{
    unsigned *told = ctx;

    (void)event;
    assert_true(*told < ENDLESS);
    change((*told)++);
}

static void test_one_without_end(void **state)
{
    int fd = watch();
    unsigned told = 0;

    (void)state;
    change(1);
    file_events_read(fd, answer, &told);
    assert_true(told > 0);
    assert_true(has_more(fd));
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(names[0], sizeof(names[0]), "%s/one", folder);
    snprintf(names[1], sizeof(names[1]), "%s/two", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(names[0]);
    unlink(names[1]);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_is_told),
                                       cmocka_unit_test(test_one_without_end)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
