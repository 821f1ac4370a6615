/* The generation swap: one state machine for start, replacement, reload, crash, ceiling and upgrade.
 *
 * A pool has seats (pm.processes of them). In a seat one engine process serves; a swap puts the next one
 * beside it, and when that is ready the old one drains:
 *
 *   launch -> STARTING -> READY -> DRAINING -> GONE
 *                 |          `- died, or cannot serve: the next one is launched at once
 *                 `- failed, or no READY in time: GONE; the old one goes on serving; later again
 *
 * A process takes no connection before it is READY and the machine has said so: one that starts can always be
 * killed without a loss, and while an older one is READY nothing stops it from serving.
 *
 * A seat may sleep: nothing is started for it until its owner says that somebody has connected.
 *
 * A pool in a crash loop, with nothing that serves it, gets a stand-in: an engine process without PHP, which
 * answers 503 until a real one is ready.
 *
 * The machine starts no process and asks no clock: its owner gives it a table of functions and the time,
 * which is how it is tested without a fork. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_GENERATION_H
#define ENGINE_SUPERVISE_GENERATION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum generation_state { GENERATION_STARTING, GENERATION_READY, GENERATION_DRAINING, GENERATION_GONE };
const char *generation_state_name(enum generation_state state);

/* What kind of reason a process has for its wish to be replaced. Numbers travel between two versions. */
enum swap_kind {
    SWAP_STATE,   /* something is full or used up, perhaps for its successor as well */
    SWAP_DAMAGED, /* something crashed in it */
    SWAP_PLANNED, /* its life was to be this long */
    SWAP_RENEWAL, /* what it holds is out of date, and what starts already may hold the same */
    SWAP_RESET,   /* the same, but it was told to forget, and uses nothing old any more */
};

struct seat;

/* One engine process of a seat. */
struct generation {
    uint32_t number;
    enum generation_state state;
    uint64_t launched_us, ready_us;
    uint64_t deadline_us; /* STARTING: must be ready; DRAINING: is killed; 0 = none */
    bool killed;          /* by us: its end is no news */
    bool damaged;         /* something crashed in it */
    bool stale;           /* it has been told that what it cached while it started is out of date */
    bool asked;           /* STARTING: it wants to be replaced already */
    bool renewed;         /* its predecessor was told to forget */
    bool adopted;         /* started by an earlier image: our scoreboards do not know its workers */
    bool standin;         /* without PHP: answers that nothing serves this pool at the moment */
    bool awaited;         /* STARTING: somebody has connected, and nobody else can answer him */
    uint64_t hear_by_us;  /* DRAINING: by then it has confirmed the order, however little it may run */
    uint64_t drain_us;    /* DRAINING: how long it may take once it has confirmed the order; 0 = it has */
    char failure[256];    /* why it could not start, as it said */
    pid_t pid;
    void *process; /* the owner's */
    struct seat *seat;
    struct generation *next;
};

/* What the owner does for the machine. */
struct generation_hooks {
    /* Starts g's process: fills pid and process, takes warm_fd over (-1 = none). 0, or -1 (reported). */
    int (*launch)(struct seat *seat, struct generation *g, int warm_fd);
    void (*ask_warm_list)(struct generation *g);
    void (*forget_cache)(struct generation *g);
    void (*serve)(struct generation *g); /* it takes connections from now on, and not before */
    void (*drain)(struct generation *g, unsigned ms);
    void (*stop)(struct generation *g);
    void (*kill)(struct generation *g);
    void (*forget)(struct generation *g);          /* g is over: free process */
    void (*changed)(struct seat *seat);            /* something that others may wait for has happened */
    bool (*others_serve)(const struct seat *seat); /* another seat of the same pool, with PHP */
    bool (*starves)(struct generation *g); /* it got no processor for a large part of the time since this
                                              was asked last, or since its order to drain */
};

struct generation_limits {
    uint64_t start_us;     /* until READY */
    uint64_t drain_us;     /* until DRAINING ends by force */
    uint64_t heard_us;     /* until the order to drain is confirmed: a stuck process is not waited for */
    uint64_t stop_us;      /* from stop to kill */
    uint64_t warm_us;      /* for the warm list to arrive */
    uint64_t damaged_us;   /* the same, from a process in which something crashed */
    uint64_t swap_gap_us;  /* between two swaps of a seat */
    uint64_t again_us;     /* a state that a process meets sooner than this, and its predecessor met ... */
    uint64_t again_max_us; /* ... is waited on: this long at first, twice as long each time, up to this */
    uint64_t renewed_us;   /* a reset that follows one of a predecessor sooner than this ... */
    uint64_t renew_us;     /* ... waits as above: first this long, */
    uint64_t renew_max_us; /* and up to this */
    unsigned max_draining; /* old ones that may still be draining when the next swap begins */
    unsigned burst;        /* restarts after deaths that happen at once ... */
    uint64_t refill_us;    /* ... and how long one of them takes to come back */
    uint64_t retry_us;     /* first pause after a failed start; doubles ... */
    uint64_t retry_max_us; /* ... up to this; also between two stand-ins */
};
extern const struct generation_limits generation_default_limits; /* drain_us is the configuration's */

