/* Certificates, private keys and files of passwords, read while the server still has the rights to: a key is
 * often readable by root alone, and engine processes are not root. The supervisor reads each file when it
 * checks the configuration, and again when it changes; the engine processes inherit the text by fork, wipe at
 * once what they do not need, and the rest when they have used it. Main thread only. */
#ifndef HTTP_NET_PEM_H
#define HTTP_NET_PEM_H

#include "engine/base/str.h"

/* The file's text, kept until pem_forget(). p == NULL with errno: it cannot be read. */
struct str pem_load(const char *path);
/* Reads a file that is kept once more. True: its text is another one now, which pem_load() gives from here
 * on; the one before it stays at hand until pem_settle(), and until then it is true of whoever asks. False:
 * nothing has changed, or it cannot be read. */
bool pem_renew(const char *path);
void pem_settle(const char *path, bool good); /* not good: the text before pem_renew() counts again */
/* Wipes what was kept, but for the files that are still needed; needs == NULL: all. */
void pem_forget(bool (*needs)(const char *path, const void *ctx), const void *ctx);

#endif
