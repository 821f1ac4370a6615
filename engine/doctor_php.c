/* PHP as a pool gets it, and the application that it runs. A process of its own loads PHP, as an engine
 * process would; what PHP says meanwhile is shown. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/json_members.h"
#include "engine/base/log.h"
#include "engine/base/str.h"
#include "engine/doctor_private.h"
#ifdef HAVE_PHP
#include "engine/php/facts.h"
#endif

#define FACTS_MAX    (256u << 10)
#define MANIFEST_MAX (32u << 20)
#define PARENTS      3      /* a manifest lies beside public/, or above it */
#define SOURCES_MAX  200000 /* files that are counted */
#define DEPTH_MAX    24
#define CODE_FACTOR  2 /* compiled code against its source, at least */

struct php_facts {
    struct buf text; /* the facts' lines */
};

/* -- asking -- */

#ifdef HAVE_PHP
/* Whole lines; what is no fact is what PHP has to say. */
static void sort_lines(const struct pool_conf *pool, struct str all, struct php_facts *facts)
{
    struct str line;
    while (str_split(&all, '\n', &line)) {
        if (str_starts(line, STR("module ")) || str_starts(line, STR("ini "))) {
            buf_str(&facts->text, line);
            buf_add(&facts->text, "\n", 1);
        } else if (str_trim(line).n) {
            doctor_found(pool, "PHP says at its start: %.*s", (int)line.n, line.p);
        }
    }
}

static void read_all(int fd, struct buf *out)
{
    char piece[4096];
    ssize_t n;
    out->limit = FACTS_MAX;
    while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)) {
        buf_add(out, piece, n > 0 ? (size_t)n : 0);
    }
}

static _Noreturn void tell(const struct config *config, const struct pool_conf *pool, int fd)
{
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    struct cli_options cli = *config->cli;
    cli.php_defines = xasprintf("%shtml_errors=0\ndisplay_errors=1\ndisplay_startup_errors=1\nlog_errors=0\n",
                                cli.php_defines ? cli.php_defines : "");
    log_set_format(LOG_TEXT, NULL);
    log_set_timestamps(false);
    log_set_level(LEVEL_NOTICE); /* as what PHP says is logged */
    int result = php_facts_write(&cli, pool, fd);
    fflush(stdout);
    _exit(result == 0 ? 0 : 1);
}

struct php_facts *doctor_php_ask(const struct config *config, const struct pool_conf *pool)
{
    int ends[2], status = -1;
    struct buf all = {0};
    if (pipe(ends) != 0) {
        return NULL;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        tell(config, pool, ends[1]);
    }
    close(ends[1]);
    read_all(ends[0], &all);
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    struct php_facts *facts = xcalloc(1, sizeof *facts);
    sort_lines(pool, (struct str){all.p, all.n}, facts);
    buf_free(&all);
    if (status != 0) {
        doctor_found(pool, "PHP does not start: what it said stands above, and tokiophp -m says it again");
        doctor_php_free(facts);
        return NULL;
    }
    return facts;
}
#else
struct php_facts *doctor_php_ask(const struct config *config, const struct pool_conf *pool)
{
    (void)config;
    (void)pool;
    return NULL;
}
#endif

void doctor_php_free(struct php_facts *facts)
{
    if (facts) {
        buf_free(&facts->text);
        free(facts);
    }
}

static bool has_module(const struct php_facts *facts, struct str name)
{
    struct str rest = {facts->text.p, facts->text.n}, line;
    while (str_split(&rest, '\n', &line)) {
        if (str_starts(line, STR("module ")) && str_ieq((struct str){line.p + 7, line.n - 7}, name)) {
            return true;
        }
    }
    return false;
}

const char *doctor_php_ini(const struct php_facts *facts, const char *name, char out[DOCTOR_VALUE])
{
    struct str rest = {facts->text.p, facts->text.n}, line;
    size_t n = strlen(name);
    while (str_split(&rest, '\n', &line)) {
        if (str_starts(line, STR("ini ")) && line.n > n + 4 && memcmp(line.p + 4, name, n) == 0 &&
            line.p[4 + n] == ' ') {
            snprintf(out, DOCTOR_VALUE, "%.*s", (int)(line.n - n - 5), line.p + n + 5);
            return out;
        }
    }
    return NULL;
}

int64_t doctor_bytes(const char *text)
{
    char *end;
    int64_t n = strtoll(text, &end, 10);
    switch (*end | 0x20) {
    case 'g': return n << 30;
    case 'm': return n << 20;
    case 'k': return n << 10;
    default: return n;
    }
}

/* -- extensions -- */

/* What these keep is the process's, not the thread's. */
static const struct {
    const char *name, *why;
} unsafe[] = {
    {"imap", "c-client keeps its state for the whole process"},
    {"newrelic", "its agent expects a process a request"},
    {"snmp", "net-snmp keeps its options and MIBs for the whole process"},
};

static void check_unsafe(const struct pool_conf *pool, const struct php_facts *facts)
{
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++) {
        if (has_module(facts, str_of(unsafe[i].name))) {
            doctor_found(
                pool,
                "the extension %s is not safe among threads (%s): do without it, or leave what needs "
                "it to a php-fpm (http.upstream)",
                unsafe[i].name, unsafe[i].why);
        }
    }
}

struct manifest {
    const struct pool_conf *pool;
    const struct php_facts *facts;
    const char *path;
    struct buf said; /* "ext-x " each: once is enough */
};

static bool is(struct str name, const char *text)
{
    return str_eq(name, str_of(text));
}

/* "require" of composer.json itself, or of a package in composer.lock; what only developers need is left out.
 */
