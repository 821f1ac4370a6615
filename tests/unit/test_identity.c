/* Identities, as far as any user can try them: resolving names, the messages, the environment. As root, in
 * children of the test, also taking one on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/identity.h"
#include "tests/support/log_pipe.h"

static struct pool_conf conf;
static struct identity id;

static char *word(const char *text)
{
    return (char *)(uintptr_t)text;
}

static int set_up(void **state)
{
    (void)state;
    log_set_timestamps(false);
    conf = (struct pool_conf){.name = word("www")};
    conf.s.process_priority = PRIORITY_UNSET;
    conf.s.clear_env = true;
    memset(&id, 0, sizeof(id));
    return log_pipe_open();
}

static int tear_down(void **state)
{
    (void)state;
    identity_free(&id);
    log_pipe_close();
    return 0;
}

/* Runs fn in a child, because what it does cannot be undone; its exit code. */
static int in_child(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(fn());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool is_root(void)
{
    return geteuid() == 0;
}

/* -- names -- */

static void unknown_names_are_refused(void **state)
{
    (void)state;
    conf.s.user = word("no-such-user");
    assert_int_equal(identity_resolve(&conf, false, false, &id), -1); /* -t tells any user */
    assert_string_equal(log_pipe_read(), "ERROR: [pool www] cannot get uid for user 'no-such-user'\n");
    conf.s.user = NULL;
    conf.s.group = word("no-such-group");
    assert_int_equal(identity_resolve(&conf, false, false, &id), -1);
    assert_string_equal(log_pipe_read(), "ERROR: [pool www] cannot get gid for group 'no-such-group'\n");
}

static void root_is_refused(void **state)
{
    (void)state;
    if (!is_root()) {
        skip();
    }
    static const char refusal[] = "ERROR: [pool www] please specify user and group other than root\n";
    assert_int_equal(identity_resolve(&conf, false, true, &id), -1);
    assert_string_equal(log_pipe_read(), refusal);
    conf.s.user = word("root");
    assert_int_equal(identity_resolve(&conf, false, true, &id), -1);
    assert_string_equal(log_pipe_read(), refusal);
    conf.s.user = word("nobody");
    conf.s.group = word("root");
    assert_int_equal(identity_resolve(&conf, false, true, &id), -1);
    assert_string_equal(log_pipe_read(), refusal);
    conf.s.user = word("root");
    assert_int_equal(identity_resolve(&conf, true, true, &id), 0); /* -R */
    assert_string_equal(log_pipe_read(), "");
}

static void numbers_need_no_name(void **state)
{
    (void)state;
    if (!is_root()) {
        skip();
    }
    conf.s.user = word("54321");
    conf.s.group = word("54322");
    assert_int_equal(identity_resolve(&conf, false, true, &id), 0);
    assert_int_equal(id.uid, 54321);
    assert_int_equal(id.gid, 54322);
    assert_null(id.user);
    assert_null(id.home);
    assert_null(id.groups);
}

static void a_name_brings_its_group_and_home(void **state)
{
    (void)state;
    const struct passwd *pw = getpwnam("nobody");
    if (!is_root() || !pw) {
        skip();
    }
    uid_t uid = pw->pw_uid;
    gid_t gid = pw->pw_gid;
    conf.s.user = word("nobody");
    assert_int_equal(identity_resolve(&conf, false, true, &id), 0);
    assert_int_equal(id.uid, uid);
    assert_int_equal(id.gid, gid);
    assert_string_equal(id.user, "nobody");
    assert_non_null(id.home);
    assert_true(id.group_count >= 1);
}

static void others_are_told_what_is_ignored(void **state)
{
    (void)state;
    if (is_root()) {
        skip();
    }
    conf.s.user = word("nobody");
    conf.s.chroot = word("/srv");
    assert_int_equal(identity_resolve(&conf, false, true, &id), 0);
    assert_int_equal(id.uid, 0);
    log_pipe_read();
    assert_non_null(strstr(log_text, "'user' directive is ignored when FPM is not running as root"));
    assert_non_null(strstr(log_text, "'chroot' directive is ignored"));
    assert_null(strstr(log_text, "'group'"));
}

/* -- the environment -- */

static struct setting_pair pairs[] = {
    {.key = (char *)(uintptr_t) "ONE", .value = (char *)(uintptr_t) "1"},
    {.key = (char *)(uintptr_t) "COPY", .value = (char *)(uintptr_t) "$GIVEN"},
    {.key = (char *)(uintptr_t) "NONE", .value = (char *)(uintptr_t) "$NOT_SET"},
    {.key = (char *)(uintptr_t) "ONE", .value = (char *)(uintptr_t) "2"}};

static void link_pairs(void)
{
    for (size_t i = 0; i + 1 < sizeof(pairs) / sizeof(pairs[0]); i++) {
        pairs[i].next = &pairs[i + 1];
    }
    conf.s.env = pairs;
}

static bool is(const char *name, const char *value)
{
    const char *is_now = getenv(name);
    return value ? is_now && strcmp(is_now, value) == 0 : !is_now;
}

static int clear_environment(void)
{
    static const char *const ours[] = {"FPM_SOCKETS", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                       "LISTEN_FDS",  "LISTEN_PID",    "TOKIOPHP_STATE"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        setenv(ours[i], "x", 1);
    }
    setenv("GIVEN", "from outside", 1);
    identity_forget_supervisor();
    identity_environment(&conf, &id);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (!is(ours[i], NULL)) {
            return 10 + (int)i;
        }
    }
    return !is("ONE", "1")               ? 1 /* the first line of two equal ones, as in php-fpm */
           : !is("COPY", "from outside") ? 2
           : !is("NONE", "")             ? 3
           : !is("GIVEN", conf.s.clear_env ? NULL : "from outside") ? 4
           : !is("USER", "joe")                                     ? 5
           : !is("HOME", "/var/lib/joe")                            ? 6
                                                                    : 0;
}

