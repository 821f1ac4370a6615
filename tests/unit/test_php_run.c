/* Requests through real PHP: what scripts do, what clients get, and that nothing of one request is left for
 * the next. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/php/runtime.h"
#include "engine/php/thread.h"
#include "tests/support/php_says.h"

static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %ld", &pages), 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_hello(void **state)
{
    struct call c = {
        .script = php_script("<?php echo 'Hello, ', $_GET['who'], ' ', PHP_SAPI, ' ', php_sapi_name();"),
        .query = "who=world"};

    (void)state;
    call_run(&c);
    assert_string_equal(buf_said(&c.body), "Hello, world fpm-fcgi fpm-fcgi");
    assert_int_equal(c.status, 200);
    assert_has(&c.head, "X-Powered-By: PHP/");
    assert_has(&c.head, "Content-type: text/html; charset=UTF-8\n");
    call_free(&c);
}

/* Its own would hit any thread. libphp calls ours instead (timeout.c), also where its names are bound inside
 * of it. Before all tests in which a limit is reached: there PHP installs its handler, if only to end a
 * script. */
static void test_no_timer_of_php(void **state)
{
    struct sigaction action;

    (void)state;
    assert_says(php_script("<?php set_time_limit(20); echo ini_get('max_execution_time');"), "", "20");
    assert_int_equal(sigaction(SIGPROF, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
}

static void test_headers_and_status(void **state)
{
    struct call c = {
        .script = php_script("<?php header('X-One: 1'); header('X-One: 2', false); setcookie('a', 'b');"
                             "http_response_code(404); header('Content-Type: text/plain'); echo 'no';")};
    struct call not_modified = {.script = php_script("<?php http_response_code(304);")};
    struct call line = {.script = php_script("<?php header('HTTP/1.1 418 Teapot');")};
    struct call head = {.method = "HEAD", .script = php_script("<?php echo 'not sent';")};

    (void)state;
    call_run(&c);
    assert_int_equal(c.status, 404);
    assert_has(&c.head, "X-One: 1\nX-One: 2\n");
    assert_has(&c.head, "Set-Cookie: a=b\n");
    assert_has(&c.head, "Content-type: text/plain;charset=UTF-8\n");
    call_free(&c);
    call_run(&not_modified);
    assert_int_equal(not_modified.status, 304);
    assert_has_not(&not_modified.head, "ontent-");
    call_free(&not_modified);
    call_run(&line);
    assert_int_equal(line.status, 418);
    call_free(&line);
    call_run(&head);
    assert_int_equal(head.body.n, 0);
    call_free(&head);
    assert_says(php_script("<?php echo http_response_code();"), "", "200");
}

static void test_ini_is_undone(void **state)
{
    const char *look = php_script(
        "<?php echo ini_get('precision'), ' ', ini_get('memory_limit'), ' ', ini_get('include_path'),"
        "' ', function_exists('strrev') ? strrev('ab') : '';");
    struct call with = {.script =
                            php_script("<?php echo ini_get('precision'), ' ', ini_get('memory_limit'), ' ',"
                                       "var_export(ini_set('memory_limit', '1G'), true), ' ';"
                                       "ini_set('include_path', '/nowhere'); try { echo strrev('ab'); } "
                                       "catch (Error $e) { echo $e->getMessage(); }"),
                        .php_value = "precision=5\nnonsense=1",
                        .php_admin_value = "memory_limit=77M\ndisable_functions=strrev"};

    (void)state;
    assert_says(look, "", "14 99M .:/pool ba");
    call_run(&with);
    assert_string_equal(buf_said(&with.body), "5 77M false Call to undefined function strrev()");
    assert_has(&with.messages, "Passing INI directive through FastCGI: unable to set 'nonsense'");
    call_free(&with);
    assert_says(look, "", "14 99M .:/pool ba");
}

static void test_user_ini(void **state)
{
    (void)state;
    php_file("sub/.user.ini", "precision = 9\nmemory_limit = 1G\n");
    assert_says(php_file("sub/a.php", "<?php echo ini_get('precision'), ' ', ini_get('memory_limit');"), "",
                "9 99M");
}

static void test_ends(void **state)
{
    struct call fatal = {
        .script = php_script("<?php register_shutdown_function(function () { echo 'bye'; }); nothing();")};
    struct call parse = {.script = php_script("<?php this is not")};
    struct call memory = {.script = php_script("<?php $a = str_repeat('x', 200000000);")};
    struct call recursion = {.script = php_script("<?php function f() { return f() + 1; } f();"),
                             .php_value = "memory_limit=8M"};
    struct call error_header = {.script = fatal.script,
                                .php_admin_value = "fastcgi.error_header=HTTP/1.1 599 Broken"};

    (void)state;
    assert_says(php_script("<?php echo 'a'; exit(3); echo 'b';"), "", "a");
    call_run(&fatal);
    assert_int_equal(fatal.status, 500);
    assert_string_equal(buf_said(&fatal.body), "bye");
    assert_has(&fatal.messages,
               "PHP message: PHP Fatal error:  Uncaught Error: Call to undefined function nothing()");
    call_free(&fatal);
    call_run(&parse);
    assert_int_equal(parse.status, 500);
    call_free(&parse);
    call_run(&memory);
    assert_int_equal(memory.status, 500);
    assert_has(&memory.messages, "Allowed memory size");
    call_free(&memory);
    call_run(&recursion);
    assert_int_equal(recursion.status, 500);
    call_free(&recursion);
    call_run(&error_header);
    assert_int_equal(error_header.status, 599);
    call_free(&error_header);
    assert_says(php_script("<?php echo error_get_last() === null ? 'clean' : 'dirty';"), "", "clean");
}

/* A compiler that is stopped while it converts a script: without mbstring nothing can be converted, with it
 * the double definition stops it. Strings of the next script are its own. */
static void test_conversion_ends(void **state)
{
    static const char *const broken[] = {"\xef\xbb\xbf<?php function f() {} function f() {}",
                                         "<?php function f() {} function f() {}"};

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct call c = {.script = php_script(broken[i]),
                         .php_value = "zend.multibyte=1\nzend.script_encoding=Shift_JIS\n"
                                      "internal_encoding=Shift_JIS"};

        call_run(&c);
        assert_int_equal(c.status, 500);
        call_free(&c);
        assert_says(php_script("<?php $one = 'whole'; echo 'gr\xc3\xbc\xc3\x9f', \"e \\x41 $one\";"), "",
                    "gr\xc3\xbc\xc3\x9f"
                    "e A whole");
    }
}

static void test_working_directory(void **state)
{
    const char *script = php_script(
        "<?php echo getcwd() === __DIR__ ? 'own' : getcwd(); chdir('/usr');"
        "register_shutdown_function(function () { echo getcwd() === '/usr' ? 'same' : ' back'; });");

    (void)state;
    assert_says(script, "", "own back");
    assert_says(script, "", "own back");
}

static void test_disabled_functions(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        assert_says(
            php_script(
                "<?php echo function_exists('phpinfo') ? 'there' : 'gone', ini_get('disable_functions');"
                "try { phpinfo(); } catch (Error $e) { echo $e->getMessage(); }"),
            "", "gonephpinfo,opcache_is_script_cachedCall to undefined function phpinfo()");
    }
}

