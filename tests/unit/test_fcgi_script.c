/* Which script a request means: php-fpm's rules, case by case. The expectations were compared with php-fpm.
 * "@" stands for the folder that the test makes; there is one file in it, s.php. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/heap.h"
#include "fcgi/params.h"
#include "fcgi/script.h"

static char folder[] = "/tmp/tkscriptXXXXXX";

static const struct wanted {
    const char *name;
    bool no_fix, discard; /* cgi.fix_pathinfo = 0, cgi.discard_path = 1 */
    const char *in;       /* variables, one a line */
    const char *script;   /* NULL: none */
    const char *uri;
    const char *out; /* variables that must be so afterwards; "NAME" alone: absent */
    int status;      /* of an error page; 0 = the script runs */
} cases[] = {
    {"nginx, plain", false, false, "SCRIPT_FILENAME=@/s.php\nSCRIPT_NAME=/s.php", "@/s.php", "/s.php",
     "SCRIPT_FILENAME=@/s.php\nSCRIPT_NAME=/s.php\nORIG_SCRIPT_FILENAME\nPATH_INFO", 0},
    {"nginx, path info in all", false, false,
     "SCRIPT_FILENAME=@/s.php/a/b\nSCRIPT_NAME=/s.php/a/b\nPATH_INFO=/s.php/a/b\nDOCUMENT_ROOT=@", "@/s.php",
     "/s.php",
     "SCRIPT_FILENAME=@/s.php\nORIG_SCRIPT_FILENAME=@/s.php/a/b\nSCRIPT_NAME=/s.php\n"
     "ORIG_SCRIPT_NAME=/s.php/a/b\nPATH_INFO=/a/b\nORIG_PATH_INFO=/s.php/a/b\nPATH_TRANSLATED=@/a/b",
     0},
    {"empty path info, over-long script", false, false,
     "SCRIPT_FILENAME=@/s.php/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nSCRIPT_NAME=/s.php\nPATH_INFO=", "@/s.php",
     "/s.php", "PATH_INFO=\nORIG_PATH_INFO\nSCRIPT_FILENAME=@/s.php", 0},
    {"not found", false, false, "SCRIPT_FILENAME=@/no.php\nSCRIPT_NAME=/no.php", NULL, "/no.php",
     "SCRIPT_FILENAME\nORIG_SCRIPT_FILENAME=@/no.php", 404},
    {"no script at all", false, false, "SCRIPT_NAME=/s.php", NULL, NULL, "SCRIPT_NAME=/s.php", 404},
    {"PATH_TRANSLATED instead", false, false, "PATH_TRANSLATED=@/s.php\nSCRIPT_NAME=/s.php", "@/s.php",
     "/s.php", "SCRIPT_FILENAME=@/s.php", 0},
    {"going up", false, false, "SCRIPT_FILENAME=@/../@/s.php\nSCRIPT_NAME=/s.php", NULL, "/s.php", "", 404},
    {"dots in a name", true, false, "SCRIPT_FILENAME=/a..b/..c/d../s.php\nSCRIPT_NAME=/s.php",
     "/a..b/..c/d../s.php", "/s.php", "", 0},
    {"extension", false, false, "SCRIPT_FILENAME=@/t.txt\nSCRIPT_NAME=/t.txt", "@/t.txt", "/t.txt", "", 403},
    {"Apache proxy", false, false,
     "SCRIPT_FILENAME=proxy:fcgi://localhost:9000@/s.php/pinfo\nSCRIPT_NAME=/s.php\nPATH_INFO=/pinfo\n"
     "PATH_TRANSLATED=@/pinfo",
     "@/s.php", "/s.php", "SCRIPT_FILENAME=@/s.php\nPATH_INFO=/pinfo\nSCRIPT_NAME=/s.php\nORIG_PATH_INFO", 0},
    {"Apache proxy, query", false, false,
     "SCRIPT_FILENAME=proxy:fcgi://localhost@/s.php?x=/y\nSCRIPT_NAME=/s.php", "@/s.php", "/s.php",
     "SCRIPT_FILENAME=@/s.php\nPATH_INFO", 0},
    {"Apache ProxyPass", false, false,
     "SCRIPT_FILENAME=proxy:balancer://cluster@/s.php/p%20i+%zz\nSCRIPT_NAME=/s.php/p i+%zz", "@/s.php",
     "/s.php", "PATH_INFO=/p i+%zz\nSCRIPT_NAME=/s.php\nORIG_SCRIPT_NAME=/s.php/p i+%zz", 0},
    {"Apache ProxyPass, other name", false, false,
     "SCRIPT_FILENAME=proxy:fcgi://h@/s.php/pinfo\nSCRIPT_NAME=/other", "@/s.php", "/other",
     "PATH_INFO=/pinfo\nSCRIPT_NAME=/other\nORIG_SCRIPT_NAME", 0},
    {"Apache Action", false, false,
     "SCRIPT_FILENAME=/cgi-bin/php\nSCRIPT_NAME=/cgi-bin/php\nREDIRECT_URL=/s.php\nPATH_INFO=/s.php\n"
     "PATH_TRANSLATED=@/s.php",
     "@/s.php", "/s.php",
     "SCRIPT_FILENAME=@/s.php\nORIG_SCRIPT_FILENAME=/cgi-bin/php\nORIG_SCRIPT_NAME=/cgi-bin/php\n"
     "SCRIPT_NAME=/s.php\nPATH_INFO\nORIG_PATH_INFO=/s.php\nPATH_TRANSLATED\nORIG_PATH_TRANSLATED=@/s.php",
     0},
    {"IIS", false, false,
     "SERVER_SOFTWARE=Microsoft-IIS/10.0\nSCRIPT_FILENAME=@/s.php\nSCRIPT_NAME=/s.php\nPATH_INFO=/s.php/x",
     "@/s.php", "/s.php", "PATH_INFO=/x\nORIG_PATH_INFO=/s.php/x", 0},
    {"no fix, path info", true, false,
     "SCRIPT_FILENAME=@/s.php\nPATH_TRANSLATED=@/t.php\nSCRIPT_NAME=/s.php\nPATH_INFO=/p", "@/t.php", "/p",
     "SCRIPT_FILENAME=@/s.php", 0},
    {"no fix, discard_path", true, true,
     "SCRIPT_FILENAME=@/s.php\nPATH_TRANSLATED=@/t.php\nSCRIPT_NAME=/s.php", "@/s.php", "/s.php", "", 0},
};

