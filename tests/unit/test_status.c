/* The status pages: golden pages in all five formats. Times lie in the year 2100, so that everything that is
 * counted from now is 0; the clock is UTC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <unistd.h>

#include "engine/engine_settings.h"
#include "engine/telemetry/status.h"
#include "tests/support/board.h"

#define YEAR_2100 4102444800ULL
#define US        1000000ULL

static struct scoreboard *board;
static struct pool_view past;

static int set_up(void **state)
{
    struct pool_conf conf = {.name = (char *)(uintptr_t) "www"};
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    conf.s.max_children = 8;
    conf.s.processes = 1;
    conf.s.pm = PM_DYNAMIC;
    board = scoreboard_create(&conf);
    if (!board) {
        return -1;
    }
    pool_view_init(&past, &conf);
    past.start_wall_us = YEAR_2100 * US;
    struct scoreboard_numbers *numbers = board->numbers;
    numbers->accepted = 12345678901234567890ULL;
    numbers->listen_queue = 1;
    numbers->listen_queue_max = 22;
    numbers->listen_queue_len = 511;
    numbers->active_max = 3;
    numbers->max_children_reached = 4;
    numbers->slow_requests = 5;
    numbers->memory_peak = 2097152;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scoreboard_destroy(board);
    return 0;
}

/* One idle worker with an ordinary request behind it, one that runs a hostile one, one parked, one lost. */
static void add_workers(void)
{
    static const struct scoreboard_texts plain = {.method = "GET",
                                                  .uri = "/index.php",
                                                  .query = "a=1&b=2",
                                                  .script = "/srv/www/index.php",
                                                  .user = "joe"};
    static const struct scoreboard_texts hostile = {.method = "PO<ST",
                                                    .uri = "/<script>alert(1)</script>",
                                                    .query = "q=\"'&<\x01",
                                                    .script = "/srv/\"x\\y\".php",
                                                    .user = NULL};
    static const enum worker_state states[] = {WORKER_IDLE, WORKER_RUNNING, WORKER_PARKED, WORKER_LOST};
    for (int i = 0; i < 4; i++) {
        int n = scoreboard_claim(board);
        assert_int_equal(n, i);
        struct scoreboard_slot *slot = &board->slots[n];
        slot->tid = 1001 + i;
        slot->requests = 7;
        slot->accepted_us = UINT64_MAX / 2;
        slot->duration_us = 2000;
        slot->last_cpu_us = 500;
        slot->memory_peak = 4194304;
        slot->content_length = i ? 33 : 0;
        scoreboard_describe(slot, i ? &hostile : &plain);
        slot->state = states[i];
    }
}

/* No clock says so late yet: the rows get their beginning here. */
static void render_into(const char *query, struct buf *out, const char **type)
{
    struct view *view = board_view(&past, board);
    for (uint32_t i = 0; i < view->worker_count; i++) {
        view->workers[i].start_wall_us = YEAR_2100 * US;
    }
    status_render(view, &view->pools[0], query, out, type);
    view_free(view);
}

static void check(const char *query, const char *wanted_type, const char *wanted)
{
    struct buf out = {0};
    const char *type = NULL;
    render_into(query, &out, &type);
    assert_false(out.failed);
    assert_string_equal(type, wanted_type);
    char *text = strndup(out.p, out.n);
    assert_string_equal(text, wanted);
    free(text);
    buf_free(&out);
}

#define TEXT_POOL(idle, active, total)                                                                       \
    "pool:                 www\n"                                                                            \
    "process manager:      dynamic\n"                                                                        \
    "start time:           01/Jan/2100:00:00:00 +0000\n"                                                     \
    "start since:          0\n"                                                                              \
    "accepted conn:        12345678901234567890\n"                                                           \
    "listen queue:         1\n"                                                                              \
    "max listen queue:     22\n"                                                                             \
    "listen queue len:     511\n"                                                                            \
    "idle processes:       " idle "\n"                                                                       \
    "active processes:     " active "\n"                                                                     \
    "total processes:      " total "\n"                                                                      \
    "max active processes: 3\n"                                                                              \
    "max children reached: 4\n"                                                                              \
    "slow requests:        5\n"                                                                              \
    "memory peak:          2097152\n"

