/* Users and the hashes of their passwords. See the header. */
#include "http/content/password_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/content/password_hash.h"

struct user {
    struct str name;  /* in the text */
    const char *hash; /* there, too; ends with a NUL */
};

struct password_file {
    char *text;
    size_t n;
    struct user *users; /* file order; one at least */
    size_t count, room;
};

void password_file_free(struct password_file *file)
{
    if (file) {
        explicit_bzero(file->text, file->n);
        free(file->text);
        free(file->users);
        free(file);
    }
}

static void add_user(struct password_file *file, struct user user)
{
    if (file->count == file->room) {
        file->room = file->room ? 2 * file->room : 16;
        file->users = xrealloc(file->users, file->room * sizeof *file->users);
    }
    file->users[file->count++] = user;
}

/* A line, which ends with a NUL in place. What is wrong with it, or NULL. */
static const char *take_line(struct password_file *file, char *line)
{
    size_t n = strlen(line);
    while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == ' ' || line[n - 1] == '\t')) {
        line[--n] = '\0';
    }
    if (n == 0 || line[0] == '#') {
        return NULL;
    }
    char *colon = strchr(line, ':');
    if (!colon || colon == line) {
        return "expected USER:HASH";
    }
    char *hash = colon + 1;
    hash[strcspn(hash, ":")] = '\0'; /* what follows a further colon is a comment */
    if (!password_hash_known(hash)) {
        return "no hash of a password that is known here; htpasswd -B makes one";
    }
    add_user(file, (struct user){{line, (size_t)(colon - line)}, hash});
    return NULL;
}

struct password_file *password_file_read(struct str text, char *error, size_t size)
{
    struct password_file *file = xcalloc(1, sizeof *file);
    const char *fault = NULL;
    int line = 0;
    file->n = text.n;
    file->text = xmalloc(text.n + 1);
    memcpy(file->text, text.p, text.n);
    file->text[text.n] = '\0';
    if (memchr(text.p, '\0', text.n)) {
        fault = "it is no text";
    }
    for (char *at = file->text; at && !fault;) {
        char *end = strchr(at, '\n'), *next = end ? end + 1 : NULL;
        if (end) {
            *end = '\0';
        }
        line++;
        fault = take_line(file, at);
        at = next;
    }
    if (fault) {
        snprintf(error, size, "line %d: %s", line, fault);
    } else if (file->count == 0) {
        snprintf(error, size, "no user is in it");
    }
    if (fault || file->count == 0) {
        password_file_free(file);
        return NULL;
    }
    return file;
}

bool password_file_admits(const struct password_file *file, struct str user, const char *password)
{
    const struct user *found = NULL;
    for (size_t i = 0; i < file->count && !found; i++) {
        found = str_eq(file->users[i].name, user) ? &file->users[i] : NULL;
    }
    bool fits = password_hash_fits(found ? found->hash : file->users[0].hash, password);
    return found && fits;
}
