/* The settings that the engine owns, as rows. php-fpm's keys with php-fpm's meaning first, ours behind them.
 * Bounds that php-fpm checks after reading, with sentences of its own, are in config_check.c, not here. */
#include "engine/engine_settings.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>

#include "engine/base/str.h"

#define GLOBAL(row_name, row_type, field)                                                                    \
    .name = row_name, .type = row_type, .offset = offsetof(struct global_settings, field)
#define POOL(row_name, row_type, field)                                                                      \
    .name = row_name, .type = row_type, .offset = offsetof(struct pool_settings, field)

/* -- checks -- */

static int check_facility(const char *value, char *error, size_t error_size)
{
    if (syslog_facility(value) < 0) {
        snprintf(error, error_size, "expected a syslog facility (daemon, user, local0 ...)");
        return -1;
    }
    return 0;
}

static int check_core(const char *value, char *error, size_t error_size)
{
    bool number = value[0] != '-' && value[strspn(value, "0123456789")] == '\0';

    if (number || strcasecmp(value, "unlimited") == 0) {
        return 0;
    }
    snprintf(error, error_size, "%s",
             value[0] == '-' ? "must be greater than zero or 'unlimited'"
                             : "is not a valid number (greater or equal than zero)");
    return -1;
}

static int check_suppress_path(const char *value, char *error, size_t error_size)
{
    if (value[0] != '/') {
        snprintf(error, error_size, "expected a path that begins with '/'");
        return -1;
    }
    return 0;
}

static int check_routes(const char *value, char *error, size_t error_size)
{
    struct str rest = str_of(value), pattern;

    while (str_word(&rest, &pattern)) {
        if (pattern.p[0] != '/' && pattern.p[0] != '*') {
            snprintf(error, error_size, "expected paths that begin with '/'");
            return -1;
        }
    }
    return 0;
}

#define MAX_CHILDREN_MOST 65535
#define WORKER_NUM_MOST   4096

/* Zero and negative numbers are config_check()'s, which has php-fpm's sentence for them. */
static int check_max_children(const char *value, char *error, size_t error_size)
{
    uint64_t number;
    struct str text = str_of(value[0] == '-' ? value + 1 : value);

    if (strcasecmp(value, "auto") == 0 || (str_to_u64(text, &number) && number <= MAX_CHILDREN_MOST)) {
        return 0;
    }
    snprintf(error, error_size, "expected a number from 1 to %d, or auto", MAX_CHILDREN_MOST);
    return -1;
}

static int check_not_empty(const char *value, char *error, size_t error_size)
{
    if (!*value) {
        snprintf(error, error_size, "expected a value, or $VARIABLE");
        return -1;
    }
    return 0;
}

int syslog_facility(const char *name)
{
    static const struct {
        const char *name;
        int facility;
    } known[] = {
        {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},     {"daemon", LOG_DAEMON},
        {"ftp", LOG_FTP},       {"kern", LOG_KERN},         {"lpr", LOG_LPR},       {"mail", LOG_MAIL},
        {"news", LOG_NEWS},     {"syslog", LOG_SYSLOG},     {"user", LOG_USER},     {"uucp", LOG_UUCP},
        {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},
        {"local4", LOG_LOCAL4}, {"local5", LOG_LOCAL5},     {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
    };
    if (strncasecmp(name, "LOG_", 4) == 0) {
        name += 4;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(known[i].name, name) == 0) {
            return known[i].facility;
        }
    }
    return -1;
}

/* -- words -- */

/* The index is enum log_level; the words behind "alert" are other programs' names, see config_complete(). */
static const char *const level_words[] = {
    "unknown value", "debug", "notice", "warning", "error", "alert", "warn", "info", "trace", NULL,
};
static const char *const format_words[] = {"text", "json", NULL};
static const char *const pm_words[] = {"undefined", "static", "dynamic", "ondemand", NULL};
static const char *const engine_words[] = {"php", "stub", NULL};
static const char *const preload_words[] = {"no", "auto", NULL};
static const char *const auto_words[] = {"auto", NULL};
static const char *const unlimited_words[] = {"unlimited", NULL};
static const char *const undefined_words[] = {"undefined", NULL};

/* -- [global] -- */

