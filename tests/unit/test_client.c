/* Who the client is: what is believed of X-Forwarded-* and Forwarded, and from whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "http/net/limits.h"

static struct sockaddr_storage address(const char *text, uint16_t port)
{
    struct sockaddr_storage sa;
    memset(&sa, 0, sizeof(sa));
    struct sockaddr_in *v4 = (struct sockaddr_in *)&sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&sa;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
    }
    return sa;
}

static void test_lists(void **state)
{
    (void)state;
    char error[128];
    struct cidr_list *list =
        cidr_list_parse("10.0.0.0/8, 192.168.1.7  2001:db8::/33,::1 172.16.0.0/12", error, sizeof(error));
    assert_non_null(list);
    static const char *const in[] = {"10.255.0.1", "192.168.1.7",    "2001:db8:7fff::1",
                                     "::1",        "172.31.255.255", "::ffff:10.1.2.3"};
    static const char *const out[] = {"11.0.0.1", "192.168.1.8", "2001:db8:8000::1",
                                      "::2",      "172.32.0.0",  "9.255.255.255"};
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
        struct sockaddr_storage sa = address(in[i], 1);
        assert_true(cidr_list_has(list, &sa));
        sa = address(out[i], 1);
        assert_false(cidr_list_has(list, &sa));
        assert_false(cidr_list_has(NULL, &sa));
    }
    struct sockaddr_storage local = {.ss_family = AF_UNIX};
    assert_false(cidr_list_has(list, &local));
    cidr_list_free(list);
    list = cidr_list_parse("unix 0.0.0.0/0", error, sizeof(error));
    assert_true(cidr_list_has(list, &local));
    struct sockaddr_storage any = address("8.8.8.8", 1), six = address("2001::1", 1);
    assert_true(cidr_list_has(list, &any));
    assert_false(cidr_list_has(list, &six));
    cidr_list_free(list);
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0",      "::1/129",     "x",
                                      "10.0.0.0/",   "10.0.0.0/-1", "10.0.0.0/8/8"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        error[0] = '\0';
        assert_null(cidr_list_parse(bad[i], error, sizeof(error)));
        assert_string_not_equal(error, "");
    }
}

struct row {
    const char *peer, *fields, *expected; /* "ip https host" */
};

static void check(const struct row *row)
{
    char text[1024], got[512], error[64];
    struct http_head head;
    memset(&head, 0, sizeof(head));
    strcpy(text, row->fields);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *colon = strchr(line, ':');
        head.fields[head.field_count].name = (struct str){line, (size_t)(colon - line)};
        head.fields[head.field_count++].value = str_trim(str_of(colon + 1));
    }
    struct cidr_list *trusted = cidr_list_parse("10.0.0.0/8 fd00::/8", error, sizeof(error));
    struct sockaddr_storage peer = address(row->peer, 1234);
    struct client client;
    client_resolve(trusted, &peer, false, &head, &client);
    int n = snprintf(got, sizeof(got), "%s %d %.*s", client.ip, client.https, (int)client.host.n,
                     client.host.n > 0 ? client.host.p : "");
    if (client.server_port) {
        snprintf(got + n, sizeof(got) - (size_t)n, " port %u", client.server_port);
    }
    if (strcmp(got, row->expected) != 0) {
        fail_msg("%s from %s: got \"%s\", expected \"%s\"", row->fields, row->peer, got, row->expected);
    }
    cidr_list_free(trusted);
}

