/* HTTP/1.0 and 1.1 on connections. Loop thread only. */
#ifndef HTTP_PROTO_H1_CONN_H
#define HTTP_PROTO_H1_CONN_H

#include "http/net/conn.h"

extern const struct conn_protocol h1_protocol;

#endif
