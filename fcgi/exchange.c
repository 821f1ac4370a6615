/* See exchange.h. How libfcgi is led:
 *
 *   FCGX_Accept_r begins with FCGX_Finish_r, which closes ipcFd unless keepConnection is set, and accepts by
 *   itself only while ipcFd < 0. So the tray goes into ipcFd with keepConnection set, the head is decoded out
 *   of it, and then the connection's descriptor takes its place. The head lies at the end of the tray, so
 *   that libfcgi meets the end of the file behind it and can read nothing else. keepConnection is set again
 *   before every call that might close: descriptors are closed by conn.c only. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/must.h"
#include "fcgi/exchange.h"

#define TRAY_BYTES      (FCGI_HEAD_MAX + 4096)
#define TRAY_KEEP_BYTES 65536 /* a head beyond this gives its memory back afterwards */
#define ARENA_MAX       (8u << 20)

static _Thread_local struct fcgi_exchange *mine;
static pthread_key_t at_thread_end;

static void tray_close(struct fcgi_exchange *x)
{
    if (x->tray) {
        munmap(x->tray, TRAY_BYTES);
        x->tray = NULL;
    }
    if (x->tray_fd >= 0) {
        close(x->tray_fd);
        x->tray_fd = -1;
    }
}

static int tray_open(struct fcgi_exchange *x)
{
    void *map = MAP_FAILED;

    x->tray_fd = memfd_create("fcgi-head", MFD_CLOEXEC);
    if (x->tray_fd >= 0 && ftruncate(x->tray_fd, TRAY_BYTES) == 0) {
        map = mmap(NULL, TRAY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, x->tray_fd, 0);
    }
    if (map == MAP_FAILED) {
        log_limited(LEVEL_ERROR, "fcgi: no memory file for request heads: %s (%d)", strerror(errno), errno);
        tray_close(x);
        return -1;
    }
    x->tray = map;
    return 0;
}

static void exchange_free(void *exchange)
{
    struct fcgi_exchange *x = exchange;

    exchange_release(x);
    tray_close(x);
    buf_free(&x->head);
    arena_destroy(x->arena);
    free(x);
    mine = NULL;
}

struct fcgi_exchange *exchange_mine(void)
{
    if (mine) {
        return mine;
    }
    struct fcgi_exchange *x = calloc(1, sizeof(*x));

    if (!x) {
        return NULL;
    }
    x->tray_fd = -1;
    atomic_init(&x->fd, -1);
    FCGX_InitRequest(&x->fcgx, -1, FCGI_FAIL_ACCEPT_ON_INTR);
    x->arena = arena_create(ARENA_MAX);
    if (!x->arena || pthread_setspecific(at_thread_end, x) != 0) {
        exchange_free(x);
        return NULL;
    }
    mine = x;
    return x;
}

int exchange_init(void)
{
    static const int signals[] = {SIGPIPE, SIGUSR1, SIGTERM};
    static bool have_key;
    struct sigaction before[3];
    int result;

    for (int i = 0; i < 3; i++) {
        sigaction(signals[i], NULL, &before[i]);
    }
    result = FCGX_Init();
    for (int i = 0; i < 3; i++) {
        sigaction(signals[i], &before[i], NULL);
    }
    if (result == 0 && !have_key) {
        result = pthread_key_create(&at_thread_end, exchange_free);
        have_key = result == 0;
    }
    if (result != 0) {
        log_error("libfcgi does not start (%d)", result);
        return -1;
    }
    return 0;
}

int exchange_accept(struct fcgi_exchange *x, struct fcgi_conn *c)
{
    MUST(x->head.n <= TRAY_BYTES);
    size_t at = TRAY_BYTES - x->head.n;

    if (x->tray_fd < 0 && tray_open(x) < 0) {
        return -1;
    }
    memcpy(x->tray + at, x->head.p, x->head.n);
    if (lseek(x->tray_fd, (off_t)at, SEEK_SET) < 0) {
        return -1;
    }
    x->fcgx.ipcFd = x->tray_fd;
    x->fcgx.keepConnection = 1;
    if (FCGX_Accept_r(&x->fcgx) != 0) { /* it has closed the tray: what the screen let through was no head */
        log_limited(LEVEL_ERROR, "fcgi: libfcgi does not accept a head of %zu bytes", x->head.n);
        x->tray_fd = -1;
        tray_close(x);
        x->fcgx.ipcFd = -1;
        return -1;
    }
    x->fcgx.ipcFd = c->wait.fd;
    x->fcgx.keepConnection = 1;
    x->streams_open = true;
    return 0;
}

void exchange_release(struct fcgi_exchange *x)
{
    if (x->streams_open) {
        x->streams_open = false;
        x->fcgx.ipcFd = -1;
        FCGX_Free(&x->fcgx, 0);
    }
    if (x->head.n > TRAY_KEEP_BYTES) {
        madvise(x->tray, TRAY_BYTES, MADV_REMOVE);
        buf_free(&x->head);
    }
    x->head.n = 0;
    arena_reset(x->arena);
}
