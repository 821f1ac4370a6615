/* What an execution would bring: the files that are looked at, and under which names. */
#include <dlfcn.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/supervise/same_program.h"

static char program[4096], folder[] = "/tmp/same_program.XXXXXX";

static uint64_t now_is(const char *path)
{
    return same_program_print(path, UINT64_MAX);
}

static const char *in_folder(const char *name)
{
    static char path[2][sizeof(folder) + 32];
    static unsigned turn;
    char *at = path[turn++ % 2];

    snprintf(at, sizeof(path[0]), "%s/%s", folder, name);
    return at;
}

static void copy(const char *from, const char *to)
{
    char piece[4096];
    size_t n;
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");

    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(piece, 1, sizeof(piece), in)) > 0) {
        assert_int_equal(fwrite(piece, 1, n, out), n);
    }
    fclose(in);
    fclose(out);
}

static void test_nothing_has_changed(void **state)
{
    (void)state;
    assert_true(now_is(program) != 0);
    assert_true(now_is(program) == now_is(program));
}

static void test_another_program(void **state)
{
    (void)state;
    copy("/bin/sh", in_folder("program"));
    assert_true(now_is(in_folder("program")) == 0);
    assert_true(now_is(in_folder("none")) == 0);
    assert_true(now_is("sh") == 0); /* wherever that is by then */
}

static void test_a_link_that_leads_elsewhere_by_now(void **state)
{
    (void)state;
    assert_int_equal(symlink(program, in_folder("link")), 0);
    assert_true(now_is(in_folder("link")) == now_is(program));
    unlink(in_folder("link"));
    assert_int_equal(symlink("/bin/sh", in_folder("link")), 0);
    assert_true(now_is(in_folder("link")) == 0);
}

static void test_what_changes_meanwhile_is_not_known(void **state)
{
    (void)state;
    assert_true(same_program_print(program, 0) == 0);
}

static int find_library(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    snprintf(ctx, 4096, "%s", info->dlpi_name);
    return strstr(info->dlpi_name, "cmocka") != NULL;
}

/* As a package's upgrade does it: under the same name stands another file. */
static void test_another_library(void **state)
{
    char from[4096] = "";

    (void)state;
    assert_int_equal(dl_iterate_phdr(find_library, from), 1);
    copy(from, in_folder("library.so"));
    copy(from, in_folder("next.so"));
    uint64_t before = now_is(program);
    void *library = dlopen(in_folder("library.so"), RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    uint64_t with = now_is(program);
    assert_true(with != before && with != 0 && with == now_is(program));
    assert_int_equal(rename(in_folder("next.so"), in_folder("library.so")), 0);
    uint64_t after = now_is(program);
    assert_true(after != with);
    unlink(in_folder("library.so"));
    assert_true(now_is(program) != after);
    dlclose(library);
}

/* The linker looks there first. */
static void one_more_in_the_folder(void)
{
    uint64_t before = now_is(program);

    assert_true(before != 0 && before == now_is(program));
    copy(program, in_folder("next.so"));
    assert_true(now_is(program) != before);
    unlink(in_folder("next.so"));
}

static void test_a_library_that_would_be_found_first(void **state)
{
    char from[4096] = "", path[sizeof(folder) + 32];

    (void)state;
    assert_int_equal(dl_iterate_phdr(find_library, from), 1);
    copy(from, in_folder("library.so"));
    void *library = dlopen(in_folder("library.so"), RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    one_more_in_the_folder();
    dlclose(library);
    unlink(in_folder("library.so"));
    snprintf(path, sizeof(path), "/none:%s", folder);
    assert_int_equal(setenv("LD_LIBRARY_PATH", path, 1), 0);
    one_more_in_the_folder();
    unsetenv("LD_LIBRARY_PATH");
}

static int make_folder(void **state)
{
    (void)state;
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    return n > 0 && mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"program", "link", "library.so", "next.so"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        unlink(in_folder(names[i]));
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_has_changed),
        cmocka_unit_test(test_another_program),
        cmocka_unit_test(test_a_link_that_leads_elsewhere_by_now),
        cmocka_unit_test(test_what_changes_meanwhile_is_not_known),
        cmocka_unit_test(test_another_library),
        cmocka_unit_test(test_a_library_that_would_be_found_first),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
