/* Who closes a file while somebody waits for a lock on it does not take the lock along. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/php/record_locks.h"

static char name[64];
static int own, reader,
    other; /* descriptors of one file; other: locks of its own meet those of the process */
static unsigned waits;
static bool is_quicker; /* somebody else is */

static int ask(int fd, int command, struct flock *lock)
{
    return (int)syscall(SYS_fcntl, fd, command, lock);
}

static struct flock all(short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET};
}

static bool is_locked(void)
{
    struct flock asked = all(F_WRLCK);

    assert_int_equal(ask(other, F_OFD_GETLK, &asked), 0);
    return asked.l_type != F_UNLCK;
}

static int really_close(int fd)
{
    return (int)syscall(SYS_close, fd);
}

/* libc's, at a bad moment. */
static int fcntl_of_libc(int fd, int command, ...)
{
    va_list arguments;

    va_start(arguments, command);
    struct flock *lock = va_arg(arguments, struct flock *), theirs;
    va_end(arguments);
    if (command == F_SETLKW && ++waits == 2) {
        theirs = all(F_UNLCK);
        assert_int_equal(ask(other, F_OFD_SETLK, &theirs), 0);
    }
    int result = ask(fd, command, lock);

    if (command == F_SETLKW && waits == 1) {
        assert_int_equal(record_locks_close(reader, really_close), 0);
        theirs = all(F_WRLCK);
        assert_int_equal(is_quicker ? ask(other, F_OFD_SETLK, &theirs) : 0, 0);
    }
    return result;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(name, "/tmp/record-locks-XXXXXX");
    own = mkstemp(name);
    reader = open(name, O_RDWR | O_CLOEXEC);
    other = open(name, O_RDWR | O_CLOEXEC);
    waits = 0;
    return own < 0 || reader < 0 || other < 0;
}

static int tear_down(void **state)
{
    (void)state;
    really_close(own);
    really_close(other);
    return unlink(name);
}

static void waited_for(void)
{
    struct flock asked = all(F_WRLCK);

    assert_int_equal(record_locks_fcntl(own, F_SETLKW, &asked, fcntl_of_libc), 0);
    assert_true(is_locked());
    asked = all(F_UNLCK);
    assert_int_equal(record_locks_fcntl(own, F_SETLK, &asked, fcntl_of_libc), 0);
    assert_false(is_locked());
}

static void test_a_close_beside_a_wait(void **state)
{
    (void)state;
    is_quicker = false;
    waited_for();
    assert_int_equal(waits, 1);
}

static void test_somebody_else_is_quicker(void **state)
{
    (void)state;
    is_quicker = true;
    waited_for();
    assert_int_equal(waits, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_close_beside_a_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_somebody_else_is_quicker, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
