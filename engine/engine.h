/* All that a front end sees of the engine, in the order of a request's life:
 *
 *   the front end's table -> listeners and the wait set -> a request -> the pool -> the answer -> the end
 *
 * A front end turns readiness of something into a struct request, and gives the engine a table of functions
 * (struct request_io) through which the answer leaves. The engine knows no socket and no protocol.
 * Threads: "worker" = one of the pool's threads, which run PHP; "control" = the engine process's main thread;
 * "loop" = a thread that the front end made. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "engine/base/arena.h"
#include "engine/base/sock.h"
#include "engine/base/str.h"
#include "engine/engine_settings.h"

struct guest;
struct pool;
struct worker;
struct request;

/* -- the front end -- */

/* A listening socket that a pool needs. The supervisor opens it (or inherits it) and every generation uses
 * it. */
struct listener {
    struct sock_address address;
    struct sock_options options;
    int kind;      /* the front end's own number (plain, TLS, status ...) */
    bool reserved; /* its waitables will be reserved ones: the pool needs page workers */
    bool lasts;    /* the server's end does not close it: what still runs is asked through it */
    bool shared; /* came from systemd or another program, which may go on listening there when we are gone */
    int fd;      /* -1: not open, or not any more */
    const struct frontend *frontend;
    const struct pool_conf *pool;
    struct listener *next;
};

/* Secrets of a pool that its clients' sessions are bound to (TLS tickets), the same in all its processes and
 * in none of another pool. [0] is the next: it opens only, since another process may have begun to use it.
 * [1] is in use; the others are older, and open only. */
#define POOL_KEYS      4
#define POOL_KEY_BYTES 80
struct pool_keys {
    unsigned char key[POOL_KEYS][POOL_KEY_BYTES];
};

struct frontend {
    const char *name;
    const struct setting_table *pool_table;
    /* Supervisor, after the configuration is read. Checks what rows cannot (0 or -1, reported with log_alert
     * and log_error in php-fpm's wording) and completes the struct. */
    int (*check)(const struct config *config, struct pool_conf *pool);
    /* Supervisor: append the listeners that this pool wants, with xcalloc'ed nodes. 0 or -1 (reported). Both
     * "none" and several are fine. */
    int (*listeners)(const struct pool_conf *pool, struct listener **list);
    /* Supervisor, may be NULL: do processes of `owner` answer clients of `site`, another pool? Then they
     * count and log such requests in its name (pool_guest). */
    bool (*answers_for)(const struct pool_conf *owner, const struct pool_conf *site);
    /* Engine process, main thread, right after the fork and before any code of a user runs; may be NULL:
     * wipes what the supervisor's memory holds of other pools' secrets. NULL: of all pools', in a process
     * that reads everything anew. */
    void (*forget)(const struct pool_conf *pool);
    /* Supervisor, may be NULL: has something been read that a fork cannot read anew, but a new program does?
     */
    bool (*keeps)(void);
    /* Supervisor, may be NULL: the files whose text an engine process inherits (certificates, keys,
     * hashes of passwords). */
    void (*files)(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx);
    /* Supervisor, where there are files: reads them once more, and calls back for each pool whose processes
     * hold a text that is not the newest good one. What is no good is reported, and changes nothing. */
    void (*renew)(const struct config *config, void (*outdated)(const struct pool_conf *pool, void *ctx),
                  void *ctx);
    /* Engine process, main thread, after the executor has started and before the workers do: take the
     * listeners that are this front end's and make all that can fail, but accept nothing yet. 0 or -1
     * (reported). */
    int (*start)(struct pool *pool, const struct listener *listeners);
    /* Control thread, once all workers stand: from here on connections are accepted. 0 or -1 (reported). */
    int (*open)(struct pool *pool);
    /* Control thread, may be NULL: the whole server ends. What waits in listeners that do not last is taken
     * in, since nobody comes after us, and our descriptors of them are closed; with the last one of the
     * server's, who connects is refused. Returns at once. Called once, before drain or after it. */
    void (*refuse)(struct pool *pool);
    /* Control thread: take no new work, tell idle connections to go; our descriptors of listeners are closed
     * as soon as nobody uses them. Returns at once. Called once. */
    void (*drain)(struct pool *pool);
    /* Control thread, may be NULL: every thread of this front end has acted on it (polled while draining). */
    bool (*drain_heard)(struct pool *pool);
    /* Control thread, may be NULL: a connection that an older process of this pool has handed over (see
     * pool_hand_over) comes in. Takes the descriptor. */
    void (*adopt)(struct pool *pool, int fd, int kind);
    /* Control thread: nothing of this front end is still connected or running (polled while draining). */
    bool (*drained)(struct pool *pool);
    /* Control thread: after the workers ended; join loops, free. */
    void (*stop)(struct pool *pool);
    /* Control thread, about once a second; may be NULL. */
    void (*tick)(struct pool *pool);
    /* Main thread after start, and the control thread when they change; may be NULL: the pool's keys. */
    void (*rekey)(struct pool *pool, const struct pool_keys *keys);
};

