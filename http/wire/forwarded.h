/* The lists that proxies write into a request's head, read from the right: the last entry is the nearest
 * proxy's, and each one before it was written by somebody further away, the first perhaps by the client.
 *
 * X-Forwarded-* are plain lists: commas separate, and no character means anything else. Forwarded (RFC 7239)
 * has quoted strings, in which a comma separates nothing; but whoever wrote an entry further left may have
 * left a quote open. So an entry begins at the last comma from which on the rest is a whole element: what was
 * appended last is read as it was written, whatever stands before it.
 *
 * Pure functions over the head's texts, which they borrow; any thread. */
#ifndef HTTP_WIRE_FORWARDED_H
#define HTTP_WIRE_FORWARDED_H

#include "http/wire/head.h"

/* Where the walk is: in one of several fields of that name, which count as one list. */
struct forwarded {
    const struct http_head *head;
    struct str name;
    size_t fields;   /* those before this index are still to come */
    struct str rest; /* of the field that is being read, up to the last entry given */
    bool elements;   /* Forwarded's syntax */
};

void forwarded_begin(struct forwarded *f, const struct http_head *head, struct str name);
/* The next entry to the left, without blanks around it; empty ones are left out. False: there is none. */
bool forwarded_back(struct forwarded *f, struct str *entry);
/* A parameter of an element of Forwarded, without its quotes. STR_NONE: it is not there, or twice, or the
 * element is none. */
struct str forwarded_param(struct str element, struct str name);

#endif
