/* Every token of access.format, php-fpm's refusals, access.suppress_path, long lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/telemetry/access_format.h"
#include "engine/telemetry/access_line.h"
#include "engine/telemetry/access_log.h"
#include "tests/support/memory_frontend.h"
#include "tests/support/test_executor.h"
#include "tests/support/test_pool.h"

static struct test_pool t;

static const char *header(void *ctx, const char *name, size_t n, size_t *value_n)
{
    (void)ctx;
    if (n == 6 && memcmp(name, "X-Test", 6) == 0) {
        *value_n = 5;
        return "value";
    }
    return NULL;
}

static struct access_facts facts = {.pool = "www",
                                    .header = header,
                                    .user_us = 300000,
                                    .system_us = 200000,
                                    .duration_us = 2000000,
                                    .memory_peak = 3 << 20};

static struct memory_call *call_for(const char *method, const char *uri, const char *query)
{
    struct memory_call *call = memory_call_new(t.pool, method, uri, query, NULL);

    call->request.times.started = clock_us();
    request_param(&call->request, STR("HTTP_HOST"), STR("example.org"));
    return call;
}

/* What one request becomes. */
static const char *line(const char *format, struct request *r, const struct setting_pair *suppress)
{
    static char text[4096];
    int fd = memfd_create("access", MFD_CLOEXEC);
    struct access_log *log = access_log_create(fd, format, suppress);

    assert_non_null(log);
    access_log_write(log, r, &facts);
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    access_log_destroy(log);
    close(fd);
    return text;
}

static void tokens(void **state)
{
    struct memory_call *call = call_for("POST", "/a.php", "x=1");
    struct request *r = &call->request;
    char pid[64];

    (void)state;
    r->content_length = 42;
    r->status = 201;
    r->remote_ip = "192.0.2.7";
    r->auth_user = "joe";
    assert_string_equal(line("%% %m %r%Q%q %s %l %f %n %R %u", r, NULL),
                        "% POST /a.php?x=1 201 42 /srv/app/index.php www 192.0.2.7 joe\n");
    assert_string_equal(line("%C %{user}C %{system}C %{total}C", r, NULL), "25.00 15.00 10.00 25.00\n");
    assert_string_equal(line("%d %{seconds}d %{milli}d %{mili}d %{micro}d", r, NULL),
                        "2.000 2.000 2000.000 2000.000 2000000\n");
    assert_string_equal(line("%M %{kilo}M %{megabytes}M", r, NULL), "3145728 3072 3\n");
    assert_string_equal(line("%{HTTP_HOST}e %{NONE}e %{X-Test}o %{X-None}o", r, NULL),
                        "example.org - value -\n");
    assert_string_equal(line("%{%Y}t-%{x}T", r, NULL) + 4, "-x\n");
    snprintf(pid, sizeof(pid), "%ld %ld\n", (long)getpid(), (long)getppid());
    assert_string_equal(line("%p %P", r, NULL), pid);
    facts.worker_tid = 77;
    assert_string_equal(line("%p", r, NULL), "77\n");
    facts.worker_tid = 0;
    assert_int_equal(strlen(line("%t", r, NULL)), strlen("21/Nov/2026:21:06:16 +0000\n"));
    memory_call_free(call);
}

static void missing_values(void **state)
{
    struct memory_call *call = call_for("GET", "/", "");

    (void)state;
    call->request.script = NULL;
    assert_string_equal(line("%R|%u|%f|%Q%q|%l", &call->request, NULL), "-||-||0\n");
    memory_call_free(call);
}

static void one_line_a_request(void **state)
{
    struct memory_call *call = call_for("GET", "/a\nb\rc", "");
    static char uri[3000];

    (void)state;
    assert_string_equal(line("%r", &call->request, NULL), "/a b c\n");
    memset(uri, 'u', sizeof(uri) - 1);
    call->request.uri = uri;
    const char *text = line("%r%s", &call->request, NULL);

    assert_int_equal(strlen(text), 1024);
    assert_int_equal(text[1023], '\n');
    assert_true(
        test_pool_logged(&t, "the log buffer is full (1024). The access log request has been truncated."));
    memory_call_free(call);
}

