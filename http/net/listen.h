/* The listeners of a loop. */
#ifndef HTTP_NET_LISTEN_H
#define HTTP_NET_LISTEN_H

#include "http/net/front.h"

extern const struct loop_part listen_loop_part;

#endif
