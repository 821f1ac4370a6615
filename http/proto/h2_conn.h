/* HTTP/2 connections: nghttp2 is used in h2_*.c and nowhere else. Loop thread only. */
#ifndef HTTP_PROTO_H2_CONN_H
#define HTTP_PROTO_H2_CONN_H

#include "http/answer/exchange.h"
#include "http/net/conn.h"

extern const struct conn_protocol h2_protocol;

/* After an HTTP/1 request with Upgrade: h2c: that one becomes stream 1. 0 or -1. */
int h2_conn_upgrade(struct conn *c, struct exchange *x, struct str settings);

#endif
