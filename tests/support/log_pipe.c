#include "tests/support/log_pipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <regex.h>
#include <unistd.h>

#include "engine/base/log.h"

int log_pipe[2];
char log_text[65536];

int log_pipe_open(void)
{
    if (pipe2(log_pipe, O_NONBLOCK | O_CLOEXEC) < 0) {
        return -1;
    }
    log_to_fd(log_pipe[1]);
    log_set_level(LEVEL_NOTICE);
    log_set_limit(1024);
    log_set_format(LOG_TEXT, NULL);
    return 0;
}

void log_pipe_close(void)
{
    log_to_fd(STDERR_FILENO);
    close(log_pipe[0]);
    close(log_pipe[1]);
}

const char *log_pipe_read(void)
{
    ssize_t n = read(log_pipe[0], log_text, sizeof log_text - 1);

    log_text[n > 0 ? n : 0] = '\0';
    return log_text;
}

void assert_matches(const char *text, const char *pattern)
{
    regex_t compiled;

    assert_int_equal(regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&compiled, text, 0, NULL, 0) != 0) {
        fail_msg("'%s' does not match '%s'", text, pattern);
    }
    regfree(&compiled);
}
