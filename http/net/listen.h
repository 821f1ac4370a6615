/* A loop's view of the listening sockets. Loop thread, but for open. */
#ifndef HTTP_NET_LISTEN_H
#define HTTP_NET_LISTEN_H

struct loop;

int http_listen_open(struct loop *loop);   /* 0 or -1 */
void http_listen_close(struct loop *loop); /* the descriptors stay the supervisor's */
void http_listen_sweep(struct loop *loop); /* resumes what was paused */

#endif
