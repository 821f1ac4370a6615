/* The way of a worker through a connection that has something to say. */
#ifndef FCGI_SERVE_H
#define FCGI_SERVE_H

#include "fcgi/conn.h"

/* Worker's thread, the owner. Reads what is there, runs the requests in it, and gives the connection away. */
void fcgi_serve(struct fcgi_conn *c, struct worker *worker);

#endif
