/* What the files of the engine process share: process.c starts and ends it, process_loop.c is what it does in
 * between, process_signals.c what the kernel tells it, warm_list.c what it compiles ahead. Nobody else
 * includes this. One thread, the process's first, owns all of it: the control thread. */
#ifndef ENGINE_SUPERVISE_PROCESS_PRIVATE_H
#define ENGINE_SUPERVISE_PROCESS_PRIVATE_H

#include "engine/supervise/process.h"
#include "engine/work/pool.h"

struct process {
    const struct process_args *args;
    const struct executor *executor;
    struct pool *pool;
    struct access_log *access_log;
    struct guest_conf *guests; /* args->guests and their logs */
    struct scoreboard *board;
    int wake_fd; /* eventfd of the signal handlers */
    bool open;   /* connections are accepted */
    bool draining, heard, stopping, orphan, interrupted;
    bool lost_said;        /* the supervisor knows that nothing here can serve */
    uint64_t deadline_us;  /* of the drain */
    uint64_t interrupt_us; /* when what still runs is told to end */
    uint64_t second_us;    /* next once-a-second work */
    uint64_t ticked_us;    /* the last tick */
    uint64_t idle_us;      /* since when nothing runs and nobody is connected; 0 = not so */
    uint64_t say_us;       /* the supervisor is not told before this that we rest */
    uint64_t accepted;     /* requests, when that was looked at */
    bool rest_said;        /* the supervisor knows that we rest */
    const char *swap_said; /* the reason that the supervisor has been told */
    int swap_kind_said;
    uint32_t renewals_said, resets_said;
};

/* -- process_signals.c -- */
struct process_signals {
    bool term, quit;
};
/* Handlers for all that we are sent; each signal makes wake_fd, an eventfd, readable. */
void process_signals_take(int wake_fd);
/* What has come, and wake_fd emptied: QUIT since the last call, TERM ever. */
struct process_signals process_signals_look(void);

/* -- process_loop.c -- */
/* From now on idle connections of a drain can be handed over. Before the workers start. */
void process_loop_open(struct process *p);
/* Before the workers start: what the supervisor said meanwhile of what has been compiled ahead. */
void process_loop_forget(struct process *p);
/* Until the process is to end: told to stop, drained, or orphaned for too long. */
void process_loop(struct process *p);
/* Nothing runs and nothing is owed. Asks the front ends, which act on it. */
bool process_is_drained(struct process *p);

/* -- warm_list.c -- */
/* Before PHP is loaded: the executor gets a copy of the list, unread. */
void warm_list_inherit(const struct process *p);
/* Compiles what the supervisor's list names (args->warm_fd, which is closed), within a time limit. */
void warm_list_use(struct process *p);
/* Sends the supervisor the list of what OPcache has, for our successor. */
void warm_list_send(struct process *p);

#endif