extern const struct frontend *const frontends[]; /* generated by configure; NULL-terminated */
int frontend_index(const struct frontend *frontend);

/* -- the wait set: work is pulled by workers -- */

/* Something that can become ready, embedded in the front end's object. While it is armed the wait set owns
 * it; when it fires, exactly one worker owns it until it arms it again or forgets it. */
struct waitable {
    int fd;
    void (*ready)(struct waitable *self, struct worker *worker); /* on the worker's thread */
    uint64_t deadline_us; /* idle deadline while armed (clock_us), 0 = none; the control thread calls expire
                             then */
    void (*expire)(struct waitable *self); /* control thread; owns the waitable from then on */
    bool reserved; /* set before pool_wait_add: for the pool's page workers, which serve nothing else
                      (pm.status_listen is answered although all workers are busy) */
    bool shared;   /* a listener: workers of both kinds look after it */
    bool resident; /* changed by the owner, before pool_wait_add: looked after by the workers that hold the
                      pool's worker script */
    bool dry; /* the owner's word before he arms it again: all that was there has been read. Else the wait set
                 looks itself, which is a system call */
    struct waitable *next_passed; /* while it is passed on: guarded by that list's lock */
    /* Control thread, may be NULL: the worker that had it in hand (worker_holds) is lost, and was not in the
     * middle of a request, which would have been abandoned. The worker may come back to it, so it stays where
     * it is, and is only counted out. */
    void (*lost)(struct waitable *self);
};

enum wait_mode {
    WAIT_LISTENER, /* stays armed; several workers may be told at once, so accepting may find nothing */
    WAIT_ONESHOT,  /* an idle connection: fires once, until it is armed again; what it fired for may have been
                      read already */
};
/* Any thread; 0 or -1 with errno. */
int pool_wait_add(struct pool *pool, struct waitable *waitable, enum wait_mode mode);
int pool_wait_rearm(struct pool *pool, struct waitable *waitable); /* WAIT_ONESHOT, the owner */
/* The owner, who reads on until he arms it again: nobody is to be woken by what comes. */
void pool_wait_mute(struct pool *pool, struct waitable *waitable);
void pool_wait_forget(struct pool *pool, struct waitable *waitable); /* the owner, before close(fd) */
/* The workers that hold the worker script run its requests and nothing else. False: `ready` has read a
 * request that another worker must run, and gives the waitable to one by pool_pass. */
bool worker_takes(const struct worker *worker, const struct request *r);
/* The owner, when no wait set knows the waitable: `ready` is called once more, by a worker that takes r. */
void pool_pass(struct pool *pool, struct waitable *waitable, const struct request *r);
bool worker_is_resident(const struct worker *worker); /* it holds the worker script */
/* In `ready` of a listener: one was taken, or nobody was there. Where connections wait, `ready` is called
 * again as soon as the worker is free, without a look at the wait set. */
void worker_took(struct worker *worker, struct waitable *listener, bool one);
/* On a worker's thread: from here on this is what it has in hand, until it says that it is another, or none
 * (NULL): before it gives it away, as the next owner may free it. Elsewhere nothing happens. */
void worker_holds(struct waitable *waitable);
/* Takes every armed one-shot waitable out and calls fn on each (control thread: drain). */
void pool_wait_evict(struct pool *pool, void (*fn)(struct waitable *self));

/* -- the request -- */

/* One CGI-style variable: becomes $_SERVER[name], and getenv(name). NUL-terminated, both; owned by the arena
 * or longer-lived. */
struct param {
    const char *name;
    const char *value;
    uint32_t name_len;
    uint32_t value_len;
};

/* The answer's head as PHP made it. Valid during send_head only. */
struct header_line {
    const char *text; /* "Name: value" */
    uint32_t len;
    uint32_t name_len;
};
struct response_head {
    int status;
    struct str status_line; /* what PHP's header("HTTP/1.1 418 I'm ...") said, else STR_NONE */
    const struct header_line *lines;
    size_t count;
    bool no_body; /* HEAD */
};

/* What the front end does with a request. All are called on the worker's thread with request->io_lock held,
 * except abandon. "Gone" (-1) means that the client is not there any more: PHP's connection_aborted(). */