static void test_resolve(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"8.8.8.8", "", "8.8.8.8 0 "},
        {"8.8.8.8", "X-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil",
         "8.8.8.8 0 "},
        {"8.8.8.8", "Forwarded: for=1.1.1.1;proto=https;host=evil", "8.8.8.8 0 "},
        {"10.0.0.1", "", "10.0.0.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 10.0.0.3, 10.0.0.2", "10.0.0.3 0 "},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.2", "10.0.0.2 0 "},
        {"10.0.0.1", "X-Forwarded-For: unknown", "10.0.0.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1:99", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 2001:db8::1", "2001:db8::1 0 "},
        {"10.0.0.1", "X-Forwarded-For: [2001:db8::1]:99", "2001:db8::1 0 "},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: a.example:8443",
         "1.1.1.1 1 a.example:8443"},
        {"10.0.0.1", "X-Forwarded-Proto: HTTPS", "10.0.0.1 1 "},
        {"10.0.0.1", "X-Forwarded-Proto: ftp", "10.0.0.1 0 "},
        {"10.0.0.1", "X-Forwarded-Host: a.example/../<x>", "10.0.0.1 0 "},
        {"10.0.0.1", "X-Forwarded-Host: evil, a.example", "10.0.0.1 0 a.example"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1\nForwarded: for=6.6.6.6;proto=https", "1.1.1.1 0 "},
        /* two proxies that each add to every list, and one that adds to one only */
        {"10.0.0.1",
         "X-Forwarded-For: 1.1.1.1, 10.0.0.2\nX-Forwarded-Host: a.example, inner\nX-Forwarded-Proto: https, "
         "http\nX-Forwarded-Port: 443, 8080",
         "1.1.1.1 1 a.example port 443"},
        {"10.0.0.1",
         "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2\nX-Forwarded-Host: evil, a.example, inner\n"
         "X-Forwarded-Proto: http, https, http",
         "1.1.1.1 1 a.example"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1, 10.0.0.2\nX-Forwarded-Proto: https\nX-Forwarded-Port: 8443",
         "1.1.1.1 1  port 8443"},
        {"10.0.0.1", "X-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: http\nX-Forwarded-Proto: https",
         "1.1.1.1 1 "},
        {"10.0.0.1", "X-Forwarded-Port: 0", "10.0.0.1 0 "},
        {"10.0.0.1", "X-Forwarded-Port: 70000", "10.0.0.1 0 "},
        {"8.8.8.8", "X-Forwarded-Port: 443", "8.8.8.8 0 "},
        {"fd00::1", "Forwarded: for=1.1.1.1;proto=https;host=a.example", "1.1.1.1 1 a.example"},
        {"10.0.0.1", "Forwarded: For=\"[2001:db8::1]:4711\" ; Proto=\"https\"", "2001:db8::1 1 "},
        {"10.0.0.1", "Forwarded: for=6.6.6.6;host=evil, for=1.1.1.1;host=a.example, for=10.0.0.2;host=inner",
         "1.1.1.1 0 a.example"},
        {"10.0.0.1", "Forwarded: for=\"x,y\";host=evil, for=1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "Forwarded: for=_hidden;proto=https", "10.0.0.1 1 "},
        {"10.0.0.1", "Forwarded: \"", "10.0.0.1 0 "},
        /* What a client writes swallows nothing of what the proxy appends. */
        {"10.0.0.1", "X-Forwarded-For: \", 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: x\", 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: \\\", 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: \\, 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: \"\nX-Forwarded-For: 1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "X-Forwarded-For: \"6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1 0 "},
        {"10.0.0.1",
         "X-Forwarded-For: \", 1.1.1.1\nX-Forwarded-Host: \", a.example\nX-Forwarded-Proto: \", https",
         "1.1.1.1 1 a.example"},
        {"10.0.0.1", "Forwarded: for=\", for=1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "Forwarded: for=\\\", for=1.1.1.1", "1.1.1.1 0 "},
        {"10.0.0.1", "Forwarded: \", for=\"[2001:db8::1]:9\";proto=https", "2001:db8::1 1 "},
        {"10.0.0.1", "Forwarded: for=\"6.6.6.6, for=1.1.1.1, for=\"10.0.0.2\"", "1.1.1.1 0 "},
        {"10.0.0.1", "Forwarded: host=\"\nForwarded: for=1.1.1.1;host=a.example", "1.1.1.1 0 a.example"},
        {"10.0.0.1", "Forwarded: for=\"x, for=1.1.1.1;ext=\"a,b\\\",c\"", "1.1.1.1 0 "},
        /* A quoted text is no entry, although one can be seen in it. */
        {"10.0.0.1", "Forwarded: for=1.1.1.1;ext=\"a, for=6.6.6.6\"", "1.1.1.1 0 "},
        {"10.0.0.1", "Forwarded: for=1.1.1.1;ext=\"a, for=6.6.6.6;x=\\\"\"", "1.1.1.1 0 "},
        {"10.0.0.1", "Forwarded: for=1.1.1.1;for=6.6.6.6", "10.0.0.1 0 "},
        {"10.0.0.1", "Forwarded: ;;;=,=;for", "10.0.0.1 0 "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(&rows[i]);
    }
}

/* More hops than are looked at: the nearest ones count. */
static void test_many_hops(void **state)
{
    (void)state;
    char fields[1024] = "X-Forwarded-For: 1.1.1.1";
    for (int i = 0; i < 60; i++) {
        strcat(fields, ",10.0.0.9");
    }
    struct row row = {"10.0.0.1", fields, "10.0.0.9 0 "};
    check(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lists), cmocka_unit_test(test_resolve),
                                       cmocka_unit_test(test_many_hops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
