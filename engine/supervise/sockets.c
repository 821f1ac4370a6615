/* Where listening sockets come from and go to. php-fpm's variable carries them: "key=fd,key=fd", 128 in
 * FPM_SOCKETS, the next 128 in FPM_SOCKETS_1, and so on, where the key is what sock_address.text holds; so a
 * running php-fpm can be replaced by us and the other way round. An inherited descriptor is believed only if
 * it really is a listening socket. Supervisor's thread; the table lives as long as the process. */
#include "engine/supervise/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/supervise/control_path.h"
#include "engine/supervise/inherited.h"

#define PER_VARIABLE 128
#define VARIABLES    256
#define SYSTEMD_FD   3
#define SYSTEMD_KEYS "TOKIOPHP_SYSTEMD" /* over a re-execution: which of FPM_SOCKETS were systemd's */

struct inherited {
    char key[256];
    int fd;
    bool used;
};

static struct inherited *table;
static size_t table_count;
static struct buf systemd_keys; /* ",key,key,": it listens on when we are gone, so their paths stay */

static bool is_listening(int fd)
{
    int on = 0;
    socklen_t n = sizeof(on);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) == 0 && on;
}

static void take(struct str key, int fd)
{
    if (key.n == 0 || key.n >= sizeof(table->key) || !is_listening(fd)) {
        log_warning("inherited descriptor %d (\"%.*s\") is not a listening socket", fd, (int)key.n, key.p);
        return;
    }
    table = xrealloc(table, (table_count + 1) * sizeof(*table));
    struct inherited *entry = &table[table_count++];
    memset(entry, 0, sizeof(*entry));
    memcpy(entry->key, key.p, key.n);
    entry->fd = fd;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    log_notice("using inherited socket fd=%d, \"%s\"", fd, entry->key);
}

static const char *variable_name(unsigned number, char *out, size_t size)
{
    if (number == 0) {
        snprintf(out, size, "FPM_SOCKETS");
    } else {
        snprintf(out, size, "FPM_SOCKETS_%u", number);
    }
    return out;
}

static void take_list(const char *list)
{
    struct str rest = str_of(list), item;
    while (str_split(&rest, ',', &item)) {
        size_t eq = item.n;
        while (eq > 0 && item.p[eq - 1] != '=') {
            eq--;
        }
        uint64_t fd;
        if (eq > 0 && str_to_u64((struct str){item.p + eq, item.n - eq}, &fd) && fd < INT32_MAX) {
            take((struct str){item.p, eq - 1}, (int)fd);
        }
    }
}

/* Unix sockets have their path as the key; others are written as sock_address does it. */
static void take_systemd(int fd)
{
    struct sockaddr_storage sa = {0}; /* a path of full length has no NUL of its own */
    socklen_t n = sizeof(sa);
    char key[256], ip[64];
    if (getsockname(fd, (struct sockaddr *)&sa, &n) != 0) {
        return;
    }
    if (sa.ss_family == AF_UNIX) {
        snprintf(key, sizeof(key), "%s", ((struct sockaddr_un *)&sa)->sun_path);
    } else {
        sock_ip(&sa, ip, sizeof(ip));
        snprintf(key, sizeof(key), "%s:%u", ip, sock_port(&sa));
    }
    take(str_of(key), fd);
    buf_printf(&systemd_keys, "%s%s,", systemd_keys.n > 0 ? "" : ",", key);
}

static bool is_systemds(const char *key)
{
    char item[sizeof(table->key) + 3];
    snprintf(item, sizeof(item), ",%s,", key);
    return systemd_keys.n > 0 && strstr(systemd_keys.p, item);
}

static void remove_path(const char *path)
{
    if (!is_systemds(path)) {
        unlink(path);
    }
}