static void test_no_script(void **state)
{
    struct call missing = {.script = "/nowhere/at/all.php"};
    struct call folder = {.script = "/tmp"};

    (void)state;
    call_run(&missing);
    assert_int_equal(missing.status, 404);
    assert_string_equal(buf_said(&missing.body), "No input file specified.\n");
    assert_string_equal(buf_said(&missing.messages),
                        "Unable to open primary script: /nowhere/at/all.php (No such file or directory)");
    call_free(&missing);
    call_run(&folder);
    assert_int_equal(folder.status, 404);
    call_free(&folder);
}

static void test_messages_are_joined(void **state)
{
    struct call c = {.script = php_script("<?php error_log('one'); error_log('two');")};

    (void)state;
    call_run(&c);
    assert_string_equal(buf_said(&c.messages), "PHP message: one; PHP message: two");
    call_free(&c);
}

static void test_early_finish(void **state)
{
    struct call c = {
        .script = php_script(
            "<?php echo 'early'; ob_start(); echo ' buffered'; var_dump(fastcgi_finish_request());"
            "echo 'late'; var_dump(fastcgi_finish_request()); usleep(300000); header('X: y'); flush();")};

    (void)state;
    call_run(&c);
    assert_string_equal(buf_said(&c.body), "early buffered");
    assert_true(c.done_us - c.finished_us > 250000);
    assert_has_not(&c.messages, "headers already sent");
    call_free(&c);
}

