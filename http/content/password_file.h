/* A file of htpasswd's: lines of "USER:HASH", empty ones, and comments that begin with #. Read-only once it
 * is made: any thread. */
#ifndef HTTP_CONTENT_PASSWORD_FILE_H
#define HTTP_CONTENT_PASSWORD_FILE_H

#include "engine/base/str.h"

struct password_file;

/* From its text, which is copied. NULL with a sentence in error that names the line. */
struct password_file *password_file_read(struct str text, char *error, size_t size);
void password_file_free(struct password_file *file); /* NULL is fine; wipes it */
/* As long for a user whom nobody knows as for one who is there. Not for a loop. */
bool password_file_admits(const struct password_file *file, struct str user, const char *password);

#endif
