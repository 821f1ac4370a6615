/* Variables that the server adds to those of a request. */
#ifndef ENGINE_PHP_VARS_OWN_H
#define ENGINE_PHP_VARS_OWN_H

#include "engine/php/names.h"
#include "engine/php/thread.h"

#define VARS_OWN_MOST 7

struct vars_own {
    size_t count;
    struct own_variable {
        enum name name;
        const char *value;
        size_t n;
    } list[VARS_OWN_MOST];
    char worker_id[16];
};
/* In the order in which they stand. The texts are the request's, or in *own. */
void vars_own(struct request *r, struct vars_own *own);

/* PHP_SELF: the script's address, and what stands behind it. */
struct vars_self {
    struct param param;
    zend_string *both; /* NULL, or where the value is */
};
void vars_self(const struct request *r, struct vars_self *self);
void vars_self_free(struct vars_self *self);

/* It reaches no script: a client could name a proxy for those that trust it. */
static inline bool vars_is_hidden(const struct param *p)
{
    return p->name_len == sizeof("HTTP_PROXY") - 1 && memcmp(p->name, "HTTP_PROXY", p->name_len) == 0;
}

#endif