static const struct setting_row global_rows[] = {
    {GLOBAL("pid", SETTING_PATH, pid), .help = "file that holds the supervisor's process id"},
    {GLOBAL("error_log", SETTING_PATH, error_log), .help = "server log: a file, or syslog"},
    {GLOBAL("syslog.ident", SETTING_STRING, syslog_ident), .help = "name in the system log"},
    {GLOBAL("syslog.facility", SETTING_STRING, syslog_facility), .initial = "daemon", .check = check_facility,
     .refusal = "invalid value", .help = "facility in the system log"},
    {GLOBAL("log_buffering", SETTING_BOOL, log_buffering), .as_php_fpm = true, .initial = "yes",
     .help = "collect the workers' output into whole lines before it is logged"},
    {GLOBAL("log_level", SETTING_WORD, log_level), .words = level_words,
     .refusal = "invalid value for 'log_level'", .environment = "LOG_LEVEL", .environment_shared = true,
     .help = "least important lines that are logged (notice)"},
    {GLOBAL("log_limit", SETTING_INT, log_limit), .as_php_fpm = true, .initial = "1024",
     .help = "longest log line in bytes; longer ones are cut or wrapped"},
    {GLOBAL("emergency_restart_interval", SETTING_TIME, emergency_restart_interval), .as_php_fpm = true,
     .initial = "0", .help = "time within which emergency_restart_threshold crashes cause a reload"},
    {GLOBAL("emergency_restart_threshold", SETTING_INT, emergency_restart_threshold), .as_php_fpm = true,
     .initial = "0", .help = "number of crashes that causes a reload; 0 = never"},
    {GLOBAL("process_control_timeout", SETTING_TIME, process_control_timeout), .as_php_fpm = true,
     .initial = "0", .help = "time that running requests have to end on stop and reload"},
    {GLOBAL("process.max", SETTING_INT, process_max), .as_php_fpm = true, .initial = "0",
     .help = "most workers of all pools together; 0 = no limit"},
    {GLOBAL("process.priority", SETTING_INT, process_priority), .as_php_fpm = true, .initial = "undefined",
     .words = undefined_words, .word_value = PRIORITY_UNSET, .help = "nice value of the supervisor"},
    {GLOBAL("daemonize", SETTING_BOOL, daemonize), .as_php_fpm = true, .initial = "yes",
     .given_offset = offsetof(struct global_settings, daemonize_given),
     .help = "run in the background (as tokiophp, only when it is written)"},
    {GLOBAL("rlimit_files", SETTING_INT, rlimit_files), .as_php_fpm = true, .initial = "0", .max = INT64_MAX,
     .help = "open files of the supervisor; 0 = the system's limit"},
    {GLOBAL("rlimit_core", SETTING_INT, rlimit_core), .as_php_fpm = true, .initial = "0", .max = INT64_MAX,
     .words = unlimited_words, .word_value = -1, .check = check_core,
     .help = "core size of the supervisor; 0 = the system's limit"},
    {GLOBAL("events.mechanism", SETTING_STRING, events_mechanism),
     .help = "accepted for php-fpm's sake; epoll is always used"},
    {GLOBAL("systemd_interval", SETTING_TIME, systemd_interval), .as_php_fpm = true, .initial = "10",
     .help = "how often systemd is told the status; 0 = never"},
    {GLOBAL("log_format", SETTING_WORD, log_format), .initial = "text", .words = format_words,
     .help = "form of the server log's lines"},
    {GLOBAL("log_request_id", SETTING_BOOL, log_request_id), .initial = "yes",
     .given_offset = offsetof(struct global_settings, log_request_id_given),
     .help =
         "text lines of what workers say end in the request's id (as php-fpm, only when it is written); JSON "
         "has it in any case"},
    {GLOBAL("crash_dir", SETTING_PATH, crash_dir),
     .help = "directory for crash reports; unset = server log only"},
    {GLOBAL("control_socket", SETTING_PATH, control_socket),
     .help = "unix socket of tokiophp ctl and tokiophp top; unset = /run/tokiophp/control.sock or a "
             "place of the user's (operations.md), empty = none"},
    {GLOBAL("service_name", SETTING_STRING, service_name), .initial = "tokiophp",
     .environment = "SERVICE_NAME", .environment_shared = true,
     .help = "name of this service in JSON logs and metrics"},
    {GLOBAL("drain_timeout", SETTING_TIME, drain_timeout), .initial = "30", .min = 0, .max = 86400,
     .environment = "DRAIN_TIMEOUT_SECS", .help = "as process_control_timeout, which wins where it is set"},
    {GLOBAL("drain_delay", SETTING_TIME, drain_delay), .initial = "0", .min = 0, .max = 3600,
     .environment = "DRAIN_DELAY_SECS",
     .help = "for so long a server that was told to end politely still takes connections, while /health says "
             "draining already (many-machines.md)"},
};

const struct setting_table engine_global_table = {
    .scope = SCOPE_GLOBAL,
    .rows = global_rows,
    .count = sizeof global_rows / sizeof *global_rows,
    .struct_size = sizeof(struct global_settings),
};

/* -- [pool] -- */

