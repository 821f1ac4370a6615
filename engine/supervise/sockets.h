/* The listening sockets: opened here, or inherited, and never closed while a generation may need them.
 * Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_SOCKETS_H
#define ENGINE_SUPERVISE_SOCKETS_H

#include <stdbool.h>

#include "engine/engine.h"

/* Notes what FPM_SOCKETS (php-fpm's and our own re-execution) and LISTEN_FDS (systemd) offer. */
void sockets_inherit(void);
bool sockets_inherited(void);
/* Opens every listener of one pool (inherited ones first). 0 or -1 (reported). */
int sockets_open(const struct pool_conf *pool, struct listener *list);
/* After a try: closes all, and unlinks the unix sockets that were not inherited. */
void sockets_undo(const struct listener *list);
/* Inherited ones that no pool has asked for: closed, unix sockets unlinked. */
void sockets_close_unused(void);
/* Before an execution: all of them into FPM_SOCKETS, inheritable. */
void sockets_export(const struct listener *list);
/* php-fpm's workers block in accept(); ours never do. */
void sockets_set_blocking(const struct listener *list, bool blocking);
/* The execution did not happen: close-on-exec again. */
void sockets_keep(const struct listener *list);
/* The server ends: closes all but those that last, so that who connects is refused as soon as the engine
 * processes have closed theirs, too; who waits in a queue they take in before. Paths of unix sockets are gone
 * at once. Where another program may go on listening, nothing but our own descriptor is touched. */
void sockets_refuse(const struct listener *list); /* first: nobody new gets into a queue */
void sockets_leave(struct listener *list);        /* then: ours are closed */
/* Those of one pool, all of them: no process of it is left. */
void sockets_close(struct listener *list, const struct pool_conf *pool);
/* What was inherited and what systemd gave is not known any more. */
void sockets_forget(void);
/* At exit: close, unlink unix sockets. */
void sockets_remove(struct listener *list);

#endif
