/* What htpasswd and openssl write, held against what a client says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/content/password_file.h"
#include "http/content/password_hash.h"

static const struct {
    const char *hash, *password;
} made[] = {
    {"$apr1$j0B8gRNn$xWF8HXJrov33.jdY/PIsS/", "secret pass"}, /* htpasswd -m */
    {"$apr1$xY12abcd$XT3i4xPB43pkM7D4xIauU1", ""},
    {"$apr1$ab$FcaIdQYV4Pbe7/2rwHSnV0", "a-very-long-password-of-more-than-sixteen-bytes"},
    {"$2y$05$rt8V220Dd9Gao6NoLG/QKOfhPc7fdoFjLyEAKB5MrDPOaRdnAHVSm", "secret"}, /* htpasswd -B */
    {"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret"},                            /* htpasswd -s */
    {"pGP0jr/WeTZpE", "secret"},                                                /* htpasswd -d */
    {"$1$saltsalt$9xy1btjgzLYfb7hivXtC//", "secret"},
    {"$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
     "secret"},
};

static void test_what_others_made(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        char other[200];
        assert_true(password_hash_known(made[i].hash));
        assert_true(password_hash_fits(made[i].hash, made[i].password));
        assert_false(password_hash_fits(made[i].hash, "another"));
        strcpy(other, made[i].hash);
        char *last = other + strlen(other) - 2; /* the last digit has bits that do not count */
        *last = *last == 'a' ? 'b' : 'a';
        assert_false(password_hash_fits(other, made[i].password));
    }
}

static void test_no_hashes(void **state)
{
    static const char *const none[] = {"",
                                       "plain text",
                                       "$apr1$$xWF8HXJrov33.jdY/PIsS/",
                                       "$apr1$j0B8gRNn$short",
                                       "$apr1$toolongsalt$xWF8HXJrov33.jdY/PIsS/",
                                       "{SHA}abc",
                                       "{SSHA}abc",
                                       "$unknown$x$y",
                                       "*",
                                       "!"};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_false(password_hash_known(none[i]));
    }
}

#define HASH "$1$saltsalt$9xy1btjgzLYfb7hivXtC//"

static void test_a_file(void **state)
{
    char error[200] = "";
    struct password_file *file = password_file_read(
        STR("# who may enter\n\nann:" HASH ":a comment\r\n  # not a comment:" HASH "\nbob:{SHA}abc\n"), error,
        sizeof error);
    (void)state;
    assert_null(file);
    assert_non_null(strstr(error, "line 5: no hash"));
    file = password_file_read(STR("# who may enter\n\nann:" HASH ":a comment\r\nbob:" HASH "  "), error,
                              sizeof error);
    assert_non_null(file);
    assert_true(password_file_admits(file, STR("ann"), "secret"));
    assert_true(password_file_admits(file, STR("bob"), "secret"));
    assert_false(password_file_admits(file, STR("bob"), "Secret"));
    assert_false(password_file_admits(file, STR("an"), "secret"));
    assert_false(password_file_admits(file, STR(""), "secret"));
    password_file_free(file);
}

static void test_no_files(void **state)
{
    static const struct {
        struct str text;
        const char *why;
    } bad[] = {{{"", 0}, "no user"},
               {{"# nobody\n", 9}, "no user"},
               {{"\nann\n", 5}, "line 2: expected USER:HASH"},
               {{":x\n", 3}, "line 1: expected USER:HASH"},
               {{"ann:secret\n", 11}, "line 1: no hash"},
               {{"a\0b", 3}, "no text"}};
    char error[200];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(password_file_read(bad[i].text, error, sizeof error));
        assert_non_null(strstr(error, bad[i].why));
    }
}

static void test_digests(void **state)
{
    unsigned char key[PASSWORD_DIGEST] = {1}, other[PASSWORD_DIGEST] = {2}, a[PASSWORD_DIGEST],
                  b[PASSWORD_DIGEST];
    (void)state;
    assert_true(password_digest(key, STR("ann"), STR("secret"), a));
    assert_true(password_digest(key, STR("ann"), STR("secret"), b));
    assert_memory_equal(a, b, sizeof a);
    assert_true(password_digest(key, STR("an"), STR("nsecret"), b));
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(password_digest(other, STR("ann"), STR("secret"), b));
    assert_memory_not_equal(a, b, sizeof a);
    assert_null(memmem(a, sizeof a, "secret", 6));
    assert_int_equal(password_key(key), 0);
    assert_int_equal(password_key(other), 0);
    assert_memory_not_equal(key, other, sizeof key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_others_made), cmocka_unit_test(test_no_hashes),
        cmocka_unit_test(test_a_file),           cmocka_unit_test(test_no_files),
        cmocka_unit_test(test_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
