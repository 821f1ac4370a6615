/* A FastCGI server for tests of the client: a thread that accepts and one for each connection. Keeps
 * connections if asked to. What it does is QUERY_STRING:
 * - small: "hello", at once
 * - page=N: N bytes of text, in records
 * - body: the length of the body
 * - drip=N: N lines, a short rest after each
 * - cut=N: N bytes of text, then closes
 * - close: closes without a word
 * - endless: text until the client goes
 * - never: nothing until the client goes
 * - garbage: bytes that are not FastCGI
 * - late: closes after the answer, though it should keep
 */
#ifndef TESTS_SUPPORT_FCGI_PEER_H
#define TESTS_SUPPORT_FCGI_PEER_H

#include <stddef.h>

struct fcgi_peer;

/* Listens on the unix socket `path`; ends the process if it cannot. */
struct fcgi_peer *fcgi_peer_start(const char *path);
void fcgi_peer_stop(struct fcgi_peer *p); /* closes every connection and waits for every thread */

/* So far. left: answers whose client was gone before their end. */
unsigned fcgi_peer_connections(const struct fcgi_peer *p);
unsigned fcgi_peer_requests(const struct fcgi_peer *p);
unsigned fcgi_peer_left(const struct fcgi_peer *p);

/* The byte at this place of every text: letters, hardly compressible below three quarters. */
char fcgi_peer_text(size_t at);

#endif
