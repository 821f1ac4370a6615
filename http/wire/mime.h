/* Media types of files, by extension. Any thread. */
#ifndef HTTP_WIRE_MIME_H
#define HTTP_WIRE_MIME_H

#include "engine/base/str.h"

/* The Content-Type of a file of this name, with charset for text; application/octet-stream when unknown. */
struct str mime_of(struct str path);

#endif
