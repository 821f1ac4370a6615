/* The identity of an engine process: resolving it in the supervisor, taking it on in the engine process.
 * Single-threaded on both sides: the engine process changes its user before any thread exists, because the
 * C library's setuid of a threaded process signals every thread. Messages are php-fpm's. */
#include "engine/supervise/identity.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/str.h"

#define PRIORITY_UNSET 64

/* Addressed to the supervisor: a script that inherits them could speak in its name. */
static const char *const supervisor_only[] = {"FPM_SOCKETS",    "NOTIFY_SOCKET", "WATCHDOG_USEC",
                                              "WATCHDOG_PID",   "LISTEN_FDS",    "LISTEN_PID",
                                              "TOKIOPHP_STATE", "TOKIOPHP_RUN"};

static bool given(const char *value)
{
    return value && *value != '\0';
}

static bool is_number(const char *text)
{
    return given(text) && text[strspn(text, "0123456789")] == '\0';
}

static bool env_sets(const struct pool_conf *pool, const char *name)
{
    for (const struct setting_pair *p = pool->s.env; p; p = p->next) {
        if (p->key && strcmp(p->key, name) == 0) {
            return true;
        }
    }
    return false;
}

static void note_user(const struct pool_conf *pool, struct identity *out, const struct passwd *pw)
{
    if (!env_sets(pool, "USER")) {
        out->user = xstrdup(pw->pw_name);
    }
    if (!env_sets(pool, "HOME")) {
        out->home = xstrdup(pw->pw_dir);
    }
}

/* A numeric user without a name is fine, but has no groups, USER and HOME to take from a database. */
static int resolve_user(const struct pool_conf *pool, struct identity *out)
{
    const char *user = pool->s.user;
    if (!given(user)) {
        return 0;
    }
    errno = 0;
    const struct passwd *pw;
    if (is_number(user)) {
        out->uid = (uid_t)strtoul(user, NULL, 10);
        pw = getpwuid(out->uid);
        if (pw) {
            out->gid = pw->pw_gid;
            out->initgroups_name = xstrdup(pw->pw_name);
        }
        return 0;
    }
    pw = getpwnam(user);
    if (!pw) {
        log_error("[pool %s] cannot get uid for user '%s'", pool->name, user);
        return -1;
    }
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    out->initgroups_name = xstrdup(pw->pw_name);
    note_user(pool, out, pw);
    return 0;
}

static int resolve_group(const struct pool_conf *pool, struct identity *out)
{
    const char *name = pool->s.group;
    if (!given(name)) {
        return 0;
    }
    if (is_number(name)) {
        out->gid = (gid_t)strtoul(name, NULL, 10);
        return 0;
    }
    const struct group *group = getgrnam(name);
    if (!group) {
        log_error("[pool %s] cannot get gid for group '%s'", pool->name, name);
        return -1;
    }
    out->gid = group->gr_gid;
    return 0;
}

/* Read now, because inside a chroot the group database may be missing or another one. */
static void resolve_supplementary(struct identity *out)
{
    if (!out->initgroups_name) {
        return;
    }
    int count = 32;
    gid_t *groups = xcalloc((size_t)count, sizeof(*groups));
    while (getgrouplist(out->initgroups_name, out->gid, groups, &count) < 0) {
        groups = xrealloc(groups, (size_t)count * sizeof(*groups));
    }
    out->groups = groups;
    out->group_count = count;
}

/* A test of the configuration looks names up even where they will not be used. */
static int check_names(const struct pool_conf *pool)
{
    struct identity scratch = {0};
    int rc = resolve_user(pool, &scratch) != 0 ? -1 : resolve_group(pool, &scratch);
    identity_free(&scratch);
    return rc;
}

static void say_ignored(const struct pool_conf *pool)
{
    const struct {
        const char *name;
        bool used;
    } settings[] = {{"user", given(pool->s.user)},
                    {"group", given(pool->s.group)},
                    {"chroot", given(pool->s.chroot)},
                    {"process.priority", pool->s.process_priority != PRIORITY_UNSET}};
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (settings[i].used) {
            log_notice("[pool %s] '%s' directive is ignored when FPM is not running as root", pool->name,
                       settings[i].name);
        }
    }
}