static const struct setting_row pool_rows[] = {
    {POOL("prefix", SETTING_PATH, prefix), .help = "directory that the pool's relative paths begin at"},
    {POOL("user", SETTING_STRING, user), .help = "user that runs the pool's PHP (name or number)"},
    {POOL("group", SETTING_STRING, group), .help = "group that runs the pool's PHP (name or number)"},
    {POOL("process.priority", SETTING_INT, process_priority), .as_php_fpm = true, .initial = "undefined",
     .words = undefined_words, .word_value = PRIORITY_UNSET, .help = "nice value of the workers"},
    {POOL("process.dumpable", SETTING_BOOL, process_dumpable), .as_php_fpm = true, .initial = "no",
     .help = "core dumps and debuggers although the user changed"},
    {POOL("pm", SETTING_WORD, pm), .words = pm_words,
     .refusal = "invalid process manager (static, dynamic or ondemand)",
     .help = "how the number of workers is decided"},
    {POOL("pm.max_children", SETTING_INT, max_children), .initial = "0", .words = auto_words,
     .word_value = MAX_CHILDREN_AUTO, .check = check_max_children, .environment = "PHP_WORKERS",
     .help = "most workers = most requests at once; 0 or auto = by CPU and cgroup"},
    {POOL("pm.start_servers", SETTING_INT, start_servers), .as_php_fpm = true, .initial = "0",
     .given_offset = offsetof(struct pool_settings, start_servers_given),
     .help = "dynamic: workers at start"},
    {POOL("pm.min_spare_servers", SETTING_INT, min_spare_servers), .as_php_fpm = true, .initial = "0",
     .help = "dynamic: least idle workers"},
    {POOL("pm.max_spare_servers", SETTING_INT, max_spare_servers), .as_php_fpm = true, .initial = "0",
     .help = "dynamic: most idle workers"},
    {POOL("pm.max_spawn_rate", SETTING_INT, max_spawn_rate), .as_php_fpm = true, .initial = "32",
     .help = "dynamic: most workers started at once"},
    {POOL("pm.process_idle_timeout", SETTING_TIME, process_idle_timeout), .as_php_fpm = true, .initial = "10",
     .help = "ondemand: an idle worker stops after this time, and the pool's process when nobody is "
             "connected for so long"},
    {POOL("pm.max_requests", SETTING_INT, max_requests), .as_php_fpm = true, .initial = "0", .max = INT64_MAX,
     .help = "requests per worker, after which its process is replaced; 0 = never"},
    {POOL("pm.status_path", SETTING_STRING, status_path), .help = "URI of the status page"},
    {POOL("pm.status_listen", SETTING_STRING, status_listen),
     .help = "second address for status and ping only"},
    {POOL("ping.path", SETTING_STRING, ping_path), .help = "URI that answers ping.response"},
    {POOL("ping.response", SETTING_STRING, ping_response), .help = "answer to ping.path (pong)"},
    {POOL("access.log", SETTING_PATH, access_log), .environment = "ACCESS_LOG",
     .help = "file that gets a line per request"},
    {POOL("access.format", SETTING_STRING, access_format),
     .help = "form of that line: php-fpm's letters, json or combined (%R - %u %t \"%m %r\" %s)"},
    {POOL("access.suppress_path", SETTING_LIST, access_suppress_path), .check = check_suppress_path,
     .help = "URIs that are not logged when they succeed"},
    {POOL("slowlog", SETTING_PATH, slowlog), .help = "file for backtraces of slow requests"},
    {POOL("request_slowlog_timeout", SETTING_TIME, request_slowlog_timeout), .as_php_fpm = true,
     .initial = "0", .help = "a request that runs longer is traced once; 0 = never"},
    {POOL("request_slowlog_trace_depth", SETTING_INT, request_slowlog_trace_depth), .as_php_fpm = true,
     .initial = "20", .help = "most frames of such a trace"},
    {POOL("request_terminate_timeout", SETTING_TIME, request_terminate_timeout), .as_php_fpm = true,
     .initial = "0", .environment = "REQUEST_TIMEOUT",
     .help = "a request that runs longer is ended; 0 = never"},
    {POOL("request_terminate_timeout_track_finished", SETTING_BOOL, request_terminate_timeout_track_finished),
     .as_php_fpm = true, .initial = "no", .help = "also after fastcgi_finish_request()"},
    {POOL("rlimit_files", SETTING_INT, rlimit_files), .as_php_fpm = true, .initial = "0", .max = INT64_MAX,
     .help = "open files of the pool's process; 0 = the system's limit"},
    {POOL("rlimit_core", SETTING_INT, rlimit_core), .as_php_fpm = true, .initial = "0", .max = INT64_MAX,
     .words = unlimited_words, .word_value = -1, .check = check_core,
     .help = "core size of the pool's process; 0 = the system's limit"},
    {POOL("chroot", SETTING_STRING, chroot), .help = "root directory of the pool's process"},
    {POOL("chdir", SETTING_STRING, chdir), .help = "directory in which the workers start"},
    {POOL("catch_workers_output", SETTING_BOOL, catch_workers_output), .as_php_fpm = true, .initial = "no",
     .help = "what PHP writes to stdout and stderr goes to the server log"},
    {POOL("decorate_workers_output", SETTING_BOOL, decorate_workers_output), .as_php_fpm = true,
     .initial = "yes", .help = "with the pool's and the worker's name in front"},
    {POOL("clear_env", SETTING_BOOL, clear_env), .as_php_fpm = true, .initial = "yes",
     .help = "PHP does not see the server's environment, only env[]"},
    {POOL("security.limit_extensions", SETTING_STRING, limit_extensions), .initial = ".php .phar",
     .help = "endings of files that may be run; empty = all"},
    {POOL("env", SETTING_MAP, env), .secret = true, .check = check_not_empty,
     .help = "environment of PHP; $NAME takes the server's"},
    {POOL("php_value", SETTING_MAP, php_value), .help = "PHP setting that scripts may change"},
    {POOL("php_flag", SETTING_MAP, php_flag), .help = "the same for settings that are on or off"},
    {POOL("php_admin_value", SETTING_MAP, php_admin_value),
     .help = "PHP setting that scripts may not change"},
    {POOL("php_admin_flag", SETTING_MAP, php_admin_flag), .help = "the same for settings that are on or off"},
    {POOL("keep_profile", SETTING_BOOL, keep_profile), .initial = "yes",
     .help = "keep a profile of the last hour (9 looks a second at what runs), for tokiophp ctl profile "
             "--last and the dashboard"},
    {POOL("preload", SETTING_WORD, preload), .initial = "no", .words = preload_words,
     .help = "auto: the class files that nearly all requests include are found out, and preloaded "
             "(tuning.md)"},
    {POOL("pm.max_memory", SETTING_SIZE, max_memory), .initial = "0",
     .help = "resident memory at which the pool's process is replaced; 0 = the cgroup's limit decides"},
    {POOL("pm.processes", SETTING_INT, processes), .initial = "1", .min = 1, .max = 64,
     .help = "processes of this pool behind the same sockets, each with pm.max_children workers"},
    {POOL("engine", SETTING_WORD, engine), .initial = "php", .words = engine_words, .environment = "EXECUTOR",
     .environment_shared = true, .help = "stub answers a fixed text without PHP, for measurements"},
    {POOL("security.allow_process_calls", SETTING_STRING, allow_process_calls),
     .help = "functions that change the whole process and are allowed all the same"},
    {POOL("worker.script", SETTING_PATH, worker_script),
     .help = "script that boots once on each of worker.num threads and answers its requests there"},
    {POOL("worker.num", SETTING_INT, worker_num), .initial = "0", .min = 0, .max = WORKER_NUM_MOST,
     .help = "threads that hold worker.script, beside those of pm; 0 = as many as pm.max_children"},
    {POOL("worker.routes", SETTING_STRING, worker_routes), .check = check_routes,
     .help =
         "paths (with *) that worker.script answers, whatever script they lead to; unset = those that lead "
         "to it"},
    {POOL("worker.max_requests", SETTING_INT, worker_max_requests), .initial = "0", .min = 0,
     .max = INT64_MAX, .help = "requests after which worker.script ends and boots anew; 0 = never"},
    {POOL("worker.watch", SETTING_STRING, worker_watch),
     .help = "files whose change starts the pool's process anew: patterns with * and **, !pattern takes out "
             "(worker-mode.md)"},
    {POOL("worker.max_memory", SETTING_SIZE, worker_max_memory), .initial = "0", .min = 0, .max = 1LL << 40,
     .help = "PHP memory above which worker.script, after a request, ends and boots anew; 0 = any"},
    {POOL("worker.max_consecutive_failures", SETTING_INT, worker_failures), .initial = "6", .min = -1,
     .max = INT32_MAX, .help = "boots of worker.script that may fail in a row; -1 = any number"},
    {POOL("worker.env", SETTING_MAP, worker_env), .secret = true,
     .help = "environment of worker.script beside the pool's"},
    {POOL("task.script", SETTING_MAP, task_script), .open = true,
     .help = "a script (and its arguments) that runs in the background, in a process of its own, and again "
             "when it ends"},
    {POOL("task.num", SETTING_INT, task_num), .initial = "1", .min = 1, .max = WORKER_NUM_MOST,
     .help = "threads that run each task.script"},
    {POOL("cron", SETTING_MAP, cron),
     .help = "a command and when it is due: cron[NAME] = \"*/5 * * * * COMMAND\""},
};

const struct setting_table engine_pool_table = {
    .scope = SCOPE_POOL,
    .rows = pool_rows,
    .count = sizeof pool_rows / sizeof *pool_rows,
    .struct_size = sizeof(struct pool_settings),
};
