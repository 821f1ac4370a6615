/* Passwords, as htpasswd keeps them: whatever libcrypt knows (bcrypt, yescrypt, SHA-512, ...), Apache's own
 * "$apr1$", and "{SHA}". The only file that knows libcrypt. Any thread. */
#ifndef HTTP_CONTENT_PASSWORD_HASH_H
#define HTTP_CONTENT_PASSWORD_HASH_H

#include "engine/base/str.h"

#define PASSWORD_MAX    511 /* longer ones fit no hash */
#define PASSWORD_DIGEST 32

/* Can a password be held against this? It costs nothing to ask. */
bool password_hash_known(const char *hash);
/* Takes as long as the hash is meant to take, whether it fits or not: not for a loop. */
bool password_hash_fits(const char *hash, const char *password);
/* What stands for the two in a table that a stranger cannot aim at, and from which they cannot be had back.
 * False: none could be made, and out is nobody's. */
bool password_digest(const unsigned char key[PASSWORD_DIGEST], struct str user, struct str password,
                     unsigned char out[PASSWORD_DIGEST]);
/* A key for it: 0, or -1 if there are no random bytes. */
int password_key(unsigned char key[PASSWORD_DIGEST]);

#endif
