/* A certificate for development, for this machine's own names: mkcert's where that program is, else one that
 * has signed itself. Kept in the user's folder, so that a browser's exception for it lasts. Supervisor's
 * thread. */
#ifndef HTTP_NET_TLS_SELF_SIGNED_H
#define HTTP_NET_TLS_SELF_SIGNED_H

#include <stddef.h>

/* The paths of both, malloc'ed; they are made if they are not there or will soon be out of date. 0, or -1
 * with the reason. */
int tls_self_signed(char **cert, char **key, char *error, size_t error_size);

#endif