struct request_io {
    /* Up to n bytes of the body; 0 = its end; -1 = gone, or shorter than announced. May block, never for
     * ever. */
    ssize_t (*read_body)(struct request *r, char *buf, size_t n);
    /* Once, before the first write. 0 or -1 (gone). */
    int (*send_head)(struct request *r, const struct response_head *head);
    /* An interim 1xx response; may be NULL (then there is none). */
    int (*send_interim)(struct request *r, const struct response_head *head);
    /* All n bytes, or -1 (gone). May buffer. May block on a slow reader, bounded by a deadline. */
    int (*write)(struct request *r, const char *p, size_t n);
    /* What is buffered leaves now; from here on the response streams. 0 or -1. */
    int (*flush)(struct request *r);
    /* Exactly once: the response is complete for the client. Early (fastcgi_finish_request) or at the end.
     * Afterwards none of the functions above is called; the connection may already serve the next request. */
    void (*finish)(struct request *r);
    /* A message for the web server's error log (FCGI_STDERR); may be NULL. Before finish only. */
    void (*message)(struct request *r, const char *text, size_t n);
    /* Control thread: the worker is lost (crashed, or stuck beyond its deadline). Answer `status` (500, 504)
     * if the head has not been sent, else cut the connection. If !locked the worker died inside one of the
     * functions above: touch nothing but shut the descriptor down. The worker and the request are never used
     * again. */
    void (*abandon)(struct request *r, int status, bool locked);
    /* Worker, after the request has run; control thread, after abandon: is it known what the client got?
     * True: status and body_sent say it, and the engine accounts for the request. False: the front end calls
     * pool_account() when it is; nobody else touches the request from now on but its submission's done. NULL:
     * what was given to the functions above is taken to have arrived. */
    bool (*settled)(struct request *r);
    /* Control thread, in the place of abandon when the request was finished before: let go of what the worker
     * held for the next one. May be NULL. */
    void (*forsake)(struct request *r);
};

enum request_page { PAGE_SCRIPT, PAGE_PING, PAGE_STATUS, PAGE_ERROR };

/* Times of one request in clock_us(); 0 = not reached. */
struct request_times {
    uint64_t accepted, queued, started, php_started, script_done;
    uint64_t finished;        /* the response */
    uint64_t ended;           /* the worker's part, PHP's shutdown included */
    uint64_t asked, answered; /* another process that runs it; the end of its answer */
};

/* What the script took of its process. */
struct request_usage {
    bool known;
    uint64_t user_us, system_us;
    size_t memory_peak;
};

/* Who the request is in logs and traces (engine/telemetry/trace.h). id[0] == 0: not made yet. */
struct request_trace {
    char id[65];
    char trace_id[33], span_id[17], parent_id[17]; /* parent_id "" = none came in */
    bool sampled;
    struct str state; /* tracestate that came in and was valid; the request's memory */
};

#define REQUEST_MAGIC 0x7e90e571u

struct request {
    unsigned magic;
    const struct request_io *io;
    void *front; /* the front end's own object */
    struct pool *pool;
    struct arena *arena; /* everything below lives here or longer */

    /* -- what the front end fills in before the request runs; NUL-terminated strings or NULL -- */
    const char *method; /* "GET" */
    const char *uri;    /* SG(request_info).request_uri: what PHP calls the request */
    const char *query;  /* without '?'; never NULL after request_init */
    const char *script; /* the script's file: SG(request_info).path_translated; NULL = none */
    const char *content_type;
    int64_t content_length;                  /* -1: a body of unknown length may come */
    int proto;                               /* 1000, 1001, 2000 */
    const char *cookie;                      /* HTTP_COOKIE */
    const char *authorization;               /* HTTP_AUTHORIZATION */
    const char *server_name, *document_root; /* for per-host and .user.ini */
    const char *php_value, *php_admin_value; /* PHP_VALUE, PHP_ADMIN_VALUE of this request */
    char *const *argv;                       /* $argv of what is no client's; argc = 0: there is none */
    int argc;
    const char *remote_ip; /* for logs: the peer as the access log names it */
    const char *body_file; /* REQUEST_BODY_FILE, or NULL */
    struct param *params;
    size_t param_count, param_size; /* used, room */
    enum request_page page;
    int error_status; /* PAGE_ERROR: 403, 404 ... with error_body, run through PHP for its headers */
    const char *error_body;
    const char *error_message; /* logged and sent as message(), or NULL */
    int error_level;           /* enum log_level of error_message */
    bool keep_alive;           /* fcgi: FCGI_KEEP_CONN; informative */
    bool head_counts;          /* HEAD: the body is made as for GET, and the front end only counts it */
    struct guest *guest;       /* the pool whose request it is; NULL: r->pool */
    bool counted_elsewhere;    /* by the process that sent it here, which writes its line, too */
    bool usage_wanted;         /* by that process */
    const char *upstream;      /* what runs it, where that is another process; for the access log, or NULL */