/* "@" replaced; the caller frees. */
static char *filled(const char *text)
{
    struct buf b = {0};

    for (; text && *text; text++) {
        buf_text(&b, *text == '@' ? folder : (char[]){*text, '\0'});
    }
    buf_add(&b, "", 1);
    return b.p;
}

static void add_variables(struct request *r, const char *text)
{
    struct str rest = str_of(text), line;

    while (str_split(&rest, '\n', &line)) {
        const char *equals = memchr(line.p, '=', line.n);

        assert_non_null(equals);
        size_t n = (size_t)(equals - line.p);
        assert_int_equal(request_param(r, (struct str){line.p, n}, (struct str){equals + 1, line.n - n - 1}),
                         0);
    }
}

static void check_variables(const struct request *r, const char *text)
{
    struct str rest = str_of(text), line;

    while (*text && str_split(&rest, '\n', &line)) {
        const char *equals = memchr(line.p, '=', line.n);
        size_t n = equals ? (size_t)(equals - line.p) : line.n;
        const char *value = params_get(r, (struct str){line.p, n});

        if (!equals) {
            assert_null(value);
        } else {
            assert_non_null(value);
            assert_true(str_eq(str_of(value), (struct str){equals + 1, line.n - n - 1}));
        }
    }
}

static void same_text(const char *got, const char *wanted)
{
    char *text = filled(wanted);

    if (!wanted) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, text);
    }
    heap_free(text);
}

static void run_case(const struct wanted *w, const struct script_policy *policy)
{
    const struct cgi_rules rules = {.fix_pathinfo = !w->no_fix, .discard_path = w->discard};
    struct arena *arena = arena_create(1 << 20);
    char *in = filled(w->in), *out = filled(w->out);
    struct request r;

    print_message("  %s\n", w->name);
    request_init(&r, NULL, NULL, NULL, arena);
    r.method = "GET";
    add_variables(&r, in);
    assert_int_equal(script_resolve(&r, policy, &rules, false), 0);
    same_text(r.script, w->script);
    same_text(r.uri, w->uri);
    check_variables(&r, out);
    assert_int_equal(r.page, w->status ? PAGE_ERROR : PAGE_SCRIPT);
    assert_int_equal(r.error_status, w->status);
    heap_free(in);
    heap_free(out);
    request_release(&r);
    arena_destroy(arena);
}

