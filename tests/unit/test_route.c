/* The router against a real tree in a temporary directory: the modes, the names that run, and every way we
 * know to get out of the document root. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/http_settings.h"
#include "http/site/route.h"
#include "http/wire/path.h"
#include "http/wire/script_names.h"

static char base[64];
static char root[128];

static void put(const char *path, const char *text)
{
    char name[512];
    snprintf(name, sizeof(name), "%s/%s", base, path);
    for (char *slash = strchr(name + strlen(base) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(name, 0755) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void link_to(const char *path, const char *target)
{
    char name[512];
    snprintf(name, sizeof(name), "%s/%s", base, path);
    assert_int_equal(symlink(target, name), 0);
}

static int make_tree(void **state)
{
    (void)state;
    strcpy(base, "/tmp/test_route.XXXXXX");
    assert_non_null(mkdtemp(base));
    char real[PATH_MAX];
    assert_non_null(realpath(base, real));
    assert_true(strlen(real) < sizeof(base));
    strcpy(base, real);
    snprintf(root, sizeof(root), "%s/www", base);
    static const char *const files[] = {"www/index.php",
                                        "www/about.php",
                                        "www/admin/index.php",
                                        "www/docs/index.html",
                                        "www/empty/x/y.txt",
                                        "www/style.css",
                                        "www/a b.txt",
                                        "www/x.php/inside.txt",
                                        "www/Upper.PHP",
                                        "www/old.phtml",
                                        "www/config.php~",
                                        "www/config.php.bak",
                                        "www/config.php.txt",
                                        "www/config.inc",
                                        "www/config.php_old",
                                        "www/mode.php.js",
                                        "www/php.js",
                                        "www/.env",
                                        "www/.git/config",
                                        "www/.well-known/acme/token",
                                        "www/.well-known/.secret",
                                        "www/app.html",
                                        "www/both/index.php",
                                        "www/both/index.html",
                                        "www/caf\xc3\xa9.txt",
                                        "www/100%.txt",
                                        "www/%2e%2e",
                                        "secret.txt",
                                        "secret.php",
                                        "other/file.txt",
                                        "www-evil/file.txt",
                                        "www/.php"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        put(files[i], "x");
    }
    char target[256];
    snprintf(target, sizeof(target), "%s/style.css", root);
    link_to("www/inside-absolute.css", target);
    link_to("www/inside.css", "docs/../style.css");
    link_to("www/out.txt", "../secret.txt");
    link_to("www/out-absolute.txt", "/etc/passwd");
    link_to("www/out.php", "../secret.php");
    link_to("www/outdir", "../other");
    link_to("www/evil", "../www-evil");
    link_to("www/loop", "loop");
    link_to("www/source.txt", "index.php");
    link_to("www/runs.php", "style.css");
    char fifo[256];
    snprintf(fifo, sizeof(fifo), "%s/fifo.txt", root);
    assert_int_equal(mkfifo(fifo, 0644), 0);
    return 0;
}

static int remove_tree(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", base);
    return system(command);
}

/* One request in words: "200 F style.css", "200 S /index.php pathinfo=...", "301 /dir/", "404". */
static const char *ask_router(struct router *r, struct str path, struct str query)
{
    static _Thread_local char text[8192];
    struct http_head head = {.path = path, .query = query};
    struct arena *arena = arena_create(1 << 20);
    struct route route;
    route_resolve(r, &head, arena, &route);
    switch (route.kind) {
    case ROUTE_SCRIPT:
        assert_true(route.path.p[route.path.n] == '\0' && strlen(route.path.p) == route.path.n);
        assert_int_equal(strncmp(route.path.p, route.root.p, route.root.n), 0);
        snprintf(text, sizeof(text), "run %s %s|%s", route.path.p + strlen(root), route.script_name.p,
                 route.path_info.p);
        break;
    case ROUTE_FILE: snprintf(text, sizeof(text), "file %s", route.path.p + strlen(root)); break;
    case ROUTE_REDIRECT:
        snprintf(text, sizeof(text), "%d %.*s", route.status, (int)route.location.n, route.location.p);
        break;
    case ROUTE_ERROR: snprintf(text, sizeof(text), "%d", route.status); break;
    }
    arena_destroy(arena);
    return text;
}

static struct router *router_of(const char *index, bool clean, bool follow)
{
    char index_copy[64];
    snprintf(index_copy, sizeof(index_copy), "%s", index);
    struct http_settings settings = {
        .document_root = root, .index = index_copy, .clean_urls = clean, .follow_symlinks = follow};
    return router_create(&settings, ".php .phar");
}

struct row {
    const char *path, *expected;
};

