/* What the supervisor knows, for the files that are its organs: supervisor.c (life), signals.c, finish.c
 * (the way to the end), loop.c (one turn), member.c (pools), launch.c (engine processes), talkers.c (what
 * they say), boards.c (their numbers), story.c (what is remembered of them), answers.c (what they ask),
 * upgrade.c, upgrade_state.c (reload by re-execution), control.c (the control socket), report.c (systemd,
 * crashes). Everything here belongs to the supervisor's one thread. */
#ifndef ENGINE_SUPERVISE_STATE_H
#define ENGINE_SUPERVISE_STATE_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/generation.h"
#include "engine/supervise/guests.h"
#include "engine/supervise/identity.h"
#include "engine/supervise/journal.h"
#include "engine/supervise/output.h"
#include "engine/supervise/scribe.h"
#include "engine/supervise/story.h"
#include "engine/telemetry/view.h"

struct supervisor;

/* One pool, with its seats. An adopted pool that the configuration does not have any more has conf == NULL.
 */
struct member {
    struct supervisor *supervisor;
    const struct pool_conf *conf;
    char *name;
    struct identity identity;
    struct pool_keys keys;
    struct pool_view past; /* what its processes that are gone have counted */
    struct story *story;   /* NULL: of a pool that is not there any more */
    struct story_mark *mark;
    struct profile_hour *hour; /* NULL: nothing was seen yet */
    int counters_fd, story_fd; /* -1, or the files in which the next image gets them */
    int log_fds[LOG_FILES];    /* -1 = none; they keep their numbers */
    struct seat *seats;
    int seat_count;
    int task_notes_fd; /* of a pool of tasks (task_notes.h); -1: none */
    int warm_fd;       /* the list of scripts of the process that went to sleep last; -1: none */
    uint64_t swaps;    /* of its seats, as far as they are counted in the metrics */
    bool closed; /* its sockets could not be opened: adopted processes serve on, nothing new is started */
    uint64_t waited_us, waited_at_us; /* child.c: for room in its processes' channels, all together */
    struct member *next;
};

/* A pipe in which something is said. */
struct talker {
    struct talker *next;
    struct child *child;
    struct output_pipe *pipe;
    enum output_stream stream;
    int32_t worker; /* whose programs; 0 = the process */
    int fd;
};

/* What belongs to one engine process besides its place in the state machine. */
struct child {
    struct member *member;
    struct generation *generation;
    pid_t pid;
    int channel; /* -1: closed */
    bool deaf;   /* does not read its channel */
    bool rests;  /* it says so; since rests_us */
    bool dozes;  /* it was asked for its list of scripts, and is to go after that */
    uint64_t rests_us;
    /* pulse.c */
    uint64_t asked_us, judge_us; /* a question is open since; what is thought of its silence then; 0 = none */
    uint64_t ask_us;             /* the next question is not before this */
    uint64_t waited_ns;          /* for the processor, its threads together, at looked_us */
    uint64_t looked_us;
    int lookout;  /* its questions; -1: closed */
    int board_fd; /* -1: it has none that we can read */
    struct scoreboard_size board_size;
    struct guests guests;   /* as many as its board has blocks for */
    struct talker *talkers; /* its stdout and stderr, and those of its workers' programs */
    int rounds;             /* how much of the latter may be read in this turn; < 0: one had to wait */
    struct output_sources *output;
    int journal_fd; /* its lines for our log; -1: closed */
    struct journal *journal;
    int kept_fd; /* its part of the profile of the last hour; -1: none is under way */
    struct buf kept;
    uint64_t kept_us;         /* since when it is */
    int log_pipes[LOG_FILES]; /* the scribes'; -1 = none */
    struct scribe *scribes[LOG_FILES];
    uint64_t started_us;
    struct child *next;
};

enum supervisor_phase {
    PHASE_LAUNCHING, /* the first generation of this configuration is not up yet */
    PHASE_RUNNING,
    PHASE_TESTING,     /* a reload: the new binary is testing the new configuration */
    PHASE_LEAVING,     /* QUIT, within drain_delay: serves on, and says that it will not for long */
    PHASE_FINISHING,   /* QUIT: draining */
    PHASE_TERMINATING, /* TERM, INT */
};

struct control_client;

