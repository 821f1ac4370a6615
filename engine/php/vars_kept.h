/* $_SERVER of a worker script's last requests, kept for the next one: nearly always there was one with the
 * same variables in the same order, and most of them have the same value. */
#ifndef ENGINE_PHP_VARS_KEPT_H
#define ENGINE_PHP_VARS_KEPT_H

#include "engine/php/thread.h"

#define VARS_KEPT 4 /* clients send different fields */

struct vars_kept {
    struct vars_table {
        HashTable *rows;      /* PHP's memory; NULL = none */
        uint32_t first, end;  /* the parameters begin at row `first`; behind `end` are PHP's own */
        unsigned environment; /* env_version() when it was made */
    } tables[VARS_KEPT];
    unsigned next; /* the place of the next one */
};

/* *array becomes one of the tables, with the values of this request. False: it must be made. */
bool vars_kept_use(struct vars_kept *kept, struct request *r, zval *array);
/* One that was just made for r. first: how many rows it had before the parameters. */
void vars_kept_note(struct vars_kept *kept, struct request *r, const zval *array, uint32_t first);
void vars_kept_drop(struct vars_kept *kept);

#endif
