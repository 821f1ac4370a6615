/* What the files of `tokiophp doctor` share: doctor.c looks at the machine, doctor_places.c at what a pool's
 * user may read, doctor_php.c at PHP and at the application. Nobody else includes this. */
#ifndef ENGINE_DOCTOR_PRIVATE_H
#define ENGINE_DOCTOR_PRIVATE_H

#include "engine/engine_settings.h"

/* -- doctor_report.c -- */
/* One line on stdout: what is wrong, and what to do. pool: NULL = the machine's. */
void doctor_found(const struct pool_conf *pool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
unsigned doctor_lines(void); /* so far */

/* -- doctor_places.c -- */
/* The pool's scripts, as its user finds them. */
void doctor_places(const struct config *config, const struct pool_conf *pool);

/* -- doctor_php.c -- */
struct php_facts;
/* PHP as it starts for this pool; NULL: it does not (said), or this build has none. */
struct php_facts *doctor_php_ask(const struct config *config, const struct pool_conf *pool);
void doctor_php_free(struct php_facts *facts); /* NULL is fine */
#define DOCTOR_VALUE 128
/* In out; NULL: no such setting. */
const char *doctor_php_ini(const struct php_facts *facts, const char *name, char out[DOCTOR_VALUE]);
/* Extensions that the application asks for, and OPcache against its files. */
void doctor_php(const struct pool_conf *pool, const struct php_facts *facts);
/* Workers that may run scripts at once. */
static inline int64_t doctor_workers(const struct pool_conf *pool)
{
    return pool->s.max_children + (pool->s.worker_script ? pool->s.worker_num : 0);
}
/* PHP's "128M"; -1 = no limit. */
int64_t doctor_bytes(const char *text);

#endif