static void test_streaming(void **state)
{
    struct call c = {
        .script = php_script(
            "<?php header('Link: </a.css>; rel=preload'); echo json_encode([tokio_is_streaming(),"
            "tokio_send_headers(103), tokio_is_streaming(), tokio_send_headers(201), tokio_is_streaming(),"
            "tokio_send_headers(), headers_sent()]); ob_start(); echo 'x'; var_dump(tokio_stream_flush());")};

    (void)state;
    call_run(&c);
    assert_int_equal(c.status, 201);
    assert_string_equal(buf_said(&c.interim),
                        "103\nX-Powered-By: PHP/" PHP_VERSION "\nLink: </a.css>; rel=preload\n");
    assert_has(&c.body, "[false,true,false,true,true,false,true]xbool(true)");
    assert_true(c.flushes >= 2);
    call_free(&c);
}

static void test_functions(void **state)
{
    (void)state;
    assert_says(php_script("<?php var_dump(tokio_request_heartbeat(3), tokio_request_heartbeat(0),"
                           "tokio_request_heartbeat(99));"),
                "", "bool(true)\nbool(false)\nbool(false)\n");
    assert_says(
        php_script("<?php header('X-A: b'); $h = apache_response_headers(); echo $h['X-A'], ' ';"
                   "$i = tokio_server_info(); echo $i['name'], ' ', $i['pool'], ' ', $i['workers'], ' ';"
                   "$s = fpm_get_status(); echo $s['pool'], ' ', $s['process-manager'], ' ',"
                   "$s['total-processes'], ' ', count($s['procs']);"),
        "", "b tokiophp test 8 test static 8 8");
    assert_says(
        php_script("<?php foreach (['tokio_request_heartbeat' => 'time', 'tokio_send_headers' => 'status']"
                   "as $f => $name) echo (new ReflectionFunction($f))->getParameters()[0]->name === $name;"),
        "", "11");
}

static void test_memory_stays_flat(void **state)
{
    struct call c = {
        .script = php_script("<?php putenv('A=b'); ini_set('precision', 3); setlocale(LC_ALL, 'C.UTF-8');"
                             "$a = array_fill(0, 1000, $_SERVER); error_log('x'); nothing();"),
        .php_value = "precision=4",
        .php_admin_value = "disable_functions=strrev"};
    long before = 0, after = 0;

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it keeps what is freed for a while */
#endif
    for (int i = 0; i < 4000; i++) {
        struct call once = c;

        call_run(&once);
        call_free(&once);
        if (i == 1000) {
            before = resident_kb();
        }
    }
    after = resident_kb();
    if (after > before + 4096) {
        fail_msg("%ld kB after 1000 requests, %ld kB after 4000", before, after);
    }
}

static void test_client_abort(void **state)
{
    const char *mark = php_file("mark", "");
    char text[512];
    struct call gone = {.gone_after = 10}, ignored = {.gone_after = 10};

    (void)state;
    snprintf(text, sizeof text,
             "<?php ignore_user_abort((bool) ($_GET['ignore'] ?? 0)); register_shutdown_function(fn() => "
             "file_put_contents('%s', connection_status(), FILE_APPEND));"
             "while (ob_get_level()) { ob_end_clean(); } for ($i = 0; $i < 50; $i++) { echo 'xxxxxxxx'; "
             "flush(); } file_put_contents('%s', 'end', "
             "FILE_APPEND);",
             mark, mark);
    gone.script = ignored.script = php_script(text);
    ignored.query = "ignore=1";
    call_run(&gone);
    call_run(&ignored);
    call_free(&gone);
    call_free(&ignored);
    snprintf(text, sizeof text, "<?php readfile('%s');", mark);
    assert_says(php_script(text), "", "1end1");
}

static void test_pages(void **state)
{
    struct call ping = {.page = PAGE_PING, .script = "/x.php"};
    struct call error = {
        .page = PAGE_ERROR, .error_status = 403, .error_body = "Access denied.\n", .error_message = "why"};

    (void)state;
    call_run(&ping);
    assert_string_equal(buf_said(&ping.body), "pong");
    assert_string_equal(buf_said(&ping.head),
                        "X-Powered-By: PHP/" PHP_VERSION "\nContent-type: text/plain;charset=UTF-8\n"
                        "Expires: Thu, 01 Jan 1970 00:00:00 GMT\nCache-Control: no-cache, no-store, "
                        "must-revalidate, max-age=0\n");
    call_free(&ping);
    call_run(&error);
    assert_int_equal(error.status, 403);
    assert_string_equal(buf_said(&error.body), "Access denied.\n");
    assert_string_equal(buf_said(&error.messages), "why");
    call_free(&error);
}