static void check_rows(struct router *r, const struct row *rows, size_t count)
{
    for (int twice = 0; twice < 2; twice++) { /* the second time from the cache */
        for (size_t i = 0; i < count; i++) {
            const char *got = ask_router(r, str_of(rows[i].path), STR_NONE);
            if (strcmp(got, rows[i].expected) != 0) {
                fail_msg("%s: got %s, expected %s", rows[i].path, got, rows[i].expected);
            }
        }
    }
    router_destroy(r);
}
#define CHECK(r, rows) check_rows(r, rows, sizeof(rows) / sizeof((rows)[0]))

static void test_files(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"/", "run /index.php /index.php|"},
        {"/index.php", "run /index.php /index.php|"},
        {"/index.php/a/b", "run /index.php /index.php|/a/b"},
        {"/index.php/", "run /index.php /index.php|/"},
        {"/index.php/.a/%2F%5Cb", "run /index.php /index.php|/.a/\\b"},
        {"/index.php/.a/%2F..%2fb", "run /index.php /index.php|/b"},
        {"/index.php/a\\%c0%ae/./c//", "run /index.php /index.php|/a\\\xc0\xae/c/"},
        {"/index.php/a/..", "run /index.php /index.php|/"},
        {"/about.php", "run /about.php /about.php|"},
        {"/about", "404"},
        {"/admin", "301 /admin/"},
        {"/admin/", "run /admin/index.php /admin/index.php|"},
        {"/docs/", "file /docs/index.html"},
        {"/both/", "run /both/index.php /both/index.php|"},
        {"/empty/", "403"},
        {"/style.css", "file /style.css"},
        {"/style.css/", "404"},
        {"/style.css/x.php", "404"},
        {"/a%20b.txt", "file /a b.txt"},
        {"/caf%C3%A9.txt", "file /caf\xc3\xa9.txt"},
        {"/100%25.txt", "file /100%.txt"},
        {"/%252e%252e", "file /%2e%2e"},
        {"/x.php", "301 /x.php/"},
        {"/x.php/inside.txt", "file /x.php/inside.txt"},
        {"/none", "404"},
        {"/none/", "404"},
        {"/none.php", "404"},
        {"/none.php/x", "404"},
        {"//style.css", "file /style.css"},
        {"/./style.css", "file /style.css"},
        {"/docs/./", "file /docs/index.html"},
        {"/docs/.", "file /docs/index.html"},
        {"//admin", "301 /admin/"},
        {"/fifo.txt", "403"},
    };
    CHECK(router_of("", false, false), rows);
}

static void test_traversal(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", "400"},
        {"*", "400"},
        {"style.css", "400"},
        {"/..", "400"},
        {"/../secret.txt", "400"},
        {"/docs/../../secret.txt", "400"},
        {"/docs/../style.css", "400"},
        {"/%2e%2e/secret.txt", "400"},
        {"/%2E./secret.txt", "400"},
        {"/.%2e/secret.txt", "400"},
        {"/..%2fsecret.txt", "400"},
        {"/%2e%2e%2fsecret.txt", "400"},
        {"/docs%2findex.html", "400"},
        {"/docs%2Findex.html", "400"},
        {"/..\\secret.txt", "400"},
        {"/..%5csecret.txt", "400"},
        {"/..%5Csecret.txt", "400"},
        {"/style.css%00", "400"},
        {"/index.php%00.txt", "400"},
        {"/index.php/..", "400"},
        {"/index.php/a/../../.env", "400"},
        {"/index.php/a%2f..%2f..%2fstyle.css", "400"},
        {"/index.php/%00", "400"},
        {"/index.php/%zz", "400"},
        {"/index.php%2fa", "400"},
        {"/.git/index.php/a", "403"},
        {"/%c0%ae%c0%ae/secret.txt", "400"},
        {"/%c0%afsecret.txt", "400"},
        {"/%e0%80%ae%e0%80%ae/secret.txt", "400"},
        {"/%f0%80%80%ae/secret.txt", "400"},
        {"/%c1%9c", "400"},
        {"/%", "400"},
        {"/%2", "400"},
        {"/%zz", "400"},
        {"/%u002e", "400"},
        {"/%%32%65", "400"},
        {"/....//secret.txt", "403"},
        {"/..;/secret.txt", "403"},
        {"/.env", "403"},
        {"/%2eenv", "403"},
        {"/.git/config", "403"},
        {"/.git", "403"},
        {"/docs/.hidden", "403"},
        {"/.php", "403"},
        {"/.well-known/acme/token", "file /.well-known/acme/token"},
        {"/%2ewell-known/acme/token", "file /.well-known/acme/token"},
        {"/.well-known/.secret", "403"},
        {"/docs/.well-known/x", "403"},
        {"/.well-known/../index.php", "400"},
        {"/out.txt", "403"},
        {"/out-absolute.txt", "403"},
        {"/out.php", "403"},
        {"/outdir", "403"},
        {"/outdir/", "403"},
        {"/outdir/file.txt", "403"},
        {"/evil/file.txt", "403"},
        {"/loop", "403"},
        {"/inside.css", "file /style.css"},
        {"/inside-absolute.css", "file /style.css"},
    };
    CHECK(router_of("", false, false), rows);
}

