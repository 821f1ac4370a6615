/* What the web server said about one request's script, while it is being worked out. Every change is written
 * to the request's variables at once. Worker's thread; the texts lie in the request's arena. */
#ifndef FCGI_FACTS_H
#define FCGI_FACTS_H

#include "engine/engine.h"

/* A NULL is an absent variable. */
struct facts {
    struct request *r;
    const char *filename, *translated, *info, *name, *redirect, *root; /* current values */
    const char *old_filename, *old_translated, *old_info, *old_name;   /* as received */
    const char *script, *software;
    bool proxied; /* Apache's mod_proxy: a prefix was cut off SCRIPT_FILENAME */
    bool failed;  /* the arena said no */
};

/* Takes the facts from the variables and undoes what IIS and Apache's proxies do to them. false: there is
 * nothing that could name a script. */
bool facts_read(struct facts *f, struct request *r);
/* Sets the variable; NULL removes it. No memory: f->failed. */
void facts_set(struct facts *f, struct str name, const char *value);
/* ORIG_x keeps what x was, if there was one. */
void facts_keep(struct facts *f, struct str orig_name, const char *value);
const char *facts_copy(struct facts *f, const char *p, size_t n); /* "" and f->failed: no memory */
bool facts_same(const char *a, const char *b);                    /* both may be NULL */

#endif
