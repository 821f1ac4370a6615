/* What interpose.list names is what shared objects call: libphp, extensions, and libraries that come later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/php/interpose.h"
#include "engine/php/runtime.h"
#include "tests/support/php_pool.h"
#include "tests/support/php_says.h"

static const void *program(const void *address)
{
    Dl_info info;

    return dladdr(address, &info) ? info.dli_fbase : NULL;
}

static void test_each_is_first(void **state)
{
    const char *source = getenv("SRC");
    char path[512], line[256], name[64];
    unsigned count = 0;

    (void)state;
    snprintf(path, sizeof path, "%s/engine/php/interpose.list", source ? source : ".");
    FILE *list = fopen(path, "r");

    if (!list) {
        skip();
    }
    while (fgets(line, sizeof line, list)) {
        if (sscanf(line, "    %63[a-z_0-9];", name) == 1) {
            const void *found = dlsym(RTLD_DEFAULT, name);

            if (!found || program(found) != program((const void *)(uintptr_t)interpose_check)) {
                fail_msg("%s() is another's", name);
            }
            count++;
        }
    }
    fclose(list);
    assert_true(count > 40);
}

/* The objects of a whole PHP call nothing past us, or the check would say so. */
static void test_nobody_calls_past_us(void **state)
{
    char said[4096];
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    int before = log_fd();

    log_to_fd(ends[1]);
    interpose_check();
    interpose_check_others();
    log_to_fd(before);
    ssize_t n = read(ends[0], said, sizeof said - 1);

    said[n > 0 ? n : 0] = '\0';
    assert_string_equal(said, "");
    close(ends[0]);
    close(ends[1]);
}

/* getenv() of C is the request's on its thread, and the process's on others. */
static void test_environment(void **state)
{
    (void)state;
    assert_says(
        php_script("<?php putenv('TMPDIR=/usr/'); ini_set('sys_temp_dir', ''); echo sys_get_temp_dir();"), "",
        "/usr");
    assert_says(php_script("<?php echo sys_get_temp_dir();"), "", "/tmp");
    assert_null(getenv("NOT_SET_HERE"));
}

static int start(void **state)
{
    (void)state;
    unsetenv("TMPDIR");
    php_pool_start(&(struct php_pool_options){.workers = 1, .defines = "display_errors=0\nerror_log=\n"});
    return 0;
}

static int stop(void **state)
{
    (void)state;
    php_pool_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_first),
        cmocka_unit_test(test_nobody_calls_past_us),
        cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