static void resolution(void **state)
{
    const struct pool_settings settings = {.limit_extensions = (char *)".php .phar"};
    struct script_policy policy;

    (void)state;
    assert_int_equal(script_policy_init(&policy, &settings), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_case(&cases[i], &policy);
    }
    script_policy_free(&policy);
}

/* A request for `uri`; the page that it is. */
static enum request_page page_of(const struct script_policy *policy, const char *uri, bool pages_only,
                                 bool with_script)
{
    const struct cgi_rules rules = {.fix_pathinfo = true};
    struct arena *arena = arena_create(1 << 20);
    enum request_page page;
    struct request r;

    request_init(&r, NULL, NULL, NULL, arena);
    r.method = "GET";
    request_param(&r, STR("SCRIPT_NAME"), str_of(uri));
    if (with_script) {
        request_param(&r, STR("SCRIPT_FILENAME"), str_of("/no/such/file"));
    }
    assert_int_equal(script_resolve(&r, policy, &rules, pages_only), 0);
    page = r.page;
    request_release(&r);
    arena_destroy(arena);
    return page;
}

static void pages(void **state)
{
    const struct pool_settings settings = {.ping_path = (char *)"/ping", .status_path = (char *)"/status"};
    const struct pool_settings bare = {.ping_path = NULL};
    struct script_policy policy;

    (void)state;
    assert_int_equal(script_policy_init(&policy, &settings), 0);
    assert_int_equal(page_of(&policy, "/ping", false, true), PAGE_PING);
    assert_int_equal(page_of(&policy, "/status", false, true), PAGE_STATUS);
    assert_int_equal(page_of(&policy, "/status", true, true), PAGE_STATUS);
    assert_int_equal(page_of(&policy, "/pin", false, true), PAGE_ERROR);
    assert_int_equal(page_of(&policy, "/ping", false, false), PAGE_ERROR);
    assert_int_equal(page_of(&policy, "/", true, true), PAGE_ERROR);
    script_policy_free(&policy);
    assert_int_equal(script_policy_init(&policy, &bare), 0);
    assert_int_equal(page_of(&policy, "/", true, true), PAGE_STATUS);
    assert_int_equal(page_of(&policy, "/", false, true), PAGE_ERROR);
    script_policy_free(&policy);
}

/* A path of a hundred thousand slashes costs no hundred thousand stat() calls, and an arena that is full is
 * an error, not a crash. */
static void hostile(void **state)
{
    const struct pool_settings settings = {.limit_extensions = (char *)""};
    const struct cgi_rules rules = {.fix_pathinfo = true};
    struct script_policy policy;
    char *path = malloc(100001);

    (void)state;
    memset(path, '/', 100000);
    path[100000] = '\0';
    assert_int_equal(script_policy_init(&policy, &settings), 0);
    for (size_t limit = 1 << 16; limit <= 1 << 22; limit *= 4) {
        struct arena *arena = arena_create(limit);
        struct request r;

        request_init(&r, NULL, NULL, NULL, arena);
        r.method = "GET";
        if (request_param(&r, STR("SCRIPT_FILENAME"), str_of(path)) == 0) {
            int result = script_resolve(&r, &policy, &rules, false);

            assert_true(result == -1 || r.error_status == 404);
            assert_true(limit < 1 << 22 || result == 0);
        }
        request_release(&r);
        arena_destroy(arena);
    }
    script_policy_free(&policy);
    free(path);
}

static int make_folder(void **state)
{
    char path[PATH_MAX];

    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, i ? "t.txt" : "s.php");
        FILE *f = fopen(path, "w");
        if (!f || fclose(f) != 0) {
            return -1;
        }
    }
    return 0;
}

static int remove_folder(void **state)
{
    char path[PATH_MAX];

    (void)state;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, i ? "t.txt" : "s.php");
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolution),
        cmocka_unit_test(pages),
        cmocka_unit_test(hostile),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
