/* The pages that the server answers itself: ping and status. Which request is one; the engine renders them.
 */
#ifndef FCGI_PAGES_H
#define FCGI_PAGES_H

#include "fcgi/script_policy.h"

/* Sets r->page when r->uri is a page; true if so. */
bool pages_match(struct request *r, const struct script_policy *policy, bool pages_only);
/* Makes the request an answer of our own: a status, a text, and a line for the log (or NULL). */
void pages_error(struct request *r, int status, const char *body, int level, const char *message);

#endif