static void refusals(void **state)
{
    static const char *const wrong[][2] = {
        {"%z", "Invalid token in the access.format (%z)"},
        {"%{x", "missing closing embrace in the access.format"},
        {"%{x}", "missing closing embrace in the access.format"},
        {"%{days}d",
         "only 'seconds', 'milli', 'milliseconds', 'micro' or 'microseconds' are allowed as a modifier "
         "for %d ('days')"},
        {"%{x}C", "only 'total', 'user' or 'system' are allowed as a modifier for %C ('x')"},
        {"%{x}M",
         "only 'bytes', 'kilo', 'kilobytes', 'mega' or 'megabytes' are allowed as a modifier for %M ('x')"},
        {"%e", "the name of the environment variable must be set between embraces for %e"},
        {"%o", "the name of the header must be set between embraces for %o"},
        {"%{x}m", "embrace is not allowed for modifier %m"},
    };
    char error[256];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(access_format_check(wrong[i][0], error, sizeof(error)), -1);
        assert_string_equal(error, wrong[i][1]);
    }
    assert_int_equal(
        access_format_check("%R - %u %t \"%m %r%Q%q\" %s %f %{milli}d %{kilo}M %C%%", error, 256), 0);
    assert_int_equal(access_format_check("", error, sizeof(error)), 0);
    assert_int_equal(access_format_check("%m %", error, sizeof(error)), 0);
}

static const char *json_of(int c, char out[8])
{
    const char *known = c == '"'    ? "\\\""
                        : c == '\\' ? "\\\\"
                        : c == '\n' ? "\\n"
                        : c == '\r' ? "\\r"
                        : c == '\t' ? "\\t"
                        : c == '\b' ? "\\b"
                        : c == '\f' ? "\\f"
                                    : NULL;

    if (known || c >= 0x80) {
        return known ? known : "\xef\xbf\xbd"; /* alone it is no UTF-8 */
    }
    snprintf(out, 8, c < 0x20 || c == 0x7f ? "\\u%04x" : "%c", c);
    return out;
}

static const char letters[] = "/bcdefghijklmnopqrstuvwxyz";

/* One line of each form for the path of n letters, in which c is at `at`. */
static void one_odd_byte(struct request *r, int c, int at, int n)
{
    static char log_line[ACCESS_LINE_MAX + 1];
    char uri[32], escaped[8], expected[128];

    snprintf(uri, sizeof(uri), "%.*s", n, letters);
    uri[at] = (char)c;
    r->uri = uri;
    log_line[access_line_json(r, &facts, STR("null"), log_line)] = '\0';
    snprintf(expected, sizeof(expected), "\"path\":\"%.*s%s%s\",\"query\":null", at, uri, json_of(c, escaped),
             uri + at + 1);
    assert_non_null(strstr(log_line, expected));
    log_line[access_line_combined(r, &facts, log_line)] = '\0';
    snprintf(escaped, sizeof(escaped), c < 0x20 || c >= 0x7f || c == '"' || c == '\\' ? "\\x%02X" : "%c",
             (unsigned)c);
    snprintf(expected, sizeof(expected), "\"GET %.*s%s%s ", at, uri, escaped, uri + at + 1);
    assert_non_null(strstr(log_line, expected));
}

/* Every byte at every place of texts of every length around a word, and of one of several words. */
static void escapes_at_every_place(void **state)
{
    struct memory_call *call = call_for("GET", "/", "");

    (void)state;
    for (int c = 1; c < 256; c++) {
        for (int n = 2; n < 26 && c != '?'; n += n < 18 ? 1 : 7) {
            for (int at = 1; at < n; at++) {
                one_odd_byte(&call->request, c, at, n);
            }
        }
    }
    memory_call_free(call);
}