int identity_resolve(const struct pool_conf *pool, bool allow_root, bool starting, struct identity *out)
{
    memset(out, 0, sizeof(*out));
    if (!starting && check_names(pool) != 0) {
        return -1;
    }
    if (geteuid() != 0) {
        say_ignored(pool);
        const struct passwd *pw = getpwuid(getuid());
        if (pw) {
            note_user(pool, out, pw);
        }
        return 0;
    }
    if (resolve_user(pool, out) != 0 || resolve_group(pool, out) != 0) {
        identity_free(out);
        return -1;
    }
    if (starting && !allow_root && (out->uid == 0 || out->gid == 0)) {
        log_error("[pool %s] please specify user and group other than root", pool->name);
        identity_free(out);
        return -1;
    }
    resolve_supplementary(out);
    return 0;
}

void identity_free(struct identity *id)
{
    free(id->initgroups_name);
    free(id->user);
    free(id->home);
    free(id->groups);
    memset(id, 0, sizeof(*id));
}

/* scope is "[pool P] " or empty; 0 or -1 (reported). 0 = not set, -1 = no limit. */
static int set_limit(const char *scope, const char *setting, int resource, const char *name, int64_t value)
{
    if (value == 0) {
        return 0;
    }
    rlim_t n = value == -1 ? RLIM_INFINITY : (rlim_t)value;
    struct rlimit limit = {.rlim_cur = n, .rlim_max = n};
    if (setrlimit(resource, &limit) != 0) {
        log_sys(LEVEL_ERROR,
                "%sfailed to set %s for this pool. Please check your system limits or decrease %s. "
                "setrlimit(%s, %lld)",
                scope, setting, setting, name, (long long)value);
        return -1;
    }
    return 0;
}

/* A limit that cannot be set is reported, and the pool runs with the one it has, as in php-fpm. */
void identity_limits(const struct pool_conf *pool)
{
    char scope[160];
    snprintf(scope, sizeof(scope), "[pool %s] ", pool->name);
    set_limit(scope, "rlimit_files", RLIMIT_NOFILE, "RLIMIT_NOFILE", pool->s.rlimit_files);
    set_limit(scope, "rlimit_core", RLIMIT_CORE, "RLIMIT_CORE", pool->s.rlimit_core);
}

static int enter_directories(const struct pool_conf *pool, bool root, bool standin)
{
    bool jailed = root && given(pool->s.chroot);
    if (jailed && chroot(pool->s.chroot) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] failed to chroot(%s)", pool->name, pool->s.chroot);
        return -1;
    }
    if (given(pool->s.chdir)) {
        if (chdir(pool->s.chdir) != 0 && !(standin && chdir("/") == 0)) {
            log_sys(LEVEL_ERROR, "[pool %s] failed to chdir(%s)", pool->name, pool->s.chdir);
            return -1;
        }
    } else if (jailed && chdir("/") != 0) {
        log_warning("[pool %s] failed to chdir(/)", pool->name);
    }
    return 0;
}

static int take_ids(const struct pool_conf *pool, const struct identity *id)
{
    if (id->gid != 0 && setgid(id->gid) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] failed to setgid(%d)", pool->name, (int)id->gid);
        return -1;
    }
    if (id->uid == 0) {
        return 0;
    }
    gid_t only[1] = {id->gid};
    int rc = id->groups ? setgroups((size_t)id->group_count, id->groups) : setgroups(id->gid ? 1 : 0, only);
    if (rc != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] failed to initgroups(%s, %d)", pool->name, pool->s.user,
                (int)id->gid);
        return -1;
    }
    if (setuid(id->uid) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] failed to setuid(%d)", pool->name, (int)id->uid);
        return -1;
    }
    return 0;
}

int identity_become(const struct pool_conf *pool, const struct identity *id, bool standin)
{
    bool root = geteuid() == 0;
    if (enter_directories(pool, root, standin) != 0) {
        return -1;
    }
    if (root && pool->s.process_priority != PRIORITY_UNSET &&
        setpriority(PRIO_PROCESS, 0, (int)pool->s.process_priority) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] Unable to set priority for this new process", pool->name);
        return -1;
    }
    if (root && take_ids(pool, id) != 0) {
        return -1;
    }
    if (pool->s.process_dumpable && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] failed to prctl(PR_SET_DUMPABLE)", pool->name);
    }
    return 0;
}

void identity_forget_supervisor(void)
{
    for (size_t n = 0; n < sizeof(supervisor_only) / sizeof(supervisor_only[0]); n++) {
        unsetenv(supervisor_only[n]);
    }
}

