/* `tokiophp ctl` and `tokiophp top`: a process of its own that talks to a running server's control socket. */
#include "engine/supervise/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/sock.h"
#include "engine/engine.h"
#include "engine/supervise/control_path.h"
#include "engine/supervise/ctl_profile.h"
#include "engine/supervise/supervisor.h"
#include "engine/supervise/top.h"

static int usage(FILE *to)
{
    fputs("Usage: tokiophp ctl [-s SOCKET | -y FILE] COMMAND\n"
          "  status         processes, generations and workers of every pool\n"
          "  health         whether every pool serves; exit code 0 or 70\n"
          "  restart POOL   a new generation for one pool; no request is lost\n"
          "  reload         as SIGUSR2: test the configuration, then take it\n"
          "  reopen         as SIGUSR1: reopen the logs\n"
          "  drain          as SIGQUIT: finish what runs, then end\n"
          "  config         the settings in effect\n"
          "  profile [POOL] [--seconds 10 | --last[=3600]] [--hz 99] [--format folded|speedscope|pprof]\n"
          "                 [--output FILE]\n"
          "                 what the workers spend their time with, or have in the last hour\n"
          "  help           this text\n"
          "Without -s and -y: the configuration's control_socket, else the usual place,\n"
          "/run/tokiophp/control.sock (root) or $XDG_RUNTIME_DIR/tokiophp/control.sock.\n",
          to);
    return EXIT_USAGE;
}

/* Whether it was taken is seen by what comes back. */
static void say(int fd, char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        dprintf(fd, "%s%s", words[i], i + 1 < count ? " " : "\n");
    }
}

/* Prints the answer; the exit code follows its first word. */
static int exchange(int fd, const char *path, char *const *words, int count)
{
    char piece[4096];
    bool first = true, refused = false;
    ssize_t n;
    say(fd, words, count);
    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        refused = refused || (first && n >= 6 && memcmp(piece, "error:", 6) == 0);
        first = false;
        fwrite(piece, 1, (size_t)n, refused ? stderr : stdout);
    }
    bool waited = n < 0 && errno == EAGAIN;
    if (first || waited) {
        return ctl_unanswered(path, waited);
    }
    return refused ? EXIT_SOFTWARE : EXIT_OK;
}

/* The socket that was named, the configuration's, or the usual one; NULL: there is none (reported). Without a
 * configuration that is named or in its usual place there still may be a server (`tokiophp serve`). */
static const char *find_socket(const char *path, const struct cli_options *cli, const char *word)
{
    static char found[PATH_MAX];
    if (path) {
        return path;
    }
    char *file = config_default_path(cli);
    bool readable = cli->config_path || access(file, F_OK) == 0;
    free(file);
    struct config *config = readable ? config_load(cli) : NULL;
    const char *set = config ? config->global.control_socket : NULL;
    bool known = set ? *set != '\0' && (size_t)snprintf(found, sizeof(found), "%s", set) < sizeof(found)
                     : (!readable || config) && control_default_path(found, sizeof(found)) == 0;
    if (config) {
        config_free(config);
    }
    if (!known) {
        fprintf(stderr, "tokiophp %s: no control socket is known; say -s SOCKET or -y FILE\n", word);
    }
    return known ? found : NULL;
}

static int top_usage(FILE *to)
{
    fputs("Usage: tokiophp top [-s SOCKET | -y FILE] [--once]\n"
          "  the running server in a terminal; arrows scroll, s changes the order of workers, / shows only "
          "rows\n"
          "  with a text, q ends it; --once prints one frame\n",
          to);
    return to == stdout ? EXIT_OK : EXIT_USAGE;
}

static int top_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"once", no_argument, NULL, '1'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const char *path = NULL;
    struct cli_options cli = {.daemonize = -1};
    bool once = false;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "s:y:h", options, NULL)) != -1) {
        switch (option) {
        case 's': path = optarg; break;
        case 'y': cli.config_path = optarg; break;
        case '1': once = true; break;
        case 'h': return top_usage(stdout);
        default: return top_usage(stderr);
        }
    }
    if (optind < argc) {
        return top_usage(stderr);
    }
    path = find_socket(path, &cli, argv[0]);
    return path ? top_run(path, once) : EXIT_CONFIG;
}

int ctl_main(int argc, char **argv)
{
    if (strcmp(argv[0], "top") == 0) {
        return top_main(argc, argv);
    }
    static const struct option options[] = {{"seconds", required_argument, NULL, 't'},
                                            {"hz", required_argument, NULL, 'z'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"last", optional_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    struct cli_options cli = {.daemonize = -1};
    struct ctl_profile profile = {.seconds = "10", .hz = "99", .format = "folded"};
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "s:y:ho:", options, NULL)) != -1) {
        switch (option) {
        case 's': path = optarg; break;
        case 'y': cli.config_path = optarg; break;
        case 't': profile.seconds = optarg; break;
        case 'z': profile.hz = optarg; break;
        case 'f': profile.format = optarg; break;
        case 'o': profile.output = optarg; break;
        case 'l': profile.last = optarg ? optarg : "3600"; break;
        case 'h': usage(stdout); return EXIT_OK;
        default: return usage(stderr);
        }
    }
    if (optind >= argc) {
        return usage(stderr);
    }
    if (strcmp(argv[optind], "help") == 0) {
        usage(stdout);
        return EXIT_OK;
    }
    path = find_socket(path, &cli, argv[0]);
    if (!path) {
        return EXIT_CONFIG;
    }
    signal(SIGPIPE, SIG_IGN);
    int fd = sock_dial(path, 0);
    if (fd < 0 && errno == EAGAIN) {
        return ctl_unanswered(path, true);
    }
    if (fd < 0) {
        fprintf(stderr, "tokiophp ctl: no server answers at %s (%s); -s SOCKET or -y FILE names another\n",
                path, strerror(errno));
        return EXIT_SOFTWARE;
    }
    profile.pool = optind + 1 < argc ? argv[optind + 1] : NULL;
    int code = strcmp(argv[optind], "profile") == 0 ? ctl_profile(fd, path, &profile)
                                                    : exchange(fd, path, argv + optind, argc - optind);
    close(fd);
    return code;
}
