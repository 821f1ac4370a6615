/* Opening and reopening log files. All descriptors are close-on-exec and keep their numbers when they are
 * reopened (dup3 over the old one), so nobody who holds a number has to be told. Supervisor's thread. */
#include "engine/supervise/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/output.h"

#define SYSLOG_PATH "/dev/log"

static int error_log_fd = -1;
static int original_stderr = -1, original_stdout = -1;
static bool in_use;    /* the error log is where our lines go */
static bool to_syslog; /* instead of a file */

static bool is_stderr(const char *path)
{
    return strcmp(path, "/dev/stderr") == 0 || strcmp(path, "/proc/self/fd/2") == 0;
}

static bool is_stdout(const char *path)
{
    return strcmp(path, "/dev/stdout") == 0 || strcmp(path, "/proc/self/fd/1") == 0;
}

/* Whoever reads a pipe may come after us, or never again. */
static int open_path(const char *path, bool waits)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
    int fd = open(path, flags | (waits ? 0 : O_NONBLOCK), S_IRUSR | S_IWUSR);
    if (fd >= 0 && !waits) {
        fcntl(fd, F_SETFL, O_APPEND);
    }
    return fd;
}

/* What is there already is not opened by its name: a socket, as systemd gives, could not be, and lines in a
 * file that a shell has made for both streams would lie on top of each other. */
int logs_open_file(const char *path, bool waits)
{
    int given = is_stderr(path) ? original_stderr : is_stdout(path) ? original_stdout : -1;
    if (given >= 0) {
        return fcntl(given, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }
    int fd = open_path(path, waits);
    if (fd >= 0 && fd <= STDERR_FILENO) { /* never below: those numbers are replaced later */
        int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(fd);
        fd = high;
    }
    return fd;
}

static int facility_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {
        {"AUTH", LOG_AUTH},     {"AUTHPRIV", LOG_AUTHPRIV}, {"CRON", LOG_CRON},     {"DAEMON", LOG_DAEMON},
        {"FTP", LOG_FTP},       {"KERN", LOG_KERN},         {"LPR", LOG_LPR},       {"MAIL", LOG_MAIL},
        {"NEWS", LOG_NEWS},     {"SYSLOG", LOG_SYSLOG},     {"USER", LOG_USER},     {"UUCP", LOG_UUCP},
        {"LOCAL0", LOG_LOCAL0}, {"LOCAL1", LOG_LOCAL1},     {"LOCAL2", LOG_LOCAL2}, {"LOCAL3", LOG_LOCAL3},
        {"LOCAL4", LOG_LOCAL4}, {"LOCAL5", LOG_LOCAL5},     {"LOCAL6", LOG_LOCAL6}, {"LOCAL7", LOG_LOCAL7}};
    if (name && strncasecmp(name, "LOG_", 4) == 0) {
        name += 4;
    }
    for (size_t i = 0; name && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(name, known[i].name) == 0) {
            return known[i].number;
        }
    }
    return LOG_DAEMON;
}

static int open_target(const struct global_settings *global)
{
    if (strcasecmp(global->error_log, "syslog") == 0) {
        to_syslog = true;
        if (in_use) {
            log_to_syslog(global->syslog_ident ? global->syslog_ident : "php-fpm",
                          facility_number(global->syslog_facility), SYSLOG_PATH);
        }
        return 0;
    }
    error_log_fd = logs_open_file(global->error_log, !inherited());
    if (error_log_fd < 0) {
        log_sys(LEVEL_ERROR, "failed to open error_log (%s)", global->error_log);
        return -1;
    }
    if (in_use) {
        log_to_fd(error_log_fd);
        log_also_stderr(!is_stderr(global->error_log));
    }
    return 0;
}

int logs_open(const struct cli_options *cli, const struct global_settings *global, bool daemonize)
{
    if (global->log_level) {
        log_set_level((enum log_level)global->log_level);
    }
    log_set_limit((size_t)global->log_limit);
    log_set_buffering(global->log_buffering);
    log_set_format(global->log_format ? LOG_JSON : LOG_TEXT, global->service_name);
    output_name_requests(global->log_request_id && !global->log_format); /* JSON has a field for it */
    original_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    original_stdout = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    in_use = daemonize || (!isatty(STDERR_FILENO) && !cli->force_stderr);
    if (!global->error_log || global->error_log[0] == '\0') {
        return 0;
    }
    return open_target(global);
}

int logs_take_stderr(void)
{
    if (in_use && to_syslog) {
        dup2(STDOUT_FILENO, STDERR_FILENO); /* /dev/null by now */
    } else if (in_use && error_log_fd >= 0 && dup2(error_log_fd, STDERR_FILENO) < 0) {
        log_sys(LEVEL_ERROR, "failed to tie stderr fd with error_log fd: dup2()");
        return -1;
    }
    log_also_stderr(false);
    return 0;
}

void logs_restore_stdio(void)
{
    if (original_stderr >= 0) {
        dup2(original_stderr, STDERR_FILENO);
    }
    if (original_stdout >= 0) {
        dup2(original_stdout, STDOUT_FILENO);
    }
}

static void close_original(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void logs_close_original(void)
{
    close_original(&original_stderr);
    close_original(&original_stdout);
}

bool logs_reopen_error_log(const struct global_settings *global)
{
    if (error_log_fd < 0) {
        return true;
    }
    int fresh = logs_open_file(global->error_log, false);
    if (fresh < 0) {
        log_sys(LEVEL_ERROR, "failed to open error_log (%s)", global->error_log);
        return false;
    }
    bool good =
        dup3(fresh, error_log_fd, O_CLOEXEC) >= 0 && (!in_use || dup2(error_log_fd, STDERR_FILENO) >= 0);
    if (!good) {
        log_sys(LEVEL_ERROR, "failed to reopen error_log (%s)", global->error_log);
    }
    close(fresh);
    return good;
}
