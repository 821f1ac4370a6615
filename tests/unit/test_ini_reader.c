/* Configuration files: what the reader tells of them, and what it complains about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/ini_reader.h"

static char directory[] = "/tmp/ini-XXXXXX";
static struct buf told;

static int set_up(void **state)
{
    (void)state;
    char sub[64];
    if (!mkdtemp(directory)) {
        return -1;
    }
    snprintf(sub, sizeof sub, "%s/d", directory);
    return mkdir(sub, 0700);
}

static int tear_down(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command);
}

static void write_file(const char *name, const char *text, size_t n)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    fclose(file);
}

static int on_entry(void *ctx, const struct ini_entry *e)
{
    const char *base = strrchr(e->file, '/') + 1;

    (void)ctx;
    if (!e->name) {
        buf_printf(&told, "%s:%d [%s]\n", base, e->line, e->section);
        return 0;
    }
    buf_printf(&told, "%s:%d %s %s%s%s%s=%s\n", base, e->line, e->section, e->name, e->key ? "[" : "",
               e->key ? e->key : "", e->key ? "]" : "", e->value);
    return strcmp(e->name, "stop") == 0 ? -1 : 0;
}

static void on_problem(void *ctx, int warning, const char *file, int line, const char *text)
{
    (void)ctx;
    buf_printf(&told, "%s %d %.40s\n", warning ? "warning" : "error", file ? line : 0, text);
}

static const char *read_text(const char *text, size_t n, int expected)
{
    char path[128];

    buf_free(&told);
    write_file("main.ini", text, n);
    snprintf(path, sizeof path, "%s/main.ini", directory);
    assert_int_equal(ini_read(path, directory, on_entry, on_problem, NULL), expected);
    return told.p ? told.p : "";
}
#define READ(text, expected) read_text(text, strlen(text), expected)

static void reads_the_dialect(void **state)
{
    (void)state;
    assert_string_equal(
        READ("\xef\xbb\xbf; a comment\n# another\n\nfirst = 1\n[global]\n   indented = x\n\ttabbed=y\r\n"
             "[www] ; why\nenv[PATH] = /bin\naccess.suppress_path[] = /ping\nempty =\n"
             "last = no newline",
             0),
        "main.ini:4  first=1\nmain.ini:5 [global]\nmain.ini:6 global indented=x\n"
        "main.ini:7 global tabbed=y\nmain.ini:8 [www]\nmain.ini:9 www env[PATH]=/bin\n"
        "main.ini:10 www access.suppress_path[]=/ping\nmain.ini:11 www empty=\n"
        "main.ini:12 www last=no newline\n");
    assert_string_equal(READ("", 0), "");
}

static void reads_long_values(void **state)
{
    char text[8000] = "name = ";

    (void)state;
    memset(text + 7, 'v', sizeof text - 9);
    text[sizeof text - 2] = '\n';
    assert_int_equal(strlen(READ(text, 0)), strlen("main.ini:1  name=\n") + sizeof text - 9);
}

static void refuses_what_it_cannot_read(void **state)
{
    static const char nul[] = "a = b\0c\nd = e\n";
    char longer[9000];

    (void)state;
    assert_string_equal(READ("no equals\n", -1), "error 1 value is NULL for a ZEND_INI_PARSER_ENTR\n");
    assert_string_equal(READ("= value\n", -1), "error 1 syntax error, unexpected '='\n");
    assert_string_equal(READ("a = 1\n[open\n", -1),
                        "main.ini:1  a=1\nerror 2 syntax error, unexpected end of file, ex\n");
    assert_string_equal(READ("[a] b\n", -1), "error 1 Unknown INI syntax\n");
    assert_string_equal(READ("[]\n", -1), "error 1 a section's name has 1 to 49 characters\n");
    assert_string_equal(READ("a[b = 1\n", -1), "error 1 Unknown INI syntax\n");
    assert_string_equal(READ("[b] = 1\n", -1), "error 1 Unknown INI syntax\n");
    assert_string_equal(READ("a:b = 1\n", -1), "error 1 Unknown INI syntax\n");
    assert_string_equal(READ("a = \"open\n", -1), "error 1 syntax error, unexpected end of file, ex\n");
    assert_string_equal(READ("stop = 1\nb = 2\n", -1), "main.ini:1  stop=1\n"); /* the callback said so */
    assert_string_equal(read_text(nul, sizeof nul - 1, -1),
                        "error 1 the line is longer than 8190 bytes or co\n");
    memset(longer, 'a', sizeof longer);
    assert_string_equal(read_text(longer, sizeof longer, -1),
                        "error 1 the line is longer than 8190 bytes or co\n");
    assert_int_equal(ini_read("/nonexistent/x.ini", NULL, on_entry, on_problem, NULL), -1);
    assert_int_equal(ini_read(directory, NULL, on_entry, on_problem, NULL), -1);
}

static void includes(void **state)
{
    (void)state;
    write_file("d/b.conf", "from = b\n[other]\nx = 1\n", 23);
    write_file("d/a.conf", "from = a\n", 9);
    assert_string_equal(READ("[www]\ninclude = d/*.conf\nafter = 1\n", 0),
                        "main.ini:1 [www]\na.conf:1 www from=a\nb.conf:1 www from=b\nb.conf:2 [other]\n"
                        "b.conf:3 other x=1\nmain.ini:3 www after=1\n");
    assert_string_equal(READ("include = d/*.none\n", 0),
                        "warning 0 Nothing matches the include pattern '/tm\n");
    READ("include = missing/*.conf\n", -1);
    assert_non_null(strstr(told.p, "error 0 Unable to globalize"));
    READ("a = 1\ninclude = main.ini\n", -1);
    assert_non_null(strstr(told.p, "failed to include more than 5 files recu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_dialect),
        cmocka_unit_test(reads_long_values),
        cmocka_unit_test(refuses_what_it_cannot_read),
        cmocka_unit_test(includes),
    };
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    buf_free(&told);
    return failed;
}
