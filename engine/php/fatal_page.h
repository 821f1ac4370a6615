/* The page that shows what a script died of: the message, the lines around the place, the trace. Any thread;
 * asks PHP nothing. */
#ifndef ENGINE_PHP_FATAL_PAGE_H
#define ENGINE_PHP_FATAL_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/engine.h"

#define FATAL_BOOT 0 /* no error of PHP's: a worker script ended before its time */

struct fatal_facts {
    int type; /* E_PARSE ..., or FATAL_BOOT */
    const char *file, *message;
    uint32_t line; /* 0 = no place is known */
};

bool fatal_takes_html(const struct request *r); /* its client does */
void fatal_page(struct buf *out, const struct fatal_facts *f, const struct request *r);

#endif