static void text_short(void **state)
{
    (void)state;
    check("", "text/plain", TEXT_POOL("0", "0", "0"));
    check("unknown", "text/plain", TEXT_POOL("0", "0", "0"));
    check("fullest&jsonp&xhtml", "text/plain", TEXT_POOL("0", "0", "0")); /* keys are whole words */
}

static void text_full(void **state)
{
    (void)state;
    add_workers();
    static const char wanted[] = TEXT_POOL("1", "1", "2") "\n"
                                                          "************************\n"
                                                          "pid:                  1001\n"
                                                          "state:                Idle\n"
                                                          "start time:           01/Jan/2100:00:00:00 +0000\n"
                                                          "start since:          0\n"
                                                          "requests:             7\n"
                                                          "request duration:     2000\n"
                                                          "request method:       GET\n"
                                                          "request URI:          /index.php?a=1&b=2\n"
                                                          "content length:       0\n"
                                                          "user:                 joe\n"
                                                          "script:               /srv/www/index.php\n"
                                                          "last request cpu:     25.00\n"
                                                          "last request memory:  4194304\n"
                                                          "\n"
                                                          "************************\n"
                                                          "pid:                  1002\n"
                                                          "state:                Running\n"
                                                          "start time:           01/Jan/2100:00:00:00 +0000\n"
                                                          "start since:          0\n"
                                                          "requests:             7\n"
                                                          "request duration:     0\n"
                                                          "request method:       PO<ST\n"
                                                          "request URI:          /<script>alert(1)</script>?"
                                                          "q=\"'&<\x01\n"
                                                          "content length:       33\n"
                                                          "user:                 -\n"
                                                          "script:               /srv/\"x\\y\".php\n"
                                                          "last request cpu:     0.00\n"
                                                          "last request memory:  0\n";
    check("full", "text/plain", wanted);
    check("full=0", "text/plain", wanted);
    check("x=1&full=", "text/plain", wanted);
}

#define JSON_POOL(idle, active, total)                                                                       \
    "{\"pool\":\"www\",\"process manager\":\"dynamic\",\"start time\":4102444800,\"start since\":0,"         \
    "\"accepted conn\":12345678901234567890,\"listen queue\":1,\"max listen queue\":22,"                     \
    "\"listen queue len\":511,\"idle processes\":" idle ",\"active processes\":" active                      \
    ",\"total processes\":" total ",\"max active processes\":3,\"max children reached\":4,"                  \
    "\"slow requests\":5,\"memory peak\":2097152"

static void json(void **state)
{
    (void)state;
    check("json", "application/json", JSON_POOL("0", "0", "0") "}");
    check("json&full", "application/json", JSON_POOL("0", "0", "0") ", \"processes\":[]}");
    add_workers();
    check("json", "application/json", JSON_POOL("1", "1", "2") "}");
    check("full&json", "application/json",
          JSON_POOL("1", "1",
                    "2") ", \"processes\":["
                         "{\"pid\":1001,\"state\":\"Idle\",\"start time\":4102444800,\"start "
                         "since\":0,\"requests\":7,\"request duration\":2000,"
                         "\"request method\":\"GET\",\"request uri\":\"/index.php?a=1&b=2\","
                         "\"content length\":0,\"user\":\"joe\",\"script\":\"/srv/www/index.php\","
                         "\"last request cpu\":25.00,\"last request memory\":4194304},"
                         "{\"pid\":1002,\"state\":\"Running\",\"start time\":4102444800,\"start "
                         "since\":0,\"requests\":7,\"request duration\":0,"
                         "\"request method\":\"PO<ST\","
                         "\"request uri\":\"/<script>alert(1)</script>?q=\\\"'&<\\u0001\","
                         "\"content length\":33,\"user\":\"-\",\"script\":\"/srv/\\\"x\\\\y\\\".php\","
                         "\"last request cpu\":0.00,\"last request memory\":0}]}");
}

