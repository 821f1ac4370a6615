/* The settings that the engine owns, and the whole configuration as everyone reads it. Built by config_load()
 * on the supervisor's thread; read-only afterwards, also in the engine processes, which inherit it by fork.
 */
#ifndef ENGINE_ENGINE_SETTINGS_H
#define ENGINE_ENGINE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/settings.h"

#define CONFIG_MAX_FRONTENDS 4

struct frontend;

enum pm_kind { PM_UNSET, PM_STATIC, PM_DYNAMIC, PM_ONDEMAND };
enum engine_kind { ENGINE_PHP, ENGINE_STUB };

/* [global] */
struct global_settings {
    char *pid, *error_log, *syslog_ident, *syslog_facility, *events_mechanism;
    int log_level; /* enum log_level; 0 = unset */
    int64_t log_limit;
    bool log_buffering;
    int64_t emergency_restart_threshold, emergency_restart_interval;
    int64_t process_control_timeout;
    int64_t process_max;
    int64_t process_priority; /* 64 = unset */
    bool daemonize, daemonize_given;
    int64_t rlimit_files, rlimit_core; /* rlimit_core: -1 = unlimited */
    int64_t systemd_interval;          /* seconds; 0 = off */
    int log_format;                    /* 0 text, 1 json */
    bool log_request_id, log_request_id_given;
    char *crash_dir;      /* crash reports as files; NULL = log only */
    char *control_socket; /* tokiophp ctl */
    char *service_name;
    int64_t drain_timeout; /* seconds; process_control_timeout wins where it is set */
    int64_t drain_delay;   /* seconds */
};

/* One [pool]. The fields of front ends are in their own structs: pool_settings(). */
struct pool_settings {
    char *prefix, *user, *group, *chroot, *chdir;
    int64_t process_priority; /* 64 = unset */
    bool process_dumpable;
    int pm;               /* enum pm_kind */
    int64_t max_children; /* "auto" and 0 become a number at load */
    int64_t start_servers, min_spare_servers, max_spare_servers, max_spawn_rate;
    bool start_servers_given;
    int64_t process_idle_timeout;
    int64_t max_requests;
    int64_t max_memory; /* bytes an engine process may have resident; 0 = cgroup's limit decides */
    int64_t processes;  /* engine processes of this pool (pm.processes) */
    char *status_path, *status_listen, *ping_path, *ping_response;
    char *access_log, *access_format;
    struct setting_pair *access_suppress_path;
    char *slowlog;
    int64_t request_slowlog_timeout, request_slowlog_trace_depth;
    int64_t request_terminate_timeout;
    bool request_terminate_timeout_track_finished;
    int64_t rlimit_files, rlimit_core;
    bool catch_workers_output, decorate_workers_output;
    bool keep_profile;
    int preload; /* 1 = auto; complete after config_check() */
    bool clear_env;
    struct setting_pair *env, *php_value, *php_flag, *php_admin_value, *php_admin_flag;
    char *limit_extensions;    /* security.limit_extensions; "" allows all */
    int engine;                /* enum engine_kind: php | stub */
    char *allow_process_calls; /* functions that a threaded engine refuses by default and this pool allows */
    char *worker_script; /* boots once on each of worker_num threads and takes its requests there; NULL = none
                          */
    char *worker_routes; /* patterns of paths; NULL or "" = what leads to the script is for it */
    int64_t worker_num;  /* complete after config_check() */
    int64_t worker_max_requests; /* of one run of the script; 0 = no limit */
    char *worker_watch;          /* patterns of files */
    char *worker_watch_from;     /* the folder where they begin; of config_check(), no row */
    int64_t worker_max_memory;   /* bytes that one may keep between two requests; 0 = any */
    int64_t worker_failures;     /* boots in a row that may fail; -1 = no limit */
    struct setting_pair *worker_env;
    struct setting_pair *task_script; /* by name: a file */
    int64_t task_num;                 /* threads of each */
    struct setting_pair *cron;        /* by name: five fields and a command */
};

struct pool_conf {
    char *name;
    const char *file; /* where its section begins, for messages */
    int line;
    struct pool_settings s;
    void *frontend_settings[CONFIG_MAX_FRONTENDS]; /* by index in frontends[] */
    /* Where the pool takes requests that another pool's front end received: set in a front end's check,
     * opened by the one that speaks FastCGI, for these users only. NULL = nobody sends any. */
    char *internal_listen;
    uid_t *internal_users;
    size_t internal_user_count;
    const struct pool_conf *tasks_of; /* it is none of the file's, but has that one's tasks; NULL = it is */
    struct pool_conf *next;
};

struct config {
    char *path; /* the file; NULL: none (serve, environment) */
    struct global_settings global;
    void *frontend_globals[CONFIG_MAX_FRONTENDS]; /* reserved for front ends with global rows */
    struct pool_conf *pools;                      /* file order */
    int pool_count;
    const struct cli_options *cli; /* what it was loaded with */
};

/* What the command line decides; cli.c fills it. */
struct cli_options {
    const char *config_path; /* -y */
    const char *prefix;      /* -p */
    const char *pid_path;    /* -g */
    const char *php_ini;     /* -c */
    bool no_php_ini;         /* -n */
    char *php_defines;       /* -d, one "k=v\n" each */
    bool extended_info;      /* -e */
    int daemonize;           /* -1 unset, 0 -F, 1 -D */
    bool force_stderr, allow_root;
    int test;        /* -t: 1, -tt: 2 */
    bool serve;      /* no file: one pool made of `settings` and the environment */
    bool finds_out;  /* `serve`: what the folder holds decides what it does not say */
    bool opens;      /* `serve`: the user's browser, once it serves */
    char *settings;  /* rows that the command line sets, one "name=value\n" each; they win over everything */
    bool as_php_fpm; /* php-fpm's default paths, messages and strictness */
    int argc;
    char **argv; /* for the re-execution */
};

#define PRIORITY_UNSET    64
#define MAX_CHILDREN_AUTO INT32_MIN /* until config_check() has counted */

extern const struct setting_table engine_global_table, engine_pool_table;

/* Reads, completes and checks a configuration; every problem is logged. NULL: there was an error (exit 78).
 * Use config_free() for one that is not going to be used (a tested reload). */
struct config *config_load(const struct cli_options *cli);
/* -y, or where the file is when nobody says; malloc'ed. */
char *config_default_path(const struct cli_options *cli);
void config_dump(const struct config *config); /* -tt */
/* All rows of this build on stdout, as "text", "markdown" or "ini"; -1: no such format. */
int config_print_settings(const char *format);
void config_free(struct config *config);

/* Its number in syslog.h, or -1. "daemon", "LOG_DAEMON" ... */
int syslog_facility(const char *name);

/* The struct of a front end for this pool; name: the front end's. */
void *pool_frontend_settings(const struct pool_conf *pool, const char *name);
/* The row of this name in the tables of the engine and of all front ends, with the struct of this pool that
 * it points into; NULL: none. */
const struct setting_row *pool_setting(const struct pool_conf *pool, const char *name, void **in);
/* The value of a text or path of this name; NULL: not set, or this build has no such setting. */
const char *pool_setting_text(const struct pool_conf *pool, const char *name);

#endif