static void environment_is_made_anew(void **state)
{
    (void)state;
    link_pairs();
    id.user = strdup("joe");
    id.home = strdup("/var/lib/joe");
    assert_int_equal(in_child(clear_environment), 0);
}

/* Even then what is addressed to the supervisor stays with it. */
static void environment_is_kept(void **state)
{
    (void)state;
    link_pairs();
    id.user = strdup("joe");
    id.home = strdup("/var/lib/joe");
    conf.s.clear_env = false;
    assert_int_equal(in_child(clear_environment), 0);
}

static void own_user_and_home_win(void **state)
{
    static struct setting_pair user = {.key = (char *)(uintptr_t) "USER", .value = (char *)(uintptr_t) "me"};
    (void)state;
    conf.s.env = &user;
    conf.s.user = is_root() ? word("nobody") : NULL;
    assert_int_equal(identity_resolve(&conf, false, true, &id), 0);
    assert_null(id.user);
}

/* -- taking it on -- */

static int become_nobody(void)
{
    gid_t groups[64];
    uid_t r, e, s;
    if (identity_become(&conf, &id, false) != 0) {
        return 1;
    }
    if (getresuid(&r, &e, &s) != 0 || r != id.uid || e != id.uid || s != id.uid) {
        return 2;
    }
    if (getresgid(&r, &e, &s) != 0 || r != id.gid || e != id.gid || s != id.gid) {
        return 3;
    }
    int count = getgroups(64, groups);
    for (int i = 0; i < count; i++) {
        if (groups[i] == 0) {
            return 4; /* root's groups are gone, too */
        }
    }
    if (setuid(0) == 0) {
        return 5; /* there is no way back */
    }
    char where[64];
    return getcwd(where, sizeof(where)) && strcmp(where, conf.s.chdir) == 0 ? 0 : 6;
}

static void becomes_the_user_for_good(void **state)
{
    (void)state;
    if (!is_root() || !getpwnam("nobody")) {
        skip();
    }
    conf.s.user = word("nobody");
    conf.s.chdir = word("/usr");
    assert_int_equal(identity_resolve(&conf, false, true, &id), 0);
    assert_int_equal(in_child(become_nobody), 0);
}

