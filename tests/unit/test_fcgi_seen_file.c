/* Files that were there a moment ago: remembered, but not for long; what is missing is never remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "fcgi/seen_file.h"

static char folder[] = "/tmp/tkseenXXXXXX";

static void path_in(char out[400], const char *name)
{
    snprintf(out, 400, "%s/%s", folder, name);
}

static void make(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static void remembered(void **state)
{
    char path[400];

    (void)state;
    path_in(path, "a.php");
    assert_false(seen_file_exists(path, strlen(path)));
    make(path);
    assert_true(seen_file_exists(path, strlen(path))); /* "missing" was not remembered */
    unlink(path);
    uint64_t limit = clock_us() + 30 * CLOCK_US_PER_SECOND;

    while (seen_file_exists(path, strlen(path)) && clock_us() < limit) {
        usleep(20000);
    }
    assert_true(clock_us() < limit);
}

static void forgotten(void **state)
{
    char path[400];

    (void)state;
    path_in(path, "b.php");
    make(path);
    assert_true(seen_file_exists(path, strlen(path)));
    unlink(path);
    seen_file_forget();
    assert_false(seen_file_exists(path, strlen(path)));
}

/* More files than places, and a path that is too long for one: each answer is its own. */
static void many(void **state)
{
    char path[400], name[300];

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 200; i++) {
            snprintf(name, sizeof(name), "m%d.php", i);
            path_in(path, name);
            if (i % 2) {
                make(path);
            }
            assert_int_equal(seen_file_exists(path, strlen(path)), i % 2);
        }
    }
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "m%d.php", i);
        path_in(path, name);
        unlink(path);
    }
    memset(name, 'l', 250);
    name[250] = '\0';
    path_in(path, name);
    make(path);
    assert_true(seen_file_exists(path, strlen(path)));
    unlink(path);
    assert_false(seen_file_exists(path, strlen(path)));
    assert_false(seen_file_exists("", 0));
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembered),
        cmocka_unit_test(forgotten),
        cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
