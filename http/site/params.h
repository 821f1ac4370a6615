/* The variables that PHP sees of a request: the fields of its head, the client, the server, the script. Loop
 * thread. They lie in the request's arena and are complete before a worker or another pool gets the request.
 */
#ifndef HTTP_SITE_PARAMS_H
#define HTTP_SITE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "http/wire/head.h"

struct exchange;
struct request;
struct route;

/* All but a body's length that is not known yet, and the fields of x->request that are taken from variables.
 * route: NULL for a page of the pool's. false: the arena is full. */
bool http_params_fill(struct exchange *x, const struct http_head *head, const struct route *route);
/* CONTENT_LENGTH, once n is known. false: the arena is full. */
bool http_params_length(struct request *r, uint64_t n);

#endif