static void becomes_a_bare_number(void **state)
{
    (void)state;
    if (!is_root()) {
        skip();
    }
    conf.s.user = word("54321");
    conf.s.group = word("54322");
    conf.s.chdir = word("/usr");
    assert_int_equal(identity_resolve(&conf, false, true, &id), 0);
    assert_int_equal(in_child(become_nobody), 0);
}

static int become_fails(void)
{
    return identity_become(&conf, &id, false) == -1 ? 0 : 1;
}

static int standin_becomes(void)
{
    char where[64];
    return identity_become(&conf, &id, true) == 0 && getcwd(where, sizeof(where)) && strcmp(where, "/") == 0
               ? 0
               : 1;
}

static void a_standin_needs_no_directory(void **state)
{
    (void)state;
    conf.s.chdir = word("/no/such/directory");
    assert_int_equal(in_child(standin_becomes), 0);
    conf.s.chroot = word("/no/such/root"); /* but never the wrong root */
    if (is_root()) {
        assert_int_equal(in_child(standin_becomes), 1);
    }
}

static void missing_directories_are_said(void **state)
{
    (void)state;
    conf.s.chdir = word("/no/such/directory");
    assert_int_equal(in_child(become_fails), 0);
    assert_string_equal(log_pipe_read(),
                        "ERROR: [pool www] failed to chdir(/no/such/directory): No such file or "
                        "directory (2)\n");
    if (is_root()) {
        conf.s.chroot = word("/no/such/root");
        assert_int_equal(in_child(become_fails), 0);
        assert_string_equal(log_pipe_read(),
                            "ERROR: [pool www] failed to chroot(/no/such/root): No such file or "
                            "directory (2)\n");
    }
}

static int jail(void)
{
    return identity_become(&conf, &id, false) != 0 ? 1 : access("/etc", F_OK) == 0 ? 2 : 0;
}

static void lives_in_its_root(void **state)
{
    char dir[] = "/tmp/tk-jail-XXXXXX";
    (void)state;
    if (!is_root() || !getpwnam("nobody")) {
        skip();
    }
    assert_non_null(mkdtemp(dir));
    conf.s.user = word("nobody");
    conf.s.chroot = dir;
    assert_int_equal(identity_resolve(&conf, false, true, &id), 0);
    assert_int_equal(in_child(jail), 0);
    rmdir(dir);
}

/* -- limits -- */

static int limits(void)
{
    struct rlimit files, core;
    identity_limits(&conf);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_CORE, &core);
    return files.rlim_cur != 77 || files.rlim_max != 77 ? 1 : core.rlim_cur != 4096 ? 2 : 0;
}

static void limits_are_set(void **state)
{
    (void)state;
    conf.s.rlimit_files = 77;
    conf.s.rlimit_core = 4096;
    assert_int_equal(in_child(limits), 0);
}

static int limit_too_high(void)
{
    struct rlimit low = {50, 50};
    if (setrlimit(RLIMIT_NOFILE, &low) != 0 || (is_root() && setuid(54321) != 0)) {
        return 1;
    }
    identity_limits(&conf);
    return 0;
}

static void refused_limit_is_said(void **state)
{
    (void)state;
    conf.s.rlimit_files = 4096;
    assert_int_equal(in_child(limit_too_high), 0);
    log_pipe_read();
    assert_non_null(strstr(log_text,
                           "[pool www] failed to set rlimit_files for this pool. Please check your system "
                           "limits or decrease rlimit_files. setrlimit(RLIMIT_NOFILE, 4096)"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(unknown_names_are_refused),
        TEST(root_is_refused),
        TEST(numbers_need_no_name),
        TEST(a_name_brings_its_group_and_home),
        TEST(others_are_told_what_is_ignored),
        TEST(environment_is_made_anew),
        TEST(environment_is_kept),
        TEST(own_user_and_home_win),
        TEST(becomes_the_user_for_good),
        TEST(becomes_a_bare_number),
        TEST(a_standin_needs_no_directory),
        TEST(missing_directories_are_said),
        TEST(lives_in_its_root),
        TEST(limits_are_set),
        TEST(refused_limit_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
