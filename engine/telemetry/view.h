/* What the server does at one moment: a copy in its reader's own memory, of boards that processes write which
 * may be anybody's by now. Nothing on a board is believed: counts are held within the sizes that the reader
 * knows of its own, states and gauges within their ranges, texts end, and no time lies in the future. What
 * the numbers say may be wrong; nothing can happen to whoever reads them.
 *
 * The supervisor makes views, of all boards, since it has all; an engine process asks it for one and gets it
 * as a file (engine/supervise/lookout.h), and has only its own board when nobody answers. A view belongs to
 * the thread that made it. */
#ifndef ENGINE_TELEMETRY_VIEW_H
#define ENGINE_TELEMETRY_VIEW_H

#include "engine/telemetry/metrics.h"

#define VIEW_LAYOUT_MAX 64
#define VIEW_NAME_MAX   128 /* of a pool, with its NUL */

/* What a worker script does on its thread. */
enum script_phase {
    SCRIPT_STATE_NONE,
    SCRIPT_STATE_BOOTING,
    SCRIPT_STATE_IDLE,
    SCRIPT_STATE_BUSY,
    SCRIPT_STATE_DOWN,
    SCRIPT_STATES
};
const char *script_state_name(enum script_phase state);

/* One worker. Field by field what its slot says. */
struct worker_row {
    pid_t process, tid;
    uint32_t generation;
    bool draining;                  /* of the process */
    enum worker_state state;        /* LOOKING is IDLE here */
    enum script_phase script_state; /* NONE: it holds no worker script */
    uint64_t script_memory;         /* bytes that this one keeps between two requests; 0 = not known yet */
    uint64_t start_wall_us, requests, accepted_us, duration_us, memory_peak, last_cpu_us, content_length;
    char method[16], uri[128], query[512], script[256], user[40];
};

/* One pool: what its processes that are gone have left, and the boards of those that live. */
struct pool_view {
    char name[VIEW_NAME_MAX];
    int pm; /* enum pm_kind */
    uint32_t max_children;
    bool has_script; /* worker.script */
    bool has_tasks;  /* and nothing else: nobody waits for one of its workers */
    /* php-fpm's numbers: since this configuration serves */
    uint64_t start_wall_us;
    uint64_t accepted, slow_requests, memory_peak;
    uint32_t active_max, max_children_reached, listen_queue_max;
    /* the metrics': since the first start, through every reload */
    uint64_t counting_since_wall_us;
    struct metrics_sum sum;
    /* of this moment */
    uint32_t listen_queue, listen_queue_len, opcache_used_percent;
    uint32_t script_queue;                 /* requests that wait for a worker script */
    uint32_t script_states[SCRIPT_STATES]; /* of threads that hold one; draining processes aside */
    uint32_t states[WORKER_STATES]; /* workers; those of a draining process only while they have a request */
    uint32_t idle, active;          /* as php-fpm counts processes: parked and lost ones do not count */
    bool silent;                    /* its processes do not react */
    bool unseen_serve;              /* a process serves whose board cannot be read: another build's */
    uint32_t first_worker, worker_count; /* in the view's list */
};

struct view {
    bool finishing; /* the supervisor ends the server, now or after drain_delay */
    bool partial;   /* only what one process knows of itself */
    uint32_t pool_count, worker_count;
    struct pool_view *pools;
    struct worker_row *workers; /* by pool */
    uint32_t pool_room, worker_room;
};

struct view *view_create(uint32_t pools); /* room for so many; NULL: out of memory */
void view_free(struct view *view);        /* NULL is fine */
const struct pool_view *view_find(const struct view *view, const char *pool); /* NULL: it is not there */
/* A pool as it begins: all numbers zero. */
void pool_view_init(struct pool_view *pool, const struct pool_conf *conf);
/* Adds a copy of this pool to the view, which has room for it. What is added to it then: boards. */
struct pool_view *view_add_pool(struct view *view, const struct pool_view *pool);

/* A board as its reader knows it. */
struct board_source {
    int fd;
    struct scoreboard_size size;
    pid_t process;
    uint32_t generation;
    bool draining;
    bool inherited; /* from an earlier configuration: its php-fpm numbers are not this pool's */
};
/* To the pool that was added last. */
void view_add_board(struct view *view, const struct board_source *from);
/* Workers that are neither parked nor lost. */
uint32_t board_workers(const struct board_source *from);
/* One of them; false: nobody has this slot. */
bool board_worker(const struct board_source *from, uint32_t slot, struct worker_row *out);
/* The process is gone: its counters stay with the pool. */
void pool_view_keep(struct pool_view *pool, const struct board_source *from);
/* What a process of another pool has counted for this one, its guest of that number: answers, and nothing of
 * workers or connections. */
void pool_view_add_guest(struct pool_view *pool, const struct board_source *from, uint32_t guest);

/* How a pool is, for health checks. */
enum pool_health {
    POOL_OK,       /* a worker is free, or can be made */
    POOL_BUSY,     /* all workers run requests */
    POOL_STARTING, /* no worker is up yet */
    POOL_DOWN,     /* it has no worker */
};
enum pool_health pool_view_health(const struct pool_view *pool);
const char *pool_health_name(enum pool_health health);
uint64_t view_since_wall_us(const struct view *view); /* since when the metrics count */
/* Is it one of the workers that php-fpm's status shows? */
bool worker_row_visible(const struct worker_row *row);

/* -- from process to process -- */

/* What this build means by the bytes of a view, and of a board. */
const char *view_layout(void);
/* A memory file, which nobody can write to any more; -1 with errno. */
int view_save(const struct view *view);
/* NULL with errno: EPROTO = another build's, or cut. */
struct view *view_load(int fd);

#endif