#define XML_POOL(idle, active, total)                                                                        \
    "<?xml version=\"1.0\" ?>\n<status>\n"                                                                   \
    "<pool>www</pool>\n<process-manager>dynamic</process-manager>\n<start-time>4102444800</start-time>\n"    \
    "<start-since>0</start-since>\n<accepted-conn>12345678901234567890</accepted-conn>\n"                    \
    "<listen-queue>1</listen-queue>\n<max-listen-queue>22</max-listen-queue>\n"                              \
    "<listen-queue-len>511</listen-queue-len>\n<idle-processes>" idle "</idle-processes>\n"                  \
    "<active-processes>" active "</active-processes>\n<total-processes>" total "</total-processes>\n"        \
    "<max-active-processes>3</max-active-processes>\n<max-children-reached>4</max-children-reached>\n"       \
    "<slow-requests>5</slow-requests>\n<memory-peak>2097152</memory-peak>\n"

static void xml(void **state)
{
    (void)state;
    check("xml", "text/xml", XML_POOL("0", "0", "0") "</status>");
    check("xml&json", "text/xml", XML_POOL("0", "0", "0") "</status>"); /* php-fpm's precedence */
    add_workers();
    check("xml&full", "text/xml",
          XML_POOL("1", "1", "2") "<processes>\n"
                                  "<process><pid>1001</pid><state>Idle</state><start-time>4102444800</start-"
                                  "time><start-since>0</start-since><requests>7</requests>"
                                  "<request-duration>2000</request-duration><request-method>GET</"
                                  "request-method><request-uri>/index.php?a=1&amp;b=2</request-uri>"
                                  "<content-length>0</content-length><user>joe</user>"
                                  "<script>/srv/www/index.php</script><last-request-cpu>25.00</"
                                  "last-request-cpu><last-request-memory>4194304</last-request-memory>"
                                  "</process>\n"
                                  "<process><pid>1002</pid><state>Running</state><start-time>4102444800</"
                                  "start-time><start-since>0</start-since><requests>7</requests>"
                                  "<request-duration>0</request-duration><request-method>PO&lt;ST</"
                                  "request-method><request-uri>/&lt;script&gt;alert(1)&lt;/script&gt;?"
                                  "q=&quot;&#039;&amp;&lt;\xef\xbf\xbd</request-uri>"
                                  "<content-length>33</content-length><user>-</user>"
                                  "<script>/srv/&quot;x\\y&quot;.php</script><last-request-cpu>0.00</"
                                  "last-request-cpu><last-request-memory>0</last-request-memory>"
                                  "</process>\n</processes>\n</status>");
}

static char *render(const char *query)
{
    struct buf out = {0};
    const char *type;
    render_into(query, &out, &type);
    char *text = strndup(out.p, out.n);
    buf_free(&out);
    return text;
}

static void html(void **state)
{
    (void)state;
    add_workers();
    char *page = render("html");
    static const char begin[] =
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" "
        "\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\n"
        "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n"
        "<head><title>PHP-FPM Status Page</title></head>\n<body>\n<table>\n"
        "<tr><th>pool</th><td>www</td></tr>\n<tr><th>process manager</th><td>dynamic</td></tr>\n"
        "<tr><th>start time</th><td>01/Jan/2100:00:00:00 +0000</td></tr>\n";
    assert_memory_equal(page, begin, sizeof(begin) - 1);
    assert_non_null(strstr(page, "<tr><th>memory peak</th><td>2097152</td></tr>\n</table>\n</body></html>"));
    free(page);
    page = render("html&full&xml&json&openmetrics"); /* html comes first */
    static const char workers[] =
        "</table>\n<table border=\"1\">\n<tr><th>pid</th><th>state</th><th>start time</th><th>start "
        "since</th>"
        "<th>requests</th><th>request duration</th><th>request method</th><th>request uri</th>"
        "<th>content length</th><th>user</th><th>script</th><th>last request cpu</th>"
        "<th>last request memory</th></tr>\n"
        "<tr><td>1001</td><td>Idle</td><td>01/Jan/2100:00:00:00 +0000</td><td>0</td><td>7</td><td>2000</td>"
        "<td>GET</td><td>/index.php?a=1&amp;b=2</td><td>0</td><td>joe</td><td>/srv/www/index.php</td>"
        "<td>25.00</td><td>4194304</td></tr>\n"
        "<tr><td>1002</td><td>Running</td><td>01/Jan/2100:00:00:00 +0000</td><td>0</td><td>7</td><td>0</td>"
        "<td>PO&lt;ST</td><td>/&lt;script&gt;alert(1)&lt;/script&gt;?q=&quot;&#039;&amp;&lt;\xef\xbf\xbd</td>"
        "<td>33</td><td>-</td><td>/srv/&quot;x\\y&quot;.php</td><td>0.00</td><td>0</td></tr>\n"
        "</table></body></html>";
    const char *from = strstr(page, "</table>\n<table border");
    assert_non_null(from);
    assert_string_equal(from, workers);
    free(page);
}

