/* What scripts hear about paths: as from php-fpm, whatever the thread's directory and however often it was
 * asked before. */
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/php/runtime.h"
#include "tests/support/php_pool.h"
#include "tests/support/php_says.h"

/* $d: a folder with one/f, one/in and an empty two; "now" is a link to one. */
#define FOLDER                                                                                               \
    "<?php $d = __DIR__ . '/paths'; shell_exec(\"rm -rf $d\"); mkdir(\"$d/one/in\", 0777, true);"            \
    "mkdir(\"$d/two\"); touch(\"$d/one/f\"); symlink('one', \"$d/now\");"                                    \
    "function say(...$answers) { foreach ($answers as $a) echo $a ? 'y' : 'n'; }"
#define REMOVE "shell_exec('rm -rf ' . __DIR__ . '/paths');"

static void assert_script(const char *text, const char *body)
{
    assert_says(php_script(text), "", body);
}

/* PHP's own would say for two minutes what it found behind a link. */
static void test_links_are_followed_anew(void **state)
{
    (void)state;
    assert_script(FOLDER "say(file_exists(\"$d/now/f\"), is_file(\"$d/now/f\"), is_readable(\"$d/now/f\"));"
                         "shell_exec(\"ln -sfn two $d/now\"); clearstatcache();"
                         "say(file_exists(\"$d/now/f\"), is_file(\"$d/now/f\"), is_dir(\"$d/now\"));" REMOVE,
                  "yyynny");
}

static void test_relative(void **state)
{
    (void)state;
    assert_script(FOLDER
                  "say(file_exists('paths/one/f'), file_exists('f')); chdir(\"$d/one\");"
                  "say(file_exists('f'), is_file('./f'), is_file('in/../f'), is_link('../now'));"
                  "say(is_readable('../now/f'), is_writable('f'), is_dir('in/'), is_dir(''), is_file('f/'));"
                  "echo filetype('../now'), filesize('../now/f'), lstat('../now')['size'];" REMOVE,
                  "yn"
                  "yyyy"
                  "yyynn"
                  "link03");
}

/* The next request starts in its own script's directory again. */
static void test_directory_of_the_next(void **state)
{
    (void)state;
    assert_script(FOLDER "chdir(\"$d/one\"); say(is_file('f'));", "y");
    assert_script("<?php echo is_file('f') ? 'still there' : 'gone', is_dir('paths') ? ', own' : '';" REMOVE,
                  "gone, own");
}

static void test_too_long(void **state)
{
    (void)state;
    assert_script("<?php $long = str_repeat('a/', 2040);"
                  "foreach ([$long, \"/$long\", $long . $long, str_repeat('a', 300)] as $path)"
                  "echo (int)(@stat($path) !== false), (int)file_exists($path), (int)is_link($path);",
                  "000000000000");
}

/* As `serve --tls` starts mkcert: libphp's key for threads is not made yet, and says what is somebody else's.
 */
static void test_a_program_before_php_starts(void **state)
{
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL};
    const void *before = pthread_getspecific(0);
    pthread_key_t key;
    pid_t pid;
    int status = -1;

    (void)state;
    assert_int_equal(pthread_key_create(&key, NULL), 0); /* so there is one of number 0 */
    assert_int_equal(pthread_setspecific(0, &key), 0);
    assert_int_equal(posix_spawnp(&pid, "true", NULL, NULL, arguments, environ), 0);
    assert_int_equal(pthread_setspecific(0, before), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    pthread_key_delete(key);
}

static int start(void **state)
{
    (void)state;
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
    const struct CMUnitTest before[] = {cmocka_unit_test(test_a_program_before_php_starts)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_are_followed_anew),
        cmocka_unit_test(test_relative),
        cmocka_unit_test(test_directory_of_the_next),
        cmocka_unit_test(test_too_long),
    };

    int failed = cmocka_run_group_tests(before, NULL, NULL);

    return failed + cmocka_run_group_tests(tests, start, stop);
}
