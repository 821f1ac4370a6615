/* The engine process: what runs after the supervisor's fork. Becomes the pool's user, starts the executor,
 * the front ends and the workers, says ready, and then is the control thread until it is drained or told to
 * stop. */
#ifndef ENGINE_SUPERVISE_PROCESS_H
#define ENGINE_SUPERVISE_PROCESS_H

#include "engine/engine.h"
#include "engine/supervise/identity.h"
#include "engine/supervise/scribe.h"
#include "engine/telemetry/scoreboard.h"

/* Another pool whose clients it answers. */
struct process_guest {
    const struct pool_conf *conf;
    int access_log_fd; /* our end (scribe.h); -1 = none */
};

struct process_args {
    struct config *config; /* this process's own copy */
    const struct cli_options *cli;
    const struct pool_conf *pool;
    const struct identity *identity;
    struct listener *listeners; /* all open listeners; those of other pools are closed first */
    int board_fd;               /* its scoreboard, and how large it is */
    struct scoreboard_size board_size;
    int lookout; /* our end */
    const struct pool_keys *keys;
    uint32_t generation;
    bool standin;                       /* no PHP: answer 503 */
    bool sleeps;                        /* it is told to go when it has rested for long */
    bool awaited;                       /* somebody waits for its start */
    bool replaces;                      /* another one serves until it is ready */
    bool failed;                        /* the start before it did */
    const char *why;                    /* of a stand-in: what is wrong */
    int channel;                        /* our end */
    int warm_fd;                        /* list of scripts to compile before ready, -1 = none */
    int task_notes_fd;                  /* of a pool of tasks; -1 = none */
    int journal_fd;                     /* our end: for lines of the server's log */
    int log_fds[LOG_FILES];             /* our ends (scribe.h); -1 = none */
    const struct process_guest *guests; /* as the board has them */
    uint32_t guest_count;
    int stdout_fd, stderr_fd; /* pipes to the supervisor, or /dev/null */
    unsigned drain_ms;        /* how long a drain may take when there is no supervisor left to say so */
};

/* Never returns: exits 0 after a drain or stop, 70 when it could not start. */
_Noreturn void process_main(const struct process_args *args);

#endif