static void test_sources(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"/Upper.PHP", "403"},       {"/old.phtml", "403"},
        {"/config.php~", "403"},     {"/config.php.bak", "403"},
        {"/config.php.txt", "403"},  {"/config.inc", "403"},
        {"/config.php_old", "403"},  {"/mode.php.js", "file /mode.php.js"},
        {"/php.js", "file /php.js"}, {"/source.txt", "403"},
        {"/runs.php", "403"},
    };
    CHECK(router_of("", false, false), rows);
    CHECK(router_of("app.html", false, false), rows);
}

static void test_nearest(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"/", "run /index.php /index.php|"},
        {"/about.php", "run /about.php /about.php|"},
        {"/about.php/x", "run /about.php /about.php|/x"},
        {"/admin", "301 /admin/"},
        {"/admin/", "run /admin/index.php /admin/index.php|"},
        {"/admin/users/7", "run /admin/index.php /admin/index.php|"},
        {"/nothing", "run /index.php /index.php|"},
        {"/no/such/thing/", "run /index.php /index.php|"},
        {"/style.css", "file /style.css"},
        {"/style.css/x", "run /index.php /index.php|"},
        {"/docs/", "file /docs/index.html"},
        {"/docs/none", "run /index.php /index.php|"},
        {"/empty/", "run /index.php /index.php|"},
        {"/.env", "403"},
    };
    CHECK(router_of("nearest:index.php", false, false), rows);
    static const struct row other[] = {{"/nothing", "404"}, {"/admin/x", "404"}};
    CHECK(router_of("nearest:none.php", false, false), other);
}

static void test_follow(void **state)
{
    (void)state;
    struct router *r = router_of("", false, true);
    assert_string_equal(ask_router(r, STR("/loop"), STR_NONE), "403");
    struct http_head head = {.path = STR("/outdir/file.txt")};
    struct arena *arena = arena_create(1 << 20);
    struct route route;
    route_resolve(r, &head, arena, &route);
    assert_int_equal(route.kind, ROUTE_FILE);
    assert_non_null(strstr(route.path.p, "/other/file.txt"));
    arena_destroy(arena);
    router_destroy(r);
}

static void test_clean_urls(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"/about", "run /about.php /about.php|"},
        {"/admin", "run /admin/index.php /admin/index.php|"},
        {"/admin/", "run /admin/index.php /admin/index.php|"},
        {"/docs", "301 /docs/"},
        {"/none", "404"},
        {"/about/", "404"},
        {"/style.css", "file /style.css"},
    };
    CHECK(router_of("", true, false), rows);
}

static void test_front_controller(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"/", "run /index.php /index.php|"},
        {"/any/where", "run /index.php /index.php|"},
        {"/about.php", "run /index.php /index.php|"},
        {"/config.php~", "run /index.php /index.php|"},
        {"/admin/", "run /index.php /index.php|"},
        {"/index.php/a", "run /index.php /index.php|/a"},
        {"/style.css", "file /style.css"},
        {"/out.txt", "run /index.php /index.php|"},
        {"/source.txt", "run /index.php /index.php|"},
        {"/.env", "403"},
        {"/../x", "400"},
        {"/.none", "run /index.php /index.php|"},
        {"/a%2Fb%5C", "run /index.php /index.php|"},
        {"/index.php/%2e%2e%2fa", "400"},
        {"/index.php/a%2F.b", "run /index.php /index.php|/a/.b"},
        {"/about.php/a", "run /index.php /index.php|"},
        {"/..%2f..%2fsecret.txt", "400"},
        {"/a%2Fb%2F..%2Fc", "400"},
        {"/a/b%2F..", "400"},
        {"/a/..%2F..", "400"},
        {"/a%2F..b", "run /index.php /index.php|"},
        {"/a%00", "400"},
    };
    CHECK(router_of("index.php", true, false), rows);
}

