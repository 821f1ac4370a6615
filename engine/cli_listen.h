/* --listen of `serve`: addresses as users type them. */
#ifndef ENGINE_CLI_LISTEN_H
#define ENGINE_CLI_LISTEN_H

#include <stdbool.h>

/* Lists with commas, malloc'ed; NULL = none. */
struct cli_addresses {
    char *plain, *tls;
};

/* text: pieces with commas between, each a port (for this machine alone), a host (on port 8080, with TLS
 * 8443), HOST:PORT, a path, or one of these behind "tls:"; all_tls: as if all were. */
struct cli_addresses cli_listen(const char *text, bool all_tls);

#endif