/* -- variables of the server that are for other pools -- */

static char **foreign; /* their names; NULL-terminated. One thread */
static size_t foreign_count;

static bool takes(const struct setting_pair *pairs, const char *name)
{
    while (pairs && !(pairs->value[0] == '$' && strcmp(pairs->value + 1, name) == 0)) {
        pairs = pairs->next;
    }
    return pairs != NULL;
}

static void note_taken(const struct pool_conf *pool, const struct setting_pair *by_other)
{
    for (const struct setting_pair *p = by_other; p; p = p->next) {
        const char *name = p->value + 1;

        if (p->value[0] == '$' && !takes(pool->s.env, name) && !takes(pool->s.worker_env, name)) {
            foreign = xrealloc(foreign, (foreign_count + 1) * sizeof(*foreign));
            foreign[foreign_count++] = xstrdup(name);
        }
    }
}

void identity_note_foreign(const struct pool_conf *pool, const struct pool_conf *all)
{
    for (; all; all = all->next) {
        note_taken(pool, all->s.env);
        note_taken(pool, all->s.worker_env);
    }
}

void identity_hide_foreign(void)
{
    for (size_t i = 0; i < foreign_count; i++) {
        char *value = getenv(foreign[i]);

        if (value) {
            explicit_bzero(value, strlen(value));
            unsetenv(foreign[i]);
        }
    }
}

/* -- the environment -- */

/* $NAME as a value means our own variable of that name: read before the environment is cleared. php-fpm
 * applies env[] last line first, so of two equal keys the first line wins; walking forward and keeping what
 * is there does the same. */
static void add_pool_environment(const struct pool_conf *pool, bool clear)
{
    size_t count = 0;
    for (const struct setting_pair *p = pool->s.env; p; p = p->next) {
        count++;
    }
    char **values = xcalloc(count + 1, sizeof(*values));
    size_t i = 0;
    for (const struct setting_pair *p = pool->s.env; p; p = p->next, i++) {
        const char *value = p->value ? p->value : "";
        if (value[0] == '$') {
            value = getenv(value + 1);
        }
        values[i] = xstrdup(value ? value : "");
    }
    if (clear) {
        clearenv();
    }
    i = 0;
    for (const struct setting_pair *p = pool->s.env; p; p = p->next, i++) {
        bool earlier = false;
        for (const struct setting_pair *q = pool->s.env; q != p; q = q->next) {
            earlier = earlier || (q->key && p->key && strcmp(q->key, p->key) == 0);
        }
        if (p->key && !earlier) {
            setenv(p->key, values[i], 1);
        }
        free(values[i]);
    }
    free(values);
}

char **identity_lend_environment(const struct pool_conf *pool)
{
    size_t count = 0;
    while (environ && environ[count]) {
        count++;
    }
    char **before = xcalloc(count + 1, sizeof(*before));
    for (size_t i = 0; i < count; i++) {
        before[i] = environ[i];
    }
    add_pool_environment(pool, false);
    return before;
}

void identity_environment(const struct pool_conf *pool, const struct identity *id)
{
    if (pool->s.clear_env) {
        identity_hide_foreign();
    }
    add_pool_environment(pool, pool->s.clear_env);
    if (id->user) {
        setenv("USER", id->user, 1);
    }
    if (id->home) {
        setenv("HOME", id->home, 1);
    }
    if (getenv("TZ")) {
        tzset(); /* localtime_r(3), and so SQLite, keeps what it saw when PHP was loaded */
    }
}

int identity_master(const struct global_settings *global)
{
    if (set_limit("", "rlimit_files", RLIMIT_NOFILE, "RLIMIT_NOFILE", global->rlimit_files) != 0 ||
        set_limit("", "rlimit_core", RLIMIT_CORE, "RLIMIT_CORE", global->rlimit_core) != 0) {
        return -1;
    }
    if (global->process_priority == PRIORITY_UNSET) {
        return 0;
    }
    if (geteuid() != 0) {
        log_notice("'process.priority' directive is ignored when FPM is not running as root");
        return 0;
    }
    if (setpriority(PRIO_PROCESS, 0, (int)global->process_priority) != 0) {
        log_sys(LEVEL_ERROR, "Unable to set priority for the master process");
        return -1;
    }
    return 0;
}
