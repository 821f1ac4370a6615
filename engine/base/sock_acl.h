/* POSIX access control lists on unix sockets (listen.acl_users, listen.acl_groups). Supervisor's thread. The
 * only file that includes libacl's headers is sock_acl.c. */
#ifndef ENGINE_BASE_SOCK_ACL_H
#define ENGINE_BASE_SOCK_ACL_H

#include <stddef.h>

/* Read and write permission on the socket for users and groups: comma lists of names or numbers, or NULL. 0,
 * or -1 with a sentence in error (also when the build has no libacl). */
int sock_acl_grant(const char *path, const char *users, const char *groups, char *error, size_t error_size);

#endif
