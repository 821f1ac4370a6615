/* The environment, virtual: every request sees the pool's, and what it changes with putenv() is its own. The
 * process's real environment is never touched after start-up. */
#ifndef ENGINE_PHP_ENV_H
#define ENGINE_PHP_ENV_H

#include "engine/php/thread.h"

void env_start(void);            /* main thread, after module startup: snapshot, function overrides */
void env_import(HashTable *out); /* the environment as this request sees it */
void env_request_end(void);

/* getenv() of C: the running request's, else the process's. The request's values live until it sets the name
 * anew, or ends. */
char *env_find(const char *name);
/* For a program that this thread starts: the process's own environ, or one made for the request. NULL = no
 * memory. Its strings are only borrowed. */
char **env_vector(void);
void env_vector_free(char **vector);

/* The request's variables: one is set as by putenv(), all are copied (NULL = none are set), and put back. */
void env_set(const char *name, const char *value);
HashTable *env_copy(void);
void env_put_back(HashTable *copy);
void env_free_copy(HashTable *copy);

#endif