    /* -- kept by the engine while it runs; worker's thread unless said -- */
    pthread_mutex_t io_lock; /* held inside each io function; abandon takes it with trylock */
    _Atomic bool gone;       /* client gone or request abandoned: io is not called any more */
    bool head_sent;
    bool finished;
    int status;         /* of the response; for logs */
    uint64_t body_read; /* bytes of the request body that were read */
    uint64_t
        body_sent; /* bytes of the response body given to the front end, or what left of them (settled) */
    struct request_times times;
    struct worker *worker;
    struct request_usage usage; /* known once the script is over, if it was asked for */
    struct request_trace trace; /* made by the front end, or when PHP asks for it */
    bool logged;                /* its line is in the access log */
    const char *auth_user;      /* basic auth user, for the access log; worker's memory, NULL = none */
};

/* Zero, defaults, magic. The arena is the front end's. */
void request_init(struct request *r, struct pool *pool, const struct request_io *io, void *front,
                  struct arena *arena);
/* Adds a variable; 0, or -1 = the arena said no. Later ones of the same name win. */
int request_param(struct request *r, struct str name, struct str value);
/* The last one of that name, or NULL. */
static inline const struct param *request_param_find(const struct request *r, struct str name)
{
    for (size_t i = r->param_count; i > 0; i--) {
        const struct param *p = &r->params[i - 1];

        if (p->name_len == name.n && memcmp(p->name, name.p, name.n) == 0) {
            return p;
        }
    }
    return NULL;
}
/* Destroys the lock. The arena stays the front end's. */
void request_release(struct request *r);

/* Worker's thread, inside waitable.ready: run it to its end (io->finish has been called when it returns). */
void request_run(struct worker *worker, struct request *r);

/* -- the pool -- */

enum submit_result { SUBMIT_OK, SUBMIT_FULL, SUBMIT_DRAINING };
/* Loop threads: hand a complete request to the workers. The worker runs it and then calls done(r) on its
 * thread. If no worker takes it within queue_wait_us, the control thread takes it out and calls expired(r)
 * instead. */
struct submission {
    struct request *request;
    void (*done)(struct request *r);
    void (*expired)(struct request *r);
    uint64_t queued_us;
    struct submission *next; /* guarded by the queue's lock */
};
enum submit_result pool_submit(struct pool *pool, struct submission *s);
#define QUEUE_PER_WORKER 100 /* requests that may wait, where nobody says how many */
/* Before workers start. capacity: of each queue; 0 = as many for each of its workers as when nobody says. */
void pool_set_queue(struct pool *pool, unsigned capacity, uint64_t queue_wait_us);

const struct pool_conf *pool_conf(const struct pool *pool);
void *pool_front(const struct pool *pool,
                 const struct frontend *frontend); /* the front end's per-process data */
void pool_set_front(struct pool *pool, const struct frontend *frontend, void *data);
/* While draining, any thread: gives an idle connection to the process that serves the pool from now on, so
 * that no request can get lost on its way to a connection that is just being closed. kind: for adopt. True:
 * it is given, and the caller closes its own descriptor, which no wait set knows any more. */
bool pool_hand_over(const struct frontend *frontend, int fd, int kind);
bool pool_can_hand_over(const struct pool *pool);       /* there is somebody to take it */
bool pool_draining(const struct pool *pool);            /* any thread */
uint64_t pool_started_wall_us(const struct pool *pool); /* when this process began; any thread */
/* In frontend.start: reserved waitables will come. 0, or -1: out of memory. */
int pool_reserve(struct pool *pool);

/* Rules of PHP's CGI that front ends must follow (ini, per pool): worker's thread. */
struct cgi_rules {
    bool fix_pathinfo;    /* cgi.fix_pathinfo */
    bool discard_path;    /* cgi.discard_path */
    bool nph;             /* cgi.nph */
    bool rfc2616_headers; /* cgi.rfc2616_headers */
    bool log_to_stderr;   /* fastcgi.logging */
    const char *doc_root; /* doc_root, or NULL */
};
extern _Thread_local struct cgi_rules cgi_rules; /* set by the executor in thread_start */

/* -- who a request is -- */

