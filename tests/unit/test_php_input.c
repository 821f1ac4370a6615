/* What a script gets: bodies and uploads, variables, its environment, its session, its time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/php/runtime.h"
#include "tests/support/php_says.h"

static void test_post(void **state)
{
    struct call c = {.script =
                         php_script("<?php echo json_encode($_POST), '|', file_get_contents('php://input');"),
                     .content_type = "application/x-www-form-urlencoded",
                     .post = "a=1&b[]=2&b[]=3+4&c.d=%C3%A4",
                     .post_n = 28};

    (void)state;
    call_run(&c);
    assert_string_equal(
        buf_said(&c.body),
        "{\"a\":\"1\",\"b\":[\"2\",\"3 4\"],\"c_d\":\"\\u00e4\"}|a=1&b[]=2&b[]=3+4&c.d=%C3%A4");
    call_free(&c);
}

static void test_body_of_unknown_length(void **state)
{
    size_t n = 300000;
    char *body = malloc(n);
    char expected[64];
    struct call c = {
        .script = php_script("<?php $i = file_get_contents('php://input'); echo strlen($i), ' ', crc32($i);"),
        .method = "PUT",
        .length_unknown = true,
        .post = body,
        .post_n = n};
    struct call short_one = {
        .script = c.script, .method = "PUT", .post = body, .post_n = 5000, .post_claimed = 9000};

    (void)state;
    for (size_t i = 0; i < n; i++) {
        body[i] = (char)(i * 7 % 251);
    }
    call_run(&c);
    snprintf(expected, sizeof expected, "%zu ", n);
    assert_memory_equal(buf_said(&c.body), expected, strlen(expected));
    call_free(&c);
    call_run(&short_one);
    assert_memory_equal(buf_said(&short_one.body), "5000 ", 5);
    call_free(&short_one);
    free(body);
}

static void test_upload(void **state)
{
    static const char body[] = "--B\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nvalue\r\n"
                               "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n"
                               "Content-Type: application/octet-stream\r\n\r\na\0b\r\n--B--\r\n";
    struct call c = {.script = php_script(
                         "<?php $f = $_FILES['f']; echo $_POST['t'], ' ', $f['name'], ' ', $f['size'], ' ',"
                         "is_uploaded_file($f['tmp_name']) ? 'uploaded' : 'not', ' ',"
                         "bin2hex(file_get_contents($f['tmp_name'])), ' ', $f['tmp_name'];"),
                     .content_type = "multipart/form-data; boundary=B",
                     .post = body,
                     .post_n = sizeof body - 1};

    (void)state;
    call_run(&c);
    assert_has(&c.body, "value x.bin 3 uploaded 610062 ");
    assert_int_not_equal(access(strrchr(c.body.p, ' ') + 1, F_OK), 0);
    call_free(&c);
}

static void test_server_variables(void **state)
{
    struct call c = {
        .script = php_script(
            "<?php echo json_encode([$_SERVER['HTTP_X_A'], $_SERVER['PHP_SELF'], $_SERVER['TOKIO_WORKER_ID'] "
            "=== (string) tokio_worker_id(),"
            "isset($_SERVER['HTTP_PROXY']), getenv('HTTP_PROXY'), getenv('HTTP_X_A'), $_SERVER['DUP'],"
            "isset($_SERVER['argv']), $_SERVER['PHP_AUTH_USER'], $_SERVER['PHP_AUTH_PW'],"
            "is_float($_SERVER['REQUEST_TIME_FLOAT']), $_COOKIE, filter_input(INPUT_SERVER, 'DUP'),"
            "strlen($_SERVER['TOKIO_REQUEST_ID']) > 8, $_SERVER['TOKIO_REQUEST_ID'] === tokio_request_id(),"
            "array_keys(getallheaders())], JSON_UNESCAPED_SLASHES);"),
        .query = "a+b",
        .cookie = "k=v; l=w",
        .authorization = "Basic dXNlcjpwYXNz",
        .params = {"HTTP_X_A=1", "PATH_INFO=/p/i", "HTTP_PROXY=evil", "DUP=first", "DUP=last",
                   "CONTENT_TYPE="}};

    (void)state;
    call_run(&c);
    assert_string_equal(
        buf_said(&c.body),
        "[\"1\",\"/test.php/p/i\",true,false,false,\"1\",\"last\",false,\"user\",\"pass\",true,"
        "{\"k\":\"v\",\"l\":\"w\"},\"last\",true,true,[\"Content-Type\",\"Proxy\",\"X-A\"]]");
    call_free(&c);
}

/* In any order, once each, and nobody sees another request's value. */
static void test_well_known_names(void **state)
{
    const char *script =
        php_script("<?php $_SERVER['SERVER_NAME'] .= '!'; $k = array_keys($_SERVER); "
                   "echo count($k) - count(array_unique($k)); foreach (['SERVER_ADMIN', "
                   "'HTTP_HOST', 'SERVER_NAME', 'REMOTE_HOST'] as $n) echo '|', $_SERVER[$n];");
    const struct {
        const char *params[8], *said;
    } cases[] = {
        {{"SERVER_NAME=a.example", "HTTP_HOST=a", "REMOTE_HOST=x"}, "0|pool's|a|a.example!|x"},
        {{"REMOTE_HOST=y", "HTTP.HOST=no", "HTTP_HOST=b", "SERVER_NAME=a.example", "REMOTE_HOST=z",
          "SERVER_ADMIN=own"},
         "0|own|b|a.example!|z"},
        {{"HTTP_HOST=c", "REMOTE_HOST=", "SERVER_NAME=b.example"}, "0|pool's|c|b.example!|"},
    };

    (void)state;
    for (size_t i = 0; i < 4 * sizeof cases / sizeof *cases; i++) {
        size_t which = i % (sizeof cases / sizeof *cases);
        struct call c = {.script = script};

        memcpy(c.params, cases[which].params, sizeof cases[which].params);
        call_run(&c);
        assert_string_equal(buf_said(&c.body), cases[which].said);
        call_free(&c);
    }
}