static void test_fallback(void **state)
{
    (void)state;
    static const struct row page[] = {
        {"/", "file /app.html"},
        {"/any/where", "file /app.html"},
        {"/about.php", "run /about.php /about.php|"},
        {"/style.css", "file /style.css"},
        {"/docs/", "file /docs/index.html"},
        {"/empty/", "file /app.html"},
        {"/.env", "403"},
        {"/out.txt", "403"},
    };
    CHECK(router_of("app.html", false, false), page);
    static const struct row script[] = {
        {"/", "run /index.php /index.php|"},
        {"/2024/05/hello", "run /index.php /index.php|"},
        {"/about.php", "run /about.php /about.php|"},
        {"/none.php", "run /index.php /index.php|"},
        {"/admin", "301 /admin/"},
    };
    CHECK(router_of("/index.php", false, false), script);
}

static void test_redirect_keeps_query(void **state)
{
    (void)state;
    put("www/d \xc3\xa9?#/index.html", "x");
    struct router *r = router_of("", false, false);
    assert_string_equal(ask_router(r, STR("/admin"), STR("a=1&b=%20")), "301 /admin/?a=1&b=%20");
    assert_string_equal(ask_router(r, STR("/admin"), STR("")), "301 /admin/?");
    assert_string_equal(ask_router(r, STR("/d%20%c3%a9%3f%23"), STR_NONE), "301 /d%20%C3%A9%3F%23/");
    router_destroy(r);
}

static void test_lengths(void **state)
{
    (void)state;
    struct router *r = router_of("", false, false);
    char *path = malloc(40000);
    for (size_t n = 200; n < 40000; n = n * 3 / 2) {
        memset(path, 'a', n);
        path[0] = '/';
        const char *got = ask_router(r, (struct str){path, n}, STR_NONE);
        assert_string_equal(got, n > PATH_TEXT_MAX ? "414" : "404");
        memset(path, '/', n);
        assert_string_equal(ask_router(r, (struct str){path, n}, STR_NONE), "run /index.php /index.php|");
    }
    free(path);
    router_destroy(r);
    struct http_settings settings = {.document_root = root, .index = (char *)"../x.php"};
    assert_null(router_create(&settings, ""));
    settings.document_root = NULL;
    assert_null(router_create(&settings, ""));
}

/* A deploy: the root is a symlink that is swapped by rename. */
static void test_deploy(void **state)
{
    (void)state;
    char link[256], next[256];
    put("r1/index.html", "1");
    put("r2/new.html", "2");
    link_to("current", "r1");
    link_to("next", "r2");
    snprintf(link, sizeof(link), "%s/current", base);
    snprintf(next, sizeof(next), "%s/next", base);
    struct http_settings settings = {.document_root = link};
    struct router *r = router_create(&settings, "");
    assert_non_null(strstr(ask_router(r, STR("/index.html"), STR_NONE), "file"));
    assert_string_equal(ask_router(r, STR("/new.html"), STR_NONE), "404");
    assert_int_equal(rename(next, link), 0);
    for (int i = 0; i < 400 && strcmp(ask_router(r, STR("/index.html"), STR_NONE), "404") != 0; i++) {
        usleep(100000);
    }
    assert_string_equal(ask_router(r, STR("/index.html"), STR_NONE), "404");
    assert_non_null(strstr(ask_router(r, STR("/new.html"), STR_NONE), "file"));
    router_destroy(r);
}

static void *hammer(void *arg)
{
    struct router *r = arg;
    char path[64];
    for (int i = 0; i < 3000; i++) {
        snprintf(path, sizeof(path), i % 3 == 0 ? "/index.php/%d" : i % 3 == 1 ? "/none%d" : "/style.css", i);
        const char *got = ask_router(r, str_of(path), STR_NONE);
        if (i % 3 == 2 && strcmp(got, "file /style.css") != 0) {
            return (void *)1;
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct router *r = router_of("", false, false);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, r), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    router_destroy(r);
}

static void test_limit_extensions(void **state)
{
    (void)state;
    struct script_names *names = script_names_create(".php5 .html");
    assert_true(script_names_runs(names, STR("/a.html")));
    assert_false(script_names_runs(names, STR("/a.php")));
    assert_false(script_names_runs(names, STR("/.html")));
    assert_true(script_names_is_source(names, STR("/a.php")));
    assert_true(script_names_is_source(names, STR("/a.html")));
    assert_false(script_names_is_source(names, STR("/a.txt")));
    script_names_destroy(names);
    names = script_names_create("");
    assert_true(script_names_runs(names, STR("/a.php")));
    assert_false(script_names_runs(names, STR("/a.html")));
    script_names_destroy(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_traversal),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_clean_urls),
        cmocka_unit_test(test_front_controller),
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_redirect_keeps_query),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_deploy),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_limit_extensions),
    };
    return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
