/* The rehearsal of a reload, in the process that tests the new configuration: a start goes through its
 * doubtful steps here, while the server that runs can still refuse. Everything is undone before the process
 * ends: only log files that did not exist stay, empty. Main thread of that process. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/logs.h"
#include "engine/supervise/sockets.h"
#include "engine/supervise/state.h"
#include "engine/supervise/supervisor.h"

static int try_error_log(const struct global_settings *global)
{
    if (!global->error_log || !*global->error_log || strcasecmp(global->error_log, "syslog") == 0) {
        return 0;
    }
    int fd = logs_open_file(global->error_log, false);
    if (fd < 0) {
        log_sys(LEVEL_ERROR, "failed to open error_log (%s)", global->error_log);
        return -1;
    }
    close(fd);
    return 0;
}

/* The addresses that the running server has already are inherited from it, and stay as they are. */
static int try_sockets(struct supervisor *s)
{
    int rc = 0;
    for (struct listener *l = s->listeners; l; l = l->next) {
        l->fd = -1;
    }
    sockets_inherit();
    for (const struct member *m = s->members; m && rc == 0; m = m->next) {
        rc = sockets_open(m->conf, s->listeners);
    }
    sockets_undo(s->listeners);
    return rc;
}

int rehearse(const struct cli_options *cli, struct config *config)
{
    static struct supervisor s; /* what the steps make ends with the process */
    s = (struct supervisor){.cli = cli, .config = config, .drain_us = 1};
    enum log_level level = log_get_level();
    log_set_level(LEVEL_ERROR); /* what is said here is the reason for a refusal */
    bool good = try_error_log(&config->global) == 0 && members_add(&s, &launch_hooks) == 0 &&
                members_prepare(&s) == 0 && try_sockets(&s) == 0;
    log_set_level(level);
    return good ? 0 : -1;
}
