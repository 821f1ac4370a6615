/* What will hurt, one line each. See the header. */
#include "engine/doctor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#include "engine/base/log.h"
#include "engine/base/machine.h"
#include "engine/base/proc_file.h"
#include "engine/base/str.h"
#include "engine/doctor_private.h"

#define DESCRIPTORS_OWN 128  /* of a process, for itself: PHP, logs, files that are sent */
#define CLIENTS_FEW     1000 /* an HTTP server with room for fewer is full in a busy moment */

/* -- descriptors -- */

/* "Max open files  1024  524288  files" of /proc/PID/limits; 0: unknown. */
static uint64_t limit_of_process(const char *pid)
{
    char path[64], text[4096];
    unsigned long long soft = 0;
    snprintf(path, sizeof path, "/proc/%s/limits", pid);
    const char *row = proc_file_read(path, text, sizeof text) ? strstr(text, "Max open files") : NULL;
    return row && sscanf(row, "Max open files %llu", &soft) == 1 ? soft : 0;
}

/* Of the server that runs, if it does; else of whoever asks. */
static uint64_t descriptor_limit(const struct config *config, const struct pool_conf *pool, bool *of_server)
{
    char pid[32] = "";
    struct rlimit limit;
    *of_server = false;
    if (pool->s.rlimit_files > 0) {
        return (uint64_t)pool->s.rlimit_files;
    }
    if (config->global.rlimit_files > 0) {
        return (uint64_t)config->global.rlimit_files;
    }
    if (config->global.pid && proc_file_read(config->global.pid, pid, sizeof pid)) {
        pid[strspn(pid, "0123456789")] = '\0';
        uint64_t running = *pid ? limit_of_process(pid) : 0;
        *of_server = running > 0;
        if (running) {
            return running;
        }
    }
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : 0;
}

static int64_t number_of(const struct pool_conf *pool, const char *name)
{
    void *in;
    const struct setting_row *row = pool_setting(pool, name, &in);
    int64_t n = 0;
    if (row) {
        memcpy(&n, (const char *)in + row->offset, sizeof n);
    }
    return n;
}

static bool serves_http(const struct pool_conf *pool)
{
    const char *plain = pool_setting_text(pool, "http.listen"),
               *tls = pool_setting_text(pool, "http.tls_listen");
    return (plain && *plain) || (tls && *tls);
}

static void check_descriptors(const struct config *config, const struct pool_conf *pool)
{
    bool of_server;
    uint64_t limit = descriptor_limit(config, pool, &of_server);
    uint64_t wanted = (uint64_t)doctor_workers(pool) + DESCRIPTORS_OWN;
    if (serves_http(pool)) {
        int64_t clients = number_of(pool, "http.max_connections");
        wanted += clients > 0 ? (uint64_t)clients : CLIENTS_FEW;
    }
    if (limit && limit < wanted) {
        doctor_found(pool,
                     "%" PRIu64 " open files%s are too few for its connections, %" PRIu64
                     " are needed: LimitNOFILE=65536 in the unit, or rlimit_files = 65536",
                     limit, of_server ? " of the running server" : "", wanted);
    }
}

/* -- memory -- */

static const char *pool_value(const struct setting_pair *pair, const char *name)
{
    const char *value = NULL; /* the last one counts */
    for (; pair; pair = pair->next) {
        value = pair->key && strcasecmp(pair->key, name) == 0 ? pair->value : value;
    }
    return value;
}

static const char *memory_limit(const struct pool_conf *pool, const struct php_facts *facts,
                                char out[DOCTOR_VALUE])
{
    const char *admin = pool_value(pool->s.php_admin_value, "memory_limit");
    const char *value = admin ? admin : pool_value(pool->s.php_value, "memory_limit");
    return value ? value : doctor_php_ini(facts, "memory_limit", out);
}

struct demand {
    uint64_t bytes;
    int64_t workers;
};

static void check_memory_limit(const struct pool_conf *pool, const struct php_facts *facts,
                               struct demand *all)
{
    char own[DOCTOR_VALUE], caches[DOCTOR_VALUE];
    const char *text = memory_limit(pool, facts, own);
    const char *cache = doctor_php_ini(facts, "opcache.memory_consumption", caches);
    int64_t limit = text ? doctor_bytes(text) : 0, workers = doctor_workers(pool);
    if (limit < 0) {
        doctor_found(pool,
                     "memory_limit = %s: one script can take all memory there is; "
                     "php_admin_value[memory_limit] = 256M bounds it",
                     text);
        return;
    }
    all->bytes += (uint64_t)limit * (uint64_t)workers;
    all->bytes += cache ? (uint64_t)atoll(cache) << 20 : 0;
    all->workers += workers;
}

/* Scripts rarely take all they may, all at once: twice what there is is a plan, more is a hope. */
static void check_memory(const struct demand *all)
{
    uint64_t there = machine_memory();
    if (there && all->bytes > 2 * there && all->workers > 0) {
        doctor_found(NULL,
                     "%" PRId64 " workers may take %" PRIu64 " MB by memory_limit, and there are %" PRIu64
                     " MB%s: lower pm.max_children or memory_limit, or set pm.max_memory",
                     all->workers, all->bytes >> 20, there >> 20,
                     machine_cgroup_memory() == there ? " (the cgroup's limit)" : "");
    }
}

/* -- all -- */

static void look_at(const struct config *config, const struct pool_conf *pool, struct demand *all)
{
    check_descriptors(config, pool);
    doctor_places(config, pool);
    if (pool->s.engine != ENGINE_PHP) {
        return;
    }
    struct php_facts *facts = doctor_php_ask(config, pool);
    if (facts) {
        check_memory_limit(pool, facts, all);
        doctor_php(pool, facts);
    }
    doctor_php_free(facts);
}

int doctor_main(const struct cli_options *cli)
{
    struct config *config = config_load(cli);
    struct demand all = {0};
    if (!config) {
        return 78;
    }
    log_set_level(LEVEL_ERROR);
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        if (!pool->tasks_of) {
            look_at(config, pool, &all);
        }
    }
    check_memory(&all);
    if (doctor_lines() == 0) {
        printf("nothing that will hurt was found in %s\n",
               config->path ? config->path : "what would be served");
    }
    config_free(config);
    return doctor_lines() ? 1 : 0;
}
