/* What ps shows of a process, and of one that it has made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

#include "engine/supervise/title.h"

static bool is_shown(const char *title)
{
    char text[256] = "";
    FILE *file = fopen("/proc/self/cmdline", "re");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

    if (file) {
        fclose(file);
    }
    return n > 0 && strcmp(text, title) == 0;
}

static void test_the_program_stays(void **state)
{
    int status = -1;

    (void)state;
    title_set("php-fpm", "master");
    assert_true(is_shown("php-fpm: master"));
    pid_t pid = fork();

    if (pid == 0) {
        title_set(NULL, "helper");
        _exit(is_shown("php-fpm: helper") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(is_shown("php-fpm: master"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_program_stays)};

    title_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