void sockets_inherit(void)
{
    char name[32];
    for (unsigned i = 0; i < VARIABLES; i++) {
        const char *list = getenv(variable_name(i, name, sizeof(name)));
        if (!list) {
            break;
        }
        take_list(list);
        unsetenv(name);
    }
    const char *keys = getenv(SYSTEMD_KEYS);
    if (keys && table_count > 0) {
        buf_text(&systemd_keys, keys);
    }
    unsetenv(SYSTEMD_KEYS);
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (pid && count && atoi(pid) == (int)getpid()) {
        for (int i = 0; i < atoi(count); i++) {
            take_systemd(SYSTEMD_FD + i);
        }
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

bool sockets_inherited(void)
{
    return table_count > 0;
}

static struct inherited *find(const char *key)
{
    for (size_t i = 0; i < table_count; i++) {
        if (strcmp(table[i].key, key) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

static struct inherited *find_for(struct listener *l)
{
    struct inherited *entry = find(l->address.text);
    if (!entry && l->address.any_family) {
        char ipv4[32];
        snprintf(ipv4, sizeof(ipv4), "0.0.0.0:%u", sock_port(&l->address.sa));
        entry = find(ipv4);
        if (entry) {
            sock_use_ipv4(&l->address);
        }
    }
    return entry;
}

int sockets_open(const struct pool_conf *pool, struct listener *list)
{
    for (struct listener *l = list; l; l = l->next) {
        if (l->pool != pool) {
            continue;
        }
        struct inherited *entry = find_for(l);
        if (entry) {
            entry->used = true;
            l->fd = entry->fd;
            l->shared = !inherited() || is_systemds(entry->key);
            continue;
        }
        char error[512];
        if (l->address.is_unix) {
            control_make_usual_folder(l->address.text);
        }
        l->fd = sock_listen(&l->address, &l->options, error, sizeof(error));
        if (l->fd < 0) {
            int why = errno;

            log_error("%s", error);
            errno = why;
            return -1;
        }
    }
    return 0;
}

void sockets_undo(const struct listener *list)
{
    for (const struct listener *l = list; l; l = l->next) {
        if (l->fd >= 0 && !find(l->address.text)) {
            close(l->fd);
            if (l->address.is_unix) {
                unlink(l->address.text);
            }
        }
    }
}

static void forget_table(void)
{
    free(table);
    table = NULL;
    table_count = 0;
}

void sockets_forget(void)
{
    forget_table();
    buf_free(&systemd_keys);
}

void sockets_close_unused(void)
{
    for (size_t i = 0; i < table_count; i++) {
        if (!table[i].used) {
            close(table[i].fd);
            if (table[i].key[0] == '/') {
                remove_path(table[i].key);
            }
        }
    }
    forget_table();
}

static void set_variable(unsigned number, struct buf *text)
{
    char name[32];
    if (!text->failed && text->n > 0) {
        setenv(variable_name(number, name, sizeof(name)), text->p, 1);
    }
    text->n = 0;
}

void sockets_export(const struct listener *list)
{
    struct buf text = {0};
    unsigned count = 0, variable = 0;
    char name[32];
    for (const struct listener *l = list; l; l = l->next) {
        if (l->fd < 0) {
            continue;
        }
        fcntl(l->fd, F_SETFD, 0);
        buf_printf(&text, "%s%s=%d", text.n > 0 ? "," : "", l->address.text, l->fd);
        if (++count % PER_VARIABLE == 0) {
            set_variable(variable++, &text);
        }
    }
    if (text.n > 0) {
        set_variable(variable++, &text);
    }
    unsetenv(variable_name(variable, name, sizeof(name)));
    buf_free(&text);
    if (systemd_keys.n > 0) {
        setenv(SYSTEMD_KEYS, systemd_keys.p, 1);
    }
}

void sockets_set_blocking(const struct listener *list, bool blocking)
{
    for (const struct listener *l = list; l; l = l->next) {
        int flags = l->fd >= 0 ? fcntl(l->fd, F_GETFL) : -1;
        if (flags >= 0) {
            fcntl(l->fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
        }
    }
}

void sockets_keep(const struct listener *list)
{
    char name[32];
    for (unsigned i = 0; i < VARIABLES && getenv(variable_name(i, name, sizeof(name))); i++) {
        unsetenv(name);
    }
    unsetenv(SYSTEMD_KEYS);
    for (const struct listener *l = list; l; l = l->next) {
        if (l->fd >= 0) {
            fcntl(l->fd, F_SETFD, FD_CLOEXEC);
        }
    }
}

static void close_one(struct listener *l)
{
    if (l->fd < 0) {
        return;
    }
    close(l->fd);
    l->fd = -1;
    if (l->address.is_unix && l->address.text[0] != '@' && !l->shared) {
        unlink(l->address.text);
    }
}

void sockets_refuse(const struct listener *list)
{
    for (const struct listener *l = list; l; l = l->next) {
        if (l->fd >= 0 && !l->lasts && !l->shared) {
            sock_refuse(l->fd);
        }
    }
}

void sockets_leave(struct listener *list)
{
    for (struct listener *l = list; l; l = l->next) {
        if (!l->lasts) {
            close_one(l);
        }
    }
}

void sockets_close(struct listener *list, const struct pool_conf *pool)
{
    for (struct listener *l = list; l; l = l->next) {
        if (l->pool == pool) {
            close_one(l);
        }
    }
}

/* What another program gave us and nobody listens to any more; systemd does. */
static void remove_dead(const struct listener *l)
{
    if (!l->shared || !l->address.is_unix || l->address.text[0] == '@' || is_systemds(l->address.text)) {
        return;
    }
    int fd = sock_dial(l->address.text, SOCK_NONBLOCK);
    if (fd >= 0) {
        close(fd);
    } else if (errno == ECONNREFUSED) {
        unlink(l->address.text);
    }
}

void sockets_remove(struct listener *list)
{
    for (struct listener *l = list; l; l = l->next) {
        close_one(l);
        remove_dead(l);
    }
}
