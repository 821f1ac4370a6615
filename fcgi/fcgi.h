/* The FastCGI front end's own data: one struct for the pool of an engine process, made by start and freed by
 * stop on the control thread. What other threads touch says so. */
#ifndef FCGI_FCGI_H
#define FCGI_FCGI_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "fcgi/fcgi_settings.h"
#include "fcgi/script_policy.h"

extern const struct frontend fcgi_frontend;

/* struct listener.kind */
enum fcgi_listener_kind {
    FCGI_PLAIN,    /* runs scripts */
    FCGI_STATUS,   /* pm.status_listen: only the status and ping pages, by reserved workers */
    FCGI_INTERNAL, /* runs scripts for another pool's front end */
};

struct fcgi_conn;
struct fcgi_listener;

struct fcgi_front {
    struct pool *pool;
    const struct frontend *frontend;                           /* our table */
    void (*serve)(struct fcgi_conn *c, struct worker *worker); /* what is done with one that is ready */
    const struct fcgi_settings *settings;
    struct script_policy policy; /* read-only after start */
    uint64_t idle_ms;            /* how long a kept-alive connection may stay silent; read-only */
    struct fcgi_listener *listeners;
    struct allowed_client *allowed; /* listen.allowed_clients; NULL = everyone; read-only after start */
    size_t allowed_count;
    bool restricted;       /* listen.allowed_clients is set, even if nothing in it was valid */
    _Atomic uint32_t open; /* connections that exist or are being accepted: drained waits for them */
    _Atomic bool draining; /* set by the control thread; connections end after their request */
};

#endif