/* All of a line, so that nothing of one text is left behind another. */
static void whole_lines(void **state)
{
    static char log_line[ACCESS_LINE_MAX + 1];
    char service[ACCESS_LINE_SERVICE];
    struct memory_call *call = call_for("PUT", "/a/b", "q=\xc3\xa4&r=1");
    struct request *r = &call->request;
    const struct access_facts took = {.duration_us = 1234056, .upstream_us = 1000007};
    const char *ts = "{\"ts\":\"2026-01-01T00:00:00.000";

    (void)state;
    r->status = 404;
    r->body_sent = UINT64_MAX;
    r->remote_ip = "2001:db8::1";
    r->upstream = "pool \"x\"";
    snprintf(r->trace.id, sizeof(r->trace.id), "id-1");
    snprintf(r->trace.trace_id, sizeof(r->trace.trace_id), "%032d", 7);
    snprintf(r->trace.span_id, sizeof(r->trace.span_id), "%016d", 8);
    request_param(r, STR("REQUEST_URI"), STR("/a/b?q"));
    request_param(r, STR("HTTP_USER_AGENT"), STR("a\"b"));
    request_param(r, STR("HTTP_HOST"), STR("shop.example:81"));
    request_param(r, STR("SSL_PROTOCOL"), STR("TLSv1.3"));
    size_t n = access_line_service("shop \"1\"", service);
    log_line[access_line_json(r, &took, (struct str){service, n}, log_line)] = '\0';
    assert_string_equal(
        log_line + strlen(ts),
        "Z\",\"level\":\"info\",\"type\":\"access\",\"msg\":\"PUT /a/b 404\",\"ctx\":{\"service\":"
        "\"shop \\\"1\\\"\",\"request_id\":\"id-1\",\"trace_id\":\"00000000000000000000000000000007\","
        "\"span_id\":\"0000000000000008\"},\"data\":{\"host\":\"shop.example:81\",\"method\":\"PUT\","
        "\"path\":"
        "\"/a/b\",\"query\":"
        "\"q=\xc3\xa4&r=1\",\"http\":\"HTTP/"
        "1.1\",\"status\":404,\"bytes\":18446744073709551615,\"duration_ms\":"
        "1234.056,\"upstream\":\"pool "
        "\\\"x\\\"\",\"upstream_ms\":1000.007,\"ip\":\"2001:db8::1\",\"ua\":\"a\\\"b\",\"referer\":null,"
        "\"xff\":null,\"tls\":"
        "\"TLSv1.3\"}}\n");
    log_line[access_line_combined(r, &took, log_line)] = '\0';
    assert_memory_equal(log_line, "2001:db8::1 - - [", 17);
    assert_string_equal(strchr(log_line, ']'), "] \"PUT /a/b?q=\\xC3\\xA4&r=1 HTTP/1.1\" 404 "
                                               "18446744073709551615 \"-\" \"a\\x22b\"\n");
    memory_call_free(call);
}

static void long_texts_are_cut(void **state)
{
    static char log_line[ACCESS_LINE_MAX + 1], text[20000];
    static const char fills[] = {'a', '"', '\x01', '\xc3', '\x80'};
    char service[ACCESS_LINE_SERVICE];
    struct memory_call *call = call_for("GET", "/", "");
    struct request *r = &call->request;

    (void)state;
    for (size_t i = 0; i < sizeof(fills); i++) {
        memset(text, fills[i], sizeof(text) - 1);
        r->uri = r->method = r->remote_ip = r->query = r->auth_user = r->upstream = text;
        request_param(r, STR("HTTP_USER_AGENT"), str_of(text));
        request_param(r, STR("HTTP_REFERER"), str_of(text));
        request_param(r, STR("HTTP_X_FORWARDED_FOR"), str_of(text));
        size_t n = access_line_service(text, service);
        assert_in_range(n, 250, ACCESS_LINE_SERVICE);
        n = access_line_json(r, &facts, (struct str){service, n}, log_line);
        assert_in_range(n, 5000, ACCESS_LINE_MAX);
        assert_memory_equal(log_line + n - 3, "}}\n", 3);
        n = access_line_combined(r, &facts, log_line);
        assert_in_range(n, 5000, ACCESS_LINE_MAX);
        assert_int_equal(log_line[n - 1], '\n');
    }
    memory_call_free(call);
}

static void suppression(void **state)
{
    struct setting_pair second = {.value = (char *)(uintptr_t) "/health"};
    struct setting_pair paths = {.value = (char *)(uintptr_t) "/ping", .next = &second};
    struct memory_call *call = call_for("GET", "/health", "");
    struct request *r = &call->request;

    (void)state;
    assert_string_equal(line("%r", r, &paths), "");
    r->method = "HEAD";
    assert_string_equal(line("%r", r, &paths), "");
    r->method = "POST";
    assert_string_equal(line("%r", r, &paths), "/health\n");
    r->method = "GET";
    r->query = "a";
    assert_string_equal(line("%r", r, &paths), "/health\n");
    r->query = "";
    r->content_length = 3;
    assert_string_equal(line("%r", r, &paths), "/health\n");
    r->content_length = 0;
    r->status = 500;
    assert_string_equal(line("%r", r, &paths), "/health\n");
    r->status = 200;
    r->uri = "/healthy";
    assert_string_equal(line("%r", r, &paths), "/healthy\n");
    memory_call_free(call);
}

static int set_up(void **state)
{
    (void)state;
    test_pool_init(&t, 1);
    test_pool_create(&t, &test_executor);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_pool_stop(&t);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),
        cmocka_unit_test(missing_values),
        cmocka_unit_test(one_line_a_request),
        cmocka_unit_test(refusals),
        cmocka_unit_test(escapes_at_every_place),
        cmocka_unit_test(whole_lines),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(suppression),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