/* What a seat may do. Only one that serves starts processes. */
enum seat_role {
    SEAT_SERVES, /* keeps one READY generation */
    SEAT_FADES,  /* what is there serves on until seat_drain: its pool or its place is not configured any more
                  */
    SEAT_ENDS,   /* drains what is there */
};

struct seat {
    const char *name; /* the pool's, for messages */
    int index;        /* among the pool's seats */
    const struct generation_hooks *hooks;
    struct generation_limits limits;
    void *owner;
    enum seat_role role;
    struct generation *generations; /* newest first */
    uint32_t last_number;
    bool asleep; /* nothing serves, and need not: seat_wake() when somebody connects */
    bool swap_wanted;
    char swap_reason[256];
    char state_met[256]; /* what the last process that asked because of a state (SWAP_STATE) gave as reason */
    uint64_t again_us;   /* how long that was waited on; 0 = it is not met again and again */
    uint64_t state_after_us; /* until when, while nothing else is the reason */
    bool renewing;           /* what is ready next follows one that was told to forget */
    uint64_t reset_asked_us; /* the last time */
    uint64_t renewal_us;    /* how long a reset was waited on last; 0 = it is not asked for again and again */
    uint64_t warm_until_us; /* waiting for the old one's warm list; 0 = not */
    uint64_t swap_after_us; /* the next swap is not before this */
    uint64_t start_at_us;   /* the next launch is not before this; 0 = none is due */
    unsigned failures;      /* starts that failed in a row */
    unsigned tokens;        /* restarts left of the burst */
    uint64_t refilled_us;
    bool crash_loop;
    uint64_t standin_after_us; /* the next stand-in is not before this */
    char last_failure[256];    /* of a start, or how a process that served came to its end; for people */
    uint64_t swaps;            /* completed */
};

void seat_init(struct seat *seat, const char *name, int index, const struct generation_hooks *hooks,
               const struct generation_limits *limits, uint64_t now);
/* From now on what is there serves on, and nothing follows it. */
void seat_fade(struct seat *seat);
/* Frees what is left of the list (at exit; every process is gone or does not matter). */
void seat_free(struct seat *seat);
/* Takes a process of an earlier supervisor image in, READY or DRAINING. */
struct generation *seat_adopt(struct seat *seat, uint32_t number, enum generation_state state, pid_t pid,
                              uint64_t deadline_us, uint64_t now);

/* Events. */
void seat_start(struct seat *seat, uint64_t now); /* the first generation, or a new one beside adopted ones */
void seat_swap(struct seat *seat, const char *why, uint64_t now);
/* What serves drains, and nothing follows it until seat_wake(). False: not at this moment. */
bool seat_sleep(struct seat *seat, uint64_t now);
void seat_wake(struct seat *seat, uint64_t now);
/* A process wants to be replaced. */
void seat_asked(struct generation *g, const char *why, enum swap_kind kind, uint64_t now);
/* A process that cannot serve is none: the next one starts at once, and this one drains meanwhile. */
void seat_lost(struct generation *g, const char *why, uint64_t now);
void seat_heard(struct generation *g, uint64_t now); /* it drains */
/* The answer to ask_warm_list. True: the descriptor (-1 = no list) is taken. */
bool seat_warm_list(struct seat *seat, const struct generation *from, int warm_fd, uint64_t now);
void seat_ready(struct generation *g, uint64_t now);
void seat_failed(struct generation *g, const char *why); /* its process says why; the exit follows */
void seat_exited(struct generation *g, const char *how, uint64_t now);
void seat_tick(struct seat *seat, uint64_t now);
void seat_drain(struct seat *seat, uint64_t drain_us, uint64_t now); /* end politely */
void seat_stop(struct seat *seat, uint64_t now);                     /* end now */

/* Questions. */
uint64_t seat_next_us(const struct seat *seat); /* when seat_tick has something to do; 0 = never */
bool seat_empty(const struct seat *seat);
bool seat_settled(const struct seat *seat);               /* no start is under way or about to be */
struct generation *seat_serving(const struct seat *seat); /* a stand-in, too */
struct generation *seat_find(const struct seat *seat, pid_t pid);

#endif
