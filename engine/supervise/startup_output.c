#include "engine/supervise/startup_output.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/log.h"

#define LINES_MAX 200 /* a preload that lists its files says enough with these */

static const char *pool_name;
static pid_t owner; /* OPcache preloads in a child, which calls exit() as well */
static int file = -1, was[2] = {-1, -1};

void startup_output_begin(const char *pool)
{
    static bool registered;

    pool_name = pool;
    owner = getpid();
    file = memfd_create("startup-output", MFD_CLOEXEC);
    was[0] = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    was[1] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (file < 0 || was[0] < 0 || was[1] < 0 || dup2(file, STDOUT_FILENO) < 0 ||
        dup2(file, STDERR_FILENO) < 0) {
        startup_output_end();
        return;
    }
    fcntl(file, F_SETFL, O_APPEND);
    if (!registered) {
        registered = atexit(startup_output_end) == 0;
    }
}

static void put_back(int i, int fd)
{
    if (was[i] >= 0) {
        dup2(was[i], fd);
        close(was[i]);
        was[i] = -1;
    }
}

static void say(FILE *in)
{
    char line[2048];

    for (int count = 0; fgets(line, sizeof(line), in); count++) {
        size_t n = strcspn(line, "\r\n");

        line[n] = '\0';
        if (count >= LINES_MAX) {
            log_notice("[pool %s] PHP printed more while it started; the rest is left out", pool_name);
            return;
        }
        if (n > 0) {
            log_notice("[pool %s] PHP printed while it started: %s", pool_name, line);
        }
    }
}

void startup_output_end(void)
{
    if (getpid() != owner) {
        return;
    }
    fflush(stdout);
    fflush(stderr);
    put_back(0, STDOUT_FILENO);
    put_back(1, STDERR_FILENO);
    if (file < 0) {
        return;
    }
    FILE *in = lseek(file, 0, SEEK_SET) == 0 ? fdopen(file, "r") : NULL;

    if (in) {
        say(in);
        fclose(in);
    } else {
        close(file);
    }
    file = -1;
}