struct supervisor {
    const struct cli_options *cli;
    struct config *config;
    void (*say_ready)(const struct config *config);
    int (*test)(const struct cli_options *cli);
    struct listener *listeners;
    struct member *members; /* file order */
    struct child *children;
    enum supervisor_phase phase;
    bool adopted; /* this image took over from another one */
    bool reload_wanted;
    int signal_fd;
    bool has_terminal; /* that it ends with */
    bool not_of_keys;  /* a terminal's keys are not for it */
    int report_fd;     /* the daemonizing caller waits on it; -1 = nobody does */
    const char *pid_path;
    uint64_t started_us;
    uint64_t report_latest_us; /* by then the caller is told that we run, ready or not */
    uint64_t drain_us;
    uint64_t leave_us;      /* LEAVING: until then connections are taken */
    uint64_t finish_us;     /* FINISHING: by then all has to be done */
    bool finishes_upstream; /* FINISHING: the pools that others ask drain, too */
    uint64_t keys_us;       /* when the pools' keys change */
    uint64_t story_us;      /* when the next step is taken, if there is one */
    bool story_open;        /* something happened in the last one */
    /* watched.c */
    int watched_fd; /* inotify; -1 = nothing is watched */
    struct watched_file *watched;
    uint64_t renew_us; /* when the files are read again; 0 = they have not changed */
    /* the test of a reload */
    uint64_t program; /* same_program_print() of this image; 0 = it cannot be told */
    pid_t test_pid;
    int test_fd;
    uint64_t test_deadline_us;
    unsigned retests; /* tests repeated because a further reload was asked for */
    struct buf test_output;
    /* the control socket */
    int control_fd;
    char *control_path; /* owned; NULL = no socket */
    struct control_client *clients;
    /* systemd */
    uint64_t notify_us, notify_interval_us;
    uint64_t notified_requests;
    bool notify_told; /* the log knows the interval */
    /* emergency restart: times of the last crashes */
    uint64_t *crash_us;
    unsigned crash_next;
};

/* loop.c */
void loop_wait(struct supervisor *s); /* until something was heard or is due; hears it */

/* signals.c */
int signals_take(struct supervisor *s);  /* 0 or -1 (reported) */
void signals_read(struct supervisor *s); /* and obeys them */

/* finish.c */
void finish_politely(struct supervisor *s); /* QUIT: drains, after drain_delay */
void finish_at_once(struct supervisor *s);  /* TERM */
void finish_tick(struct supervisor *s, uint64_t now);
uint64_t finish_next_us(const struct supervisor *s); /* when the delay is over; 0 = there is none */

/* member.c. The functions of the start: 0 or -1 (reported). */
struct member *member_find(const struct supervisor *s, const char *name);
/* For a process whose pool or seat does not exist any more: a place that only drains. */
struct member *member_add_orphanage(struct supervisor *s, const char *name,
                                    const struct generation_hooks *hooks);
int members_add(struct supervisor *s, const struct generation_hooks *hooks); /* with their log files */
int members_prepare(struct supervisor *s); /* listeners, identities, counters */
int members_listen(struct supervisor *s);
void members_reopen_logs(struct supervisor *s);

/* watched.c */
void watched_open(struct supervisor *s); /* when the configuration has been checked */
void watched_read(struct supervisor *s);
void watched_tick(struct supervisor *s, uint64_t now);

/* child.c */
struct child *child_add(struct member *member, struct generation *g, pid_t pid);
int child_send(struct child *child, enum channel_type type, int64_t number, const char *text, const int *fds,
               int fd_count); /* 0 or -1 */
void child_tell(struct child *child, enum channel_type type, int64_t number);
void child_close_fd(int *fd); /* -1 = it is closed, before and afterwards */

/* launch.c */
extern const struct generation_hooks launch_hooks;
void child_close(struct child *child); /* what the pipes still hold is said; the child leaves the list */
void child_start_scribes(struct child *child);
void child_hear(struct child *child); /* its channel has something */
void child_read_journal(struct child *child);
void child_reap(struct supervisor *s, pid_t pid, int status);

/* talkers.c */
/* Takes the descriptor, or closes it. worker: 0 = the process; -1 as descriptor is none. */
struct talker *talker_add(struct child *child, enum output_stream stream, int32_t worker, int fd);
int talker_fd(const struct child *child, enum output_stream stream); /* of the process; -1 = none */
/* A pipe for what the programs of a worker say: the end to write to, the caller's; -1: it gets none. */
int talker_pipe(struct child *child, enum output_stream stream, int32_t worker);
void talkers_begin_turn(struct child *child); /* of the loop */
void talker_read(struct talker *t);           /* frees it at its end */
void talkers_end(struct child *child);
void talkers_settle(struct child *child); /* another image is to read on */