static void openmetrics(void **state)
{
    (void)state;
    add_workers();
    static const char wanted[] =
        "# HELP phpfpm_up Could pool www using a dynamic PM on PHP-FPM be reached?\n"
        "# TYPE phpfpm_up gauge\nphpfpm_up 1\n"
        "# HELP phpfpm_start_since The number of seconds since FPM has started.\n"
        "# TYPE phpfpm_start_since counter\nphpfpm_start_since 0\n"
        "# HELP phpfpm_accepted_connections The number of requests accepted by the pool.\n"
        "# TYPE phpfpm_accepted_connections counter\nphpfpm_accepted_connections 12345678901234567890\n"
        "# HELP phpfpm_listen_queue The number of requests in the queue of pending connections.\n"
        "# TYPE phpfpm_listen_queue gauge\nphpfpm_listen_queue 1\n"
        "# HELP phpfpm_max_listen_queue The maximum number of requests in the queue of pending connections "
        "since FPM has started.\n"
        "# TYPE phpfpm_max_listen_queue counter\nphpfpm_max_listen_queue 22\n"
        "# TYPE phpfpm_listen_queue_length gauge\n"
        "# HELP phpfpm_listen_queue_length The size of the socket queue of pending connections.\n"
        "phpfpm_listen_queue_length 511\n"
        "# HELP phpfpm_idle_processes The number of idle processes.\n"
        "# TYPE phpfpm_idle_processes gauge\nphpfpm_idle_processes 1\n"
        "# HELP phpfpm_active_processes The number of active processes.\n"
        "# TYPE phpfpm_active_processes gauge\nphpfpm_active_processes 1\n"
        "# HELP phpfpm_total_processes The number of idle + active processes.\n"
        "# TYPE phpfpm_total_processes gauge\nphpfpm_total_processes 2\n"
        "# HELP phpfpm_max_active_processes The maximum number of active processes since FPM has started.\n"
        "# TYPE phpfpm_max_active_processes counter\nphpfpm_max_active_processes 3\n"
        "# HELP phpfpm_max_children_reached The number of times, the process limit has been reached, when pm "
        "tries to start more children (works only for pm 'dynamic' and 'ondemand').\n"
        "# TYPE phpfpm_max_children_reached counter\nphpfpm_max_children_reached 4\n"
        "# HELP phpfpm_slow_requests The number of requests that exceeded your 'request_slowlog_timeout' "
        "value.\n"
        "# TYPE phpfpm_slow_requests counter\nphpfpm_slow_requests 5\n"
        "# HELP phpfpm_memory_peak The memory usage peak since FPM has started.\n"
        "# TYPE phpfpm_memory_peak gauge\nphpfpm_memory_peak 2097152\n"
        "# EOF\n";
    check("openmetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", wanted);
    check("openmetrics&full", "application/openmetrics-text; version=1.0.0; charset=utf-8", wanted);
}

static void every_state_has_its_word(void **state)
{
    static const char *const words[] = {
        "Creating", "Idle",   "Reading headers", "Getting request information",
        "Running",  "Ending", "Finishing"};
    char wanted[64];
    (void)state;
    for (int i = 0; i < 7; i++) {
        int n = scoreboard_claim(board);
        board->slots[n].state = WORKER_CREATING + i;
    }
    char *page = render("full");
    const char *at = page;
    for (int i = 0; i < 7; i++) {
        snprintf(wanted, sizeof(wanted), "state:                %s\n", words[i]);
        at = strstr(at, wanted);
        assert_non_null(at);
    }
    free(page);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(text_short),
                                       TEST(text_full),
                                       TEST(json),
                                       TEST(xml),
                                       TEST(html),
                                       TEST(openmetrics),
                                       TEST(every_state_has_its_word)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
