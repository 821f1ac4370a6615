/* PHP's messages. See the header. */
#include "engine/php/messages.h"

#include <errno.h>
#include <syslog.h>

#include "engine/base/log.h"
#include "engine/php/thread.h"
#include "engine/work/pool.h"

static bool as_php_fpm; /* constant once there are threads */

void messages_init(const struct cli_options *cli)
{
    as_php_fpm = cli && cli->as_php_fpm;
}

/* -- what nobody is to hear -- */

typedef void (*error_function)(int type, zend_string *file, const uint32_t line, zend_string *message);
static error_function error_of_php; /* constant once there are threads */
static _Thread_local bool is_hushed;

static void on_error(int type, zend_string *file, const uint32_t line, zend_string *message)
{
    if (!is_hushed || (type & E_FATAL_ERRORS)) {
        error_of_php(type, file, line, message); /* may leave by a long jump */
    }
}

void messages_watch(void)
{
    if (zend_error_cb != on_error) {
        error_of_php = zend_error_cb;
        zend_error_cb = on_error;
    }
}

void messages_hush(bool on)
{
    is_hushed = on;
}

/* -- what the log is to say -- */

/* PHP's errors come with a level of syslog's; error_log() with LOG_NOTICE. */
static enum log_level level_of(int syslog_type)
{
    return syslog_type <= LOG_ERR ? LEVEL_ERROR : syslog_type == LOG_WARNING ? LEVEL_WARNING : LEVEL_NOTICE;
}

/* An error has a place of its own; it was noted just before it is logged. */
static bool is_last_error(const char *message)
{
    const zend_string *last = PG(last_error_message);

    return last && PG(last_error_file) && strstr(message, ZSTR_VAL(last));
}

static void write_record(const struct php_thread *t, const char *message, int syslog_type)
{
    const struct request *r = t->request;
    bool error = is_last_error(message);
    const char *told = NULL;
    char text[1024];

    if (log_tap) {
        snprintf(text, sizeof text, "PHP message: %s", message);
        told = text;
    }
    log_write_record(level_of(syslog_type), message,
                     &(struct log_record){
                         .pool = pool_conf(t->worker->pool)->name,
                         .script = r ? r->script : NULL,
                         .file = error ? ZSTR_VAL(PG(last_error_file)) : zend_get_executed_filename(),
                         .line = error ? PG(last_error_lineno) : (int)zend_get_executed_lineno(),
                         .request = r && log_author.find_request ? log_author.find_request() : NULL,
                         .told = told,
                     });
}

/* For the table of scripts and their errors. */
static void count(const struct php_thread *t, const char *message, int syslog_type)
{
    if (t && t->request && level_of(syslog_type) >= LEVEL_WARNING) {
        script_table_failed(&pool_scoreboard(t->worker->pool)->scripts, t->request->script, message);
    }
}

void messages_log(const char *message, int syslog_type)
{
    int saved = errno;

    count(php_thread, message, syslog_type);

    if (as_php_fpm || !php_thread) { /* php-fpm logs all of PHP's own messages as notices */
        log_write(LEVEL_NOTICE, "php", 0, "PHP message: %s", message);
    } else {
        write_record(php_thread, message, syslog_type);
    }
    errno = saved;
}
