/* OPcache under threads: it never restarts in the process, whatever scripts do; what is cached can be handed
 * on; and backtraces of running scripts. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/php/backtrace.h"
#include "engine/php/runtime.h"
#include "engine/work/pool.h"
#include "tests/support/php_says.h"

static void test_reset_storm(void **state)
{
    enum { CALLS = 4000 };
    unsigned done = 0; /* a reset that began before another one's end says false, as in php-fpm */
    struct call *calls = calloc(CALLS, sizeof *calls);
    const char *reset = php_script("<?php var_dump(opcache_reset());"), *work[40];

    (void)state;
    for (int i = 0; i < 40; i++) {
        char text[300];

        snprintf(text, sizeof text,
                 "<?php class K%d { public $a = ['x' => %d]; function f() { return $this->a['x']; } }"
                 "echo (new K%d)->f(); if (mt_rand(0, 20) == 0) opcache_invalidate(__FILE__, true);",
                 i, i, i);
        work[i] = php_script(text);
    }
    for (int i = 0; i < CALLS; i++) {
        calls[i].script = i % 50 == 7 ? reset : work[i % 40];
        call_submit(&calls[i]);
    }
    for (int i = 0; i < CALLS; i++) {
        char expected[32];

        snprintf(expected, sizeof expected, "%d", i % 40);
        call_wait(&calls[i]);
        if (i % 50 == 7) {
            bool reset_it = strcmp(buf_said(&calls[i].body), "bool(true)\n") == 0;

            assert_true(reset_it || strcmp(buf_said(&calls[i].body), "bool(false)\n") == 0);
            done += reset_it;
        } else {
            assert_string_equal(buf_said(&calls[i].body), expected);
        }
        call_free(&calls[i]);
    }
    free(calls);
    assert_true(done > 0);
    assert_string_equal(pool_swap_reason(php_pool()), "opcache_reset() was called");
    struct call count = {
        .script = php_script("<?php $s = opcache_get_status(false)['opcache_statistics'];"
                             "echo $s['manual_restarts'] + $s['oom_restarts'] + $s['hash_restarts'];")};

    call_run(&count);
    assert_string_equal(buf_said(&count.body), "0");
    call_free(&count);
}

static void test_warm_list(void **state)
{
    const char *script = php_script("<?php echo 'kept';");
    static char list[1 << 20];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct call c = {.script = script};

        call_run(&c);
        call_free(&c);
    }
    size_t n = php_executor.warm_list(list, sizeof list - 1);

    assert_true(n > 0);
    list[n] = '\0';
    assert_non_null(strstr(list, script));
    assert_int_equal(list[n - 1], '\n');
    assert_true(php_executor.warm_list(list, 100) <= 100);
}

static void test_warm(void **state)
{
    const char *script = php_file("warm.php", "<?php echo 'warm';");
    const char *broken = php_file("broken.php", "<?php class {");
    char list[600], text[600];

    (void)state;
    snprintf(list, sizeof list, "/nowhere.php\n%s\n%s\n", broken, script);
    php_executor.warm(list, strlen(list), 5000);
    snprintf(text, sizeof text, "<?php var_dump(opcache_is_script_cached('%s'));", script);
    struct call c = {.script = php_script(text)};

    call_run(&c);
    assert_string_equal(buf_said(&c.body), "bool(true)\n");
    call_free(&c);
}

static int lock_file(void)
{
    char path[40], target[60];

    for (int fd = 3; fd < 1024; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, target, sizeof target - 1);

        if (n > 0) {
            target[n] = '\0';
            if (strncmp(target, "/memfd:opcache_lock", 19) == 0) {
                return fd;
            }
        }
    }
    fail_msg("no lock file");
    return -1;
}

/* OPcache asks so before it restarts. Locks of a process itself it would not see. */
static void test_in_use(void **state)
{
    int fd = lock_file();
    struct flock answered = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    struct flock real = answered, writing = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    (void)state;
    assert_int_equal(fcntl(fd, F_GETLK, &answered), 0);
    assert_int_equal(answered.l_type, F_RDLCK);
    assert_true(answered.l_pid <= 0); /* nobody that a forced restart would kill */
    assert_int_equal(syscall(SYS_fcntl, fd, F_GETLK, &real), 0);
    assert_int_equal(real.l_type, F_RDLCK);
    assert_true(real.l_pid <= 0);
    assert_int_equal(fcntl(fd, F_SETLK, &writing), 0);
    writing.l_type = F_UNLCK;
    assert_int_equal(fcntl(fd, F_SETLK, &writing), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no process of ours holds it */
}

static int pipe_ends[2];

static void trace(void)
{
    assert_int_equal(backtrace_write(php_thread, pipe_ends[1], 10), 0);
    assert_int_equal(backtrace_write(php_thread, pipe_ends[1], 1), 0);
    /* Damage: it must give up, not fault. */
    zend_execute_data *real = EG(current_execute_data);

    EG(current_execute_data) = (zend_execute_data *)(uintptr_t)0x10;
    assert_int_equal(backtrace_write(php_thread, pipe_ends[1], 10), -1);
    EG(current_execute_data) = (zend_execute_data *)(uintptr_t)0x7000dead0000;
    assert_int_equal(backtrace_write(php_thread, pipe_ends[1], 10), -1);
    EG(current_execute_data) = real;
}

static void test_backtrace(void **state)
{
    struct call c = {.script = php_script("<?php\nclass C {\n function m() {\n  flush(); } }\n"
                                          "function f() {\n (new C)->m(); }\nf();\n"),
                     .on_flush = trace};
    char text[4096], expected[400];

    (void)state;
    assert_int_equal(pipe(pipe_ends), 0);
    call_run(&c);
    ssize_t n = read(pipe_ends[0], text, sizeof text - 1);

    assert_true(n > 0);
    text[n] = '\0';
    snprintf(expected, sizeof expected, "] flush() %s:4\n", c.script);
    assert_non_null(strstr(text, expected));
    snprintf(expected, sizeof expected, "] C::m() %s:6\n", c.script);
    assert_non_null(strstr(text, expected));
    snprintf(expected, sizeof expected, "] f() %s:7\n", c.script);
    assert_non_null(strstr(text, expected));
    call_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_use),    cmocka_unit_test(test_warm_list),   cmocka_unit_test(test_warm),
        cmocka_unit_test(test_backtrace), cmocka_unit_test(test_reset_storm),
    };

    php_pool_start(&(struct php_pool_options){
        .workers = 8,
        .with_php_ini = true,
        .defines = "opcache.enable=1\nopcache.file_update_protection=0\ndisplay_errors=1\nhtml_errors=0\n",
    });
    struct call has = {.script = php_script("<?php echo extension_loaded('Zend OPcache') ? 'yes' : 'no';")};

    call_run(&has);
    int failed = 0;

    if (strcmp(buf_said(&has.body), "yes") == 0) {
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    } else {
        puts("skipped: this PHP has no OPcache");
    }
    call_free(&has);
    php_pool_stop();
    return failed;
}
