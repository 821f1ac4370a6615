/* cgi.fix_pathinfo, which is on by default: the script is the longest leading part of the path that is a
 * file, and PATH_INFO what follows it. At most one stat() for a script that exists. Worker's thread. */
#ifndef FCGI_PATHINFO_H
#define FCGI_PATHINFO_H

#include "fcgi/facts.h"

/* f->script is a path; afterwards it is the script, or NULL: there is none. Sets the request's uri. */
void pathinfo_fix(struct facts *f, const struct cgi_rules *rules);

#endif
