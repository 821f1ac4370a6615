/* A pool that runs real PHP for tests, with a front end in memory: requests are handed in, answers are
 * collected. Everything is called on the test's main thread, which is also the control thread. */
#ifndef TESTS_SUPPORT_PHP_POOL_H
#define TESTS_SUPPORT_PHP_POOL_H

#include <semaphore.h>

#include "engine/base/buf.h"
#include "engine/engine.h"

struct call {
    /* -- asked -- */
    const char *method, *script, *query, *content_type, *cookie, *authorization, *php_value, *php_admin_value;
    const char *post; /* the body, and how long it is */
    size_t post_n;
    bool length_unknown;    /* the body's length is not announced */
    int64_t post_claimed;   /* announced length; 0 = the real one */
    const char *params[16]; /* "NAME=value", NULL-terminated */
    enum request_page page;
    int error_status;
    const char *error_body, *error_message;
    size_t gone_after;      /* the client goes away after so many bytes of the answer; 0 = stays */
    void (*on_flush)(void); /* called on the worker's thread, in the script's flush() */

    /* -- answered -- */
    int status;
    struct buf head, body, messages, interim; /* head: "Name: value\n" lines */
    size_t flushes;
    bool finished;
    uint64_t finished_us, done_us; /* clock_us(): complete for the client; the script's end */

    /* -- kept by the pool -- */
    struct request request;
    struct submission submission;
    struct arena *arena;
    size_t body_at, written;
    sem_t done;
};

struct php_pool_options {
    int workers;
    int64_t terminate_timeout;
    const char *defines;      /* -d: "name=value\n" */
    const char *php_value[8]; /* pairs: name, value; NULL-terminated */
    const char *php_admin_value[8];
    bool with_php_ini;
};

void php_pool_start(const struct php_pool_options *options);
void php_pool_stop(void);
struct pool *php_pool(void);
/* Runs one call to its end. Fill the asked part of a zeroed struct first; call_free() afterwards. */
void call_run(struct call *call);
void call_submit(struct call *call);
void call_wait(struct call *call);
void call_free(struct call *call);
/* A script with this text in a directory of the test's own; its path, valid until php_pool_stop(). */
const char *php_script(const char *text);
const char *php_file(const char *name, const char *text);

#endif