static void on_member(void *ctx, const struct str *names, size_t count, struct str value)
{
    struct manifest *m = ctx;
    bool own = count == 2 && is(names[0], "require");
    bool package = count == 3 && is(names[0], "packages") && is(names[1], "require");
    (void)value;
    if ((!own && !package) || !str_starts(names[count - 1], STR("ext-"))) {
        return;
    }
    struct str name = {names[count - 1].p + 4, names[count - 1].n - 4};
    char word[80];
    snprintf(word, sizeof word, " %.*s ", (int)name.n, name.p);
    if (has_module(m->facts, name) || (m->said.p && strstr(m->said.p, word))) {
        return;
    }
    buf_text(&m->said, word);
    doctor_found(m->pool,
                 "%s asks for the extension %.*s, which this PHP does not have: packaging/php-zts/build or "
                 "pecl of this runtime adds it (tokiophp -m lists what is there)",
                 m->path, (int)name.n, name.p);
}

static void read_manifest(struct manifest *m, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MANIFEST_MAX) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    char *text = xmalloc((size_t)st.st_size + 1);
    ssize_t n = read(fd, text, (size_t)st.st_size);
    close(fd);
    m->path = path;
    if (n >= 0 && !json_members((struct str){text, (size_t)n}, on_member, m)) {
        doctor_found(m->pool, "%s is no JSON: composer validate says where", path);
    }
    free(text);
}

/* The folder that has composer.json: the document root, or one above it. malloc'ed; NULL: none. */
static char *project_of(const char *root)
{
    char *folder = xstrdup(root);
    for (int up = 0; up <= PARENTS; up++) {
        char *path = xasprintf("%s/composer.json", folder), *slash;
        bool here = access(path, F_OK) == 0;
        free(path);
        if (here) {
            return folder;
        }
        while ((slash = strrchr(folder, '/')) && slash[1] == '\0' && slash > folder) {
            *slash = '\0';
        }
        if (!slash || slash == folder) {
            break;
        }
        *slash = '\0';
    }
    free(folder);
    return NULL;
}

static void check_manifests(const struct pool_conf *pool, const struct php_facts *facts, const char *project)
{
    static const char *const names[] = {"composer.json", "composer.lock"};
    struct manifest m = {.pool = pool, .facts = facts};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = xasprintf("%s/%s", project, names[i]);
        read_manifest(&m, path);
        free(path);
    }
    buf_free(&m.said);
}

/* -- OPcache -- */

struct sources {
    uint64_t files, bytes;
};

static bool is_source(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".php") == 0;
}

/* Links are not followed, nor hidden folders and those that hold no code of a request. */
static bool is_skipped(const char *name)
{
    static const char *const skipped[] = {"node_modules", "tests", "Tests", "test", NULL};
    for (size_t i = 0; skipped[i]; i++) {
        if (strcmp(name, skipped[i]) == 0) {
            return true;
        }
    }
    return name[0] == '.';
}

static void count_sources(int folder, int depth, struct sources *out)
{
    DIR *listing = fdopendir(folder);
    struct dirent *entry;
    struct stat st;
    while (listing && out->files < SOURCES_MAX && (entry = readdir(listing)) != NULL) {
        if (is_skipped(entry->d_name) ||
            fstatat(dirfd(listing), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        if (S_ISREG(st.st_mode) && is_source(entry->d_name)) {
            out->files++;
            out->bytes += (uint64_t)st.st_size;
        } else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
            int below =
                openat(dirfd(listing), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below >= 0) {
                count_sources(below, depth + 1, out);
            }
        }
    }
    if (listing) {
        closedir(listing);
    } else {
        close(folder);
    }
}

static void check_opcache_size(const struct pool_conf *pool, const struct php_facts *facts,
                               const char *folder)
{
    struct sources sources = {0};
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    count_sources(fd, 0, &sources);
    char value[DOCTOR_VALUE];
    const char *text = doctor_php_ini(facts, "opcache.max_accelerated_files", value);
    uint64_t most = text ? (uint64_t)atoll(text) : 0;
    if (most && sources.files > most) {
        doctor_found(pool,
                     "%" PRIu64 " scripts below %s are more than opcache.max_accelerated_files = %" PRIu64
                     ": raise it in php.ini",
                     sources.files, folder, most);
    }
    text = doctor_php_ini(facts, "opcache.memory_consumption", value);
    uint64_t memory = text ? (uint64_t)atoll(text) : 0, needed = sources.bytes * CODE_FACTOR >> 20;
    if (memory && needed > memory) {
        doctor_found(pool,
                     "the scripts below %s take about %" PRIu64
                     " MB when they are compiled, opcache.memory_consumption is %" PRIu64
                     " (MB): raise it in php.ini",
                     folder, needed, memory);
    }
}

static void check_opcache(const struct pool_conf *pool, const struct php_facts *facts, const char *folder)
{
    char value[DOCTOR_VALUE];
    const char *on = doctor_php_ini(facts, "opcache.enable", value);
    if (!has_module(facts, STR("zend-opcache"))) {
        doctor_found(
            pool, "OPcache is not loaded, so every request compiles its scripts: zend_extension=opcache in "
                  "php.ini");
    } else if (!on || !atoi(on)) {
        doctor_found(pool,
                     "OPcache is off, so every request compiles its scripts: opcache.enable = 1 in php.ini");
    } else if (folder) {
        check_opcache_size(pool, facts, folder);
    }
}

void doctor_php(const struct pool_conf *pool, const struct php_facts *facts)
{
    const char *root = pool_setting_text(pool, "http.document_root");
    char *project = root && *root ? project_of(root) : NULL;
    check_unsafe(pool, facts);
    if (project) {
        check_manifests(pool, facts, project);
    }
    check_opcache(pool, facts, project ? project : root);
    free(project);
}