/* Gives the request its id and its place in a trace. Arguments are header values, STR_NONE where absent (and
 * where one that may come once came twice). A valid traceparent is continued under a new span id. Any thread.
 */
void request_identify(struct request *r, struct str request_id, struct str traceparent,
                      struct str tracestate);
/* The same from HTTP_X_REQUEST_ID, HTTP_TRACEPARENT and HTTP_TRACESTATE, unless it was done before. */
void request_identify_once(struct request *r);
/* "00-<trace>-<span>-<flags>": 55 characters and a NUL. */
#define TRACEPARENT_SIZE 56
void request_traceparent(const struct request *r, char out[TRACEPARENT_SIZE]);

/* -- counters (scoreboard; any thread) -- */

/* A thread that answers requests without a worker counts them in a block of its own, which it claims before
 * the first one. NULL: none is free; then its requests are not counted. */
struct metrics_block;
struct metrics_block *pool_counters(struct pool *pool);
/* Such a request is over: counts it, and writes it to the access log, of r->guest if there is one. Uses
 * method, status, body_read, body_sent, times.accepted, trace and params. The thread that claimed the block.
 */
void pool_account(struct pool *pool, struct metrics_block *counters, struct request *r);
/* Another pool, whose clients come to this process (frontend.answers_for). NULL: it is this process's own. */
struct guest *pool_guest(const struct pool *pool, const struct pool_conf *conf);
/* Will it have a line in an access log? Only then are params worth filling in for pool_account. */
bool request_is_logged(const struct request *r);
/* Does that line tell what the script took (request_usage)? */
bool request_shows_usage(const struct request *r);
enum pool_event {
    EVENT_RATE_LIMITED,  /* a request was refused with 429 */
    EVENT_TLS_HANDSHAKE, /* completed */
    EVENT_H2_STREAM,     /* opened */
    EVENT_H2_REFUSED,    /* an HTTP/2 connection was closed for abuse */
    EVENT_LOG_DROPPED,   /* a line of the access log or the server log did not fit */
    POOL_EVENTS
};
void pool_count_event(struct pool *pool, enum pool_event event);
void request_count_event(const struct request *r, enum pool_event event); /* of its pool */
void pool_count_events(struct pool *pool, enum pool_event event, uint64_t count);
void pool_count_connection(struct pool *pool, int change); /* +1: a client has connected, -1: it is gone */
void pool_count_accepted(
    struct pool *pool); /* "accepted conn": one a request, as php-fpm counts; pool_submit() does */
void pool_count_reading(struct worker *worker); /* this worker's state: Reading headers */

/* -- pages about the whole server, for a listener of its own -- */

enum server_page {
    SERVER_LIVE,         /* this process answers */
    SERVER_READY,        /* 503: a pool has no worker, or the server ends */
    SERVER_HEALTH,       /* the same with numbers */
    SERVER_METRICS,      /* Prometheus text 0.0.4 */
    SERVER_OPENMETRICS,  /* OpenMetrics 1.0 */
    SERVER_STATUS,       /* php-fpm's full status of every pool */
    SERVER_CONFIG,       /* settings in effect, secrets masked */
    SERVER_LIVE_NUMBERS, /* what a dashboard draws */
    SERVER_HISTORY,      /* the last hour, as JSON */
    SERVER_SCRIPTS,      /* slow scripts and those with errors, as JSON */
};
struct buf;
/* Appends the page to out; the HTTP status that belongs to it. Any thread; waits for the supervisor, but for
 * less than a second, and for nobody at SERVER_LIVE and SERVER_CONFIG. */
int pool_server_page(const struct pool *pool, enum server_page page, struct buf *out,
                     const char **content_type);
/* Asks the supervisor to do something, in the name of whoever knows the token of the pool's pages. False: it
 * is not done. Any thread; waits as the pages do. */
enum server_order { SERVER_RESTART, SERVER_RELOAD };
bool pool_server_order(const struct pool *pool, enum server_order order, const char *name, const char *token);
/* What the workers of a pool (NULL or "": of all) spend the next seconds with: the end of a pipe that gives
 * the lines of a profile (engine/base/profile_format.h) and ends; -1: refused, or no answer. hz: 0 = what
 * they have spent the last seconds with, at PROFILE_KEPT_HZ. */
int pool_server_profile(const struct pool *pool, const char *name, unsigned seconds, unsigned hz);
/* The supervisor is about to end the whole server. Who connects is still served, but a connection that is
 * kept would be one on which a request meets the end: each ends with its next answer. */
bool pool_leaving(const struct pool *pool);
/* The supervisor ends the whole server: what drains now will not be replaced. */
bool pool_finishing(const struct pool *pool);

#endif
