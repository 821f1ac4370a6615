/* The third front end: requests and answers in memory, no socket. It exists to test the engine, and to prove
 * that the engine knows no protocol. */
#ifndef TESTS_SUPPORT_MEMORY_FRONTEND_H
#define TESTS_SUPPORT_MEMORY_FRONTEND_H

#include "engine/base/buf.h"
#include "engine/engine.h"

/* One request and what came back. Fields below `request` are read under the lock, or after memory_wait. */
struct memory_call {
    struct submission submission;
    struct request request;
    struct arena *arena;
    const char *body;
    size_t body_n, body_at;
    bool client_gone; /* set before the call: writing fails */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int status; /* of the head; 0 = none was sent */
    int interim;
    struct buf headers, answer, messages;
    int flushes, finishes;
    int abandoned;       /* the status that abandon was called with, 0 = never */
    bool abandoned_lock; /* its `locked` */
    bool expired;
    bool done;
};

struct memory_call *memory_call_new(struct pool *pool, const char *method, const char *uri, const char *query,
                                    const char *body);
enum submit_result memory_submit(struct memory_call *call);
/* True once the client has its whole answer (finish, abandon or expired). */
bool memory_answered(struct memory_call *call);
bool memory_done(struct memory_call *call); /* and the worker has let go of it */
void memory_call_free(struct memory_call *call);

extern const struct request_io memory_io;

#endif