static void test_environment_is_the_requests(void **state)
{
    const char *set = php_script("<?php putenv('TEST_A=one\\'s'); putenv('TEST_POOL'); echo "
                                 "getenv('TEST_A'), '|', var_export(getenv('TEST_POOL'), true), '|',"
                                 "getenv()['TEST_A'], '|', shell_exec('echo $TEST_A '"
                                 ". '${TEST_POOL-unset}'), exec('echo $TEST_A'), '|';"
                                 "$p = proc_open(['sh', '-c', 'echo $TEST_A'], [1 => ['pipe', 'w']], "
                                 "$pipes); echo stream_get_contents($pipes[1]);"
                                 "proc_close($p);");
    const char *look = php_script("<?php echo var_export(getenv('TEST_A'), true), '|', getenv('TEST_POOL'), "
                                  "'|', $_SERVER['TEST_POOL'], '|', shell_exec('echo $TEST_A');");

    (void)state;
    assert_says(look, "", "false|from pool|from pool|\n");
    struct call c = {.script = set};

    call_run(&c);
    assert_has(&c.body, "one's|false|one's|one's unset\none's|one's\n");
    call_free(&c);
    assert_says(look, "", "false|from pool|from pool|\n");
}

static void test_session(void **state)
{
    struct call first = {
        .script = php_script(
            "<?php ini_set('session.save_path', '/tmp'); session_id('tokiophptest'); session_start();"
            "echo $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; if (isset($_GET['end'])) session_destroy();")};
    struct call second = {.script = first.script, .query = "end=1"};

    (void)state;
    call_run(&first);
    call_run(&second);
    assert_string_equal(buf_said(&first.body), "1");
    assert_string_equal(buf_said(&second.body), "2");
    call_free(&first);
    call_free(&second);
}

/* No deadline is near: a busy machine may take long to give a second of processor time. */
static void test_cpu_time(void **state)
{
    struct call limit = {
        .script =
            php_script("<?php register_shutdown_function(function () { echo 'shut ', connection_status(); });"
                       "set_time_limit(1); while (true);")};
    struct call again = {.script = limit.script};
    struct call waits = {.script = php_script("<?php set_time_limit(1); usleep(2500000); echo 'awake';")};

    (void)state;
    call_run(&limit);
    assert_int_equal(limit.status, 500);
    assert_string_equal(buf_said(&limit.body), "shut 2");
    assert_has(&limit.messages, "PHP Fatal error:  Maximum execution time of 1 second exceeded");
    call_free(&limit);
    call_run(&again);
    assert_has(&again.messages, "Maximum execution time of 1 second exceeded");
    call_free(&again);
    call_run(&waits);
    assert_string_equal(buf_said(&waits.body), "awake");
    call_free(&waits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post),
        cmocka_unit_test(test_body_of_unknown_length),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_server_variables),
        cmocka_unit_test(test_well_known_names),
        cmocka_unit_test(test_environment_is_the_requests),
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_cpu_time),
    };

    setenv("TEST_POOL", "from pool", 1);
    setenv("SERVER_ADMIN", "pool's", 1);
    php_pool_start(&(struct php_pool_options){
        .workers = 2, .with_php_ini = true, .defines = "display_errors=0\nsession.use_strict_mode=0\n"});
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    php_pool_stop();
    return failed;
}
