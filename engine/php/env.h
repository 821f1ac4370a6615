/* The environment, virtual: every request sees the pool's, and what it changes with putenv() is its own. The
 * process's real environment is never touched after start-up. */
#ifndef ENGINE_PHP_ENV_H
#define ENGINE_PHP_ENV_H

#include "engine/php/thread.h"

void env_start(void);            /* main thread, after module startup: snapshot, function overrides */
void env_import(HashTable *out); /* the environment as this request sees it */
bool env_has(const char *name, size_t n); /* the pool's: what no request has set */
void env_request_end(void);

/* getenv() of C: the running request's, else the process's. The request's values live until it sets the name
 * anew, or ends. */
char *env_find(const char *name);
/* Whether the running request has set the name, and to what: NULL = it has taken it away. */
bool env_changes(const char *name, const char **value);
/* For a program that this thread starts: the process's own environ, or one made for the request. NULL = no
 * memory. Its strings are only borrowed. */
char **env_vector(void);
void env_vector_free(char **vector);

/* Whether that is the process's own environ, for a program that the request starts. */
bool env_is_process(char *const *vector);

/* environ with another TZ, "TZ=..." or NULL for none, until it is taken back. Both live for ever and differ
 * in nothing else, so who reads one meanwhile finds what else is there. After env_start; one caller at a
 * time. */
void env_lend_zone(char *setting);
void env_take_back(void);

/* The request's variables: one is set as by putenv(), all are copied (NULL = none are set), and put back. */
void env_set(const char *name, const char *value);
HashTable *env_copy(void);
void env_put_back(HashTable *copy);
void env_free_copy(HashTable *copy);
unsigned env_version(void); /* another number after each change on this thread */

#endif