static void test_deadline(void **state)
{
    struct call sleeping = {.script =
                                php_script("<?php register_shutdown_function(function () { echo 'shut'; });"
                                           "sleep(3600); sleep(3600); echo 'awake';")};
    struct call terminated = {.script =
                                  php_script("<?php set_time_limit(0); register_shutdown_function(function "
                                             "() { echo 'shut'; }); while (true);")};

    (void)state;
    call_submit(&sleeping);
    call_run(&terminated);
    call_wait(&sleeping);
    assert_has(&sleeping.messages, "request_terminate_timeout of 4 seconds exceeded");
    assert_string_equal(buf_said(&sleeping.body), "shut");
    call_free(&sleeping);
    assert_has(&terminated.messages, "request_terminate_timeout of 4 seconds exceeded");
    assert_string_equal(buf_said(&terminated.body), "shut");
    call_free(&terminated);
    assert_says(
        php_script("<?php for ($i = 0; $i < 1000; $i++) strlen('a'); echo 'fine ', connection_status();"), "",
        "fine 0");
}

static void test_process_calls_are_refused(void **state)
{
    struct call c = {.script = php_script("<?php var_dump(pcntl_fork(), posix_setuid(0), "
                                          "function_exists('dl')); setlocale(LC_ALL, 'C.UTF-8');"
                                          "echo setlocale(LC_CTYPE, '0'); umask(077); echo umask();")};

    (void)state;
    call_run(&c);
    assert_string_equal(buf_said(&c.body), "int(-1)\nbool(false)\nbool(false)\nC.UTF-863");
    assert_has(&c.messages, "allow_process_calls = pcntl_fork");
    call_free(&c);
    assert_says(php_script("<?php echo umask() === 077 ? 'leaked' : 'own';"), "", "own");
}

static void test_many(void **state)
{
    enum { CALLS = 8000 };
    struct call *calls = calloc(CALLS, sizeof *calls);
    const char *script = php_script(
        "<?php putenv('N=' . $_GET['n']); ini_set('precision', $_GET['n'] % 17);"
        "$_SESSION = str_repeat('x', 1000); class A { public $s; } $a = new A; $a->s = $a;"
        "echo $_GET['n'], ' ', getenv('N'), ' ', ini_get('precision'), ' ', strlen($_SERVER['HTTP_H']);");

    (void)state;
    for (int i = 0; i < CALLS; i++) {
        char *query = NULL;

        assert_true(asprintf(&query, "n=%d", i) > 0);
        calls[i].script = script;
        calls[i].query = query;
        calls[i].params[0] = "HTTP_H=12345";
        call_submit(&calls[i]);
    }
    for (int i = 0; i < CALLS; i++) {
        char expected[64];

        call_wait(&calls[i]);
        snprintf(expected, sizeof expected, "%d %d %d 5", i, i, i % 17);
        assert_string_equal(buf_said(&calls[i].body), expected);
        call_free(&calls[i]);
        free((char *)(uintptr_t)calls[i].query);
    }
    free(calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_no_timer_of_php),
        cmocka_unit_test(test_headers_and_status),
        cmocka_unit_test(test_ini_is_undone),
        cmocka_unit_test(test_user_ini),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_conversion_ends),
        cmocka_unit_test(test_working_directory),
        cmocka_unit_test(test_disabled_functions),
        cmocka_unit_test(test_no_script),
        cmocka_unit_test(test_messages_are_joined),
        cmocka_unit_test(test_early_finish),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_client_abort),
        cmocka_unit_test(test_memory_stays_flat),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_process_calls_are_refused),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_many),
    };

    setenv("TEST_POOL", "from pool", 1);
    php_pool_start(&(struct php_pool_options){
        .workers = 8,
        .terminate_timeout = 4,
        .with_php_ini = true,
        .defines = "display_errors=0\nlog_errors=1\nhtml_errors=0\nerror_log=\nsession.use_strict_mode=0\n",
        .php_value = {"precision", "14"},
        .php_admin_value = {"memory_limit", "99M", "include_path", ".:/pool", "disable_functions",
                            "phpinfo,opcache_is_script_cached"},
    });
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    php_pool_stop();
    return failed;
}