/* rest.c */
bool member_may_sleep(const struct member *m);
void rest_heard(struct child *child, uint64_t idle_ms); /* CHANNEL_RESTS */
void rest_is_over(struct child *child);                 /* CHANNEL_STIRS */
bool rest_list(struct child *child, int warm_fd);       /* its list has come; true: it is taken */
bool member_sleeps(const struct member *m);
bool member_rests(const struct member *m); /* all its processes, or there is none: we look at its listeners */
void member_wake(struct member *m);        /* somebody has connected */
void rest_wake_waiting(struct supervisor *s); /* the same, if somebody has */
void rest_tick(struct supervisor *s, uint64_t now);
uint64_t rest_next_us(const struct supervisor *s); /* when rest_tick has something to do; 0 = never */

/* pulse.c */
void pulse_heard(struct child *child);                 /* it speaks */
void pulse_ask(struct child *child);                   /* there is a reason to */
bool pulse_starves(struct child *child, uint64_t now); /* see generation.h */
void pulse_look(struct child *child, uint64_t now);    /* from now on */
uint64_t pulse_silent_us(const struct child *child,
                         uint64_t now); /* since it was asked; 0 = it is not silent */
void pulse_tick(struct supervisor *s, uint64_t now);
uint64_t pulse_next_us(const struct supervisor *s); /* when pulse_tick has something to do; 0 = never */

/* pool_keys.c */
void members_make_keys(struct supervisor *s); /* those of an earlier image, or new ones */
void members_rotate_keys(struct supervisor *s, uint64_t now);
void members_forget_keys(struct supervisor *s, const struct member *but); /* in an engine process */

/* boards.c */
/* All pools, or one; the caller's. NULL: out of memory. */
struct view *boards_view(const struct supervisor *s, const struct member *only);
struct board_source board_of(const struct child *child);
void boards_keep(const struct child *child); /* it is gone: what it counted stays with its pool */
/* What its board says of scripts. */
void boards_add_scripts(const struct child *child, struct script_facts *all);

/* answers.c */
bool member_shows_all(const struct member *m); /* it has a listener of its own for pages about the server */
void child_ask(struct child *child);           /* its lookout has a question */

/* profiling.c */
/* What this pool's processes (NULL or "": all) spend the next seconds with: the end of a pipe that ends when
 * all of them have said so; -1: there is none, or these are no numbers for it. hz: 0 = what they have spent
 * the last seconds with, which is a file. */
int profiling_begin(struct supervisor *s, const char *pool, unsigned seconds, unsigned hz);

/* keeping.c */
void keeping_tick(struct supervisor *s);
void keeping_read(struct child *child);
void keeping_close(struct child *child); /* it is going */
/* What a pool (NULL or "": all) has spent so many seconds with: a file of lines, or -1. */
int keeping_tell(const struct supervisor *s, const char *pool, unsigned seconds);
void keeping_forget(struct supervisor *s, const struct member *but); /* in an engine process */
/* For the next image, at the file's end; and from there on. */
void keeping_save(const struct member *m, int fd);
void keeping_load(struct member *m, int fd, size_t at);

/* upgrade_state.c */
void upgrade_adopt(struct supervisor *s);           /* the processes of an earlier image, if there was one */
int upgrade_write_state(struct supervisor *s);      /* for the next image: a descriptor, or -1 with errno */
void upgrade_take_files_back(struct supervisor *s); /* there was no next image */
/* The next image gets the descriptors that the state names; or not. */
void upgrade_pass_children(const struct supervisor *s, bool through);

/* upgrade.c */
void upgrade_know_program(struct supervisor *s); /* when all libraries are there */
void upgrade_begin(struct supervisor *s);        /* a reload was asked for */
void upgrade_read(struct supervisor *s);         /* the test says something */
void upgrade_tested(struct supervisor *s, int status);
void upgrade_tick(struct supervisor *s, uint64_t now);

/* report.c */
void report_start(struct supervisor *s);
void report_ready(struct supervisor *s);
void report_tick(struct supervisor *s, uint64_t now);
void report_missed_lines(struct supervisor *s); /* to the metrics */
/* A worker or a process has crashed; the text is kept as a file where crash_dir is set. */
void report_crash(struct supervisor *s, const struct member *member, pid_t pid, const char *text);
/* Counts for emergency_restart_threshold; at the threshold a reload is wanted. */
void report_fault(struct supervisor *s);

#endif
