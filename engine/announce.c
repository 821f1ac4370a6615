#include "engine/announce.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/sock.h"
#include "engine/base/str.h"
#include "engine/supervise/inherited.h"

static bool to_open; /* the first URL that is said */

/* The user's browser is nobody's child of ours: the process between us and it ends at once. */
static void open_browser(const char *url)
{
    const char *program = getenv("BROWSER");
    pid_t pid = fork();

    if (pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (fork() == 0) {
            setsid();
            program = program && *program ? program : "xdg-open";
            execlp(program, program, url, (char *)NULL);
        }
        _exit(0);
    }
    if (pid > 0) {
        waitpid(pid, NULL, 0);
    }
}

static void say(const struct config *config, const char *scheme, const char *host, unsigned port)
{
    const char *root = pool_setting_text(config->pools, "http.document_root"),
               *index = pool_setting_text(config->pools, "http.index");
    bool usual = port == (strcmp(scheme, "https") == 0 ? 443 : 80);
    char number[16] = "";

    if (!usual) {
        snprintf(number, sizeof number, ":%u", port);
    }
    char *url = xasprintf("%s://%s%s/", scheme, host, number);
    log_notice("serving %s at %s%s", root, url,
               index && strncmp(index, "nearest:", 8) == 0
                   ? " (paths without a file run the nearest index.php)"
                   : "");
    if (to_open) {
        open_browser(url);
        to_open = false;
    }
    free(url);
}

/* The addresses of this machine, for a listener on all of them. */
static void say_interfaces(const struct config *config, const char *scheme, unsigned port)
{
    struct ifaddrs *list, *i;

    say(config, scheme, "localhost", port);
    if (getifaddrs(&list) != 0) {
        return;
    }
    for (i = list; i; i = i->ifa_next) {
        char ip[INET_ADDRSTRLEN];
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) &&
            !(i->ifa_flags & IFF_LOOPBACK)) {
            inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, ip, sizeof ip);
            say(config, scheme, ip, port);
        }
    }
    freeifaddrs(list);
}

static bool is_any(const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET ? ((const struct sockaddr_in *)sa)->sin_addr.s_addr == htonl(INADDR_ANY)
                                    : IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static bool is_loopback(const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET
               ? ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) == INADDR_LOOPBACK
               : IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static void say_address(const struct config *config, const char *scheme, const char *text)
{
    struct sock_address address;
    char error[256], ip[INET6_ADDRSTRLEN], host[INET6_ADDRSTRLEN + 2];

    if (strncmp(text, "tls:", 4) == 0) {
        scheme = "https";
        text += 4;
    }
    if (sock_parse(text, &address, error, sizeof error) < 0) {
        return; /* it listens, so this cannot be */
    }
    unsigned port = address.is_unix ? 0 : sock_port(&address.sa);
    if (address.is_unix) {
        log_notice("serving %s on the socket %s", pool_setting_text(config->pools, "http.document_root"),
                   address.text);
    } else if (address.any_family || is_any(&address.sa)) {
        say_interfaces(config, scheme, port);
    } else if (is_loopback(&address.sa)) {
        say(config, scheme, "localhost", port);
    } else {
        sock_ip(&address.sa, ip, sizeof ip);
        snprintf(host, sizeof host, strchr(ip, ':') ? "[%s]" : "%s", ip);
        say(config, scheme, host, port);
    }
}

static void say_list(const struct config *config, const char *scheme, const char *list)
{
    struct str rest = str_of(list), piece;

    while (rest.p && str_split(&rest, ',', &piece)) {
        piece = str_trim(piece);
        char *text = xstrndup(piece.p, piece.n);
        if (*text) {
            say_address(config, scheme, text);
        }
        free(text);
    }
}

void announce(const struct config *config)
{
    enum log_level level = log_get_level();

    log_set_level(level > LEVEL_NOTICE ? LEVEL_NOTICE : level);
    to_open = config->cli->opens && !inherited();
    say_list(config, "http", pool_setting_text(config->pools, "http.listen"));
    say_list(config, "https", pool_setting_text(config->pools, "http.tls_listen"));
    log_set_level(level);
}
