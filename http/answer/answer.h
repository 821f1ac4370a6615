/* An exchange's answer that the loop gives by itself: a file, a redirect, an error, a page. All on the loop
 * thread. x->delivery.answer lies in the exchange's arena and is released with the exchange, or by the next
 * answer that takes its place; when there is no memory for one, it is a bare 503 that nothing can be added
 * to. */
#ifndef HTTP_ANSWER_ANSWER_H
#define HTTP_ANSWER_ANSWER_H

#include "http/wire/head.h"

struct exchange;
struct rate_verdict;

/* An empty one, also instead of one that is there; NULL: out of memory, and x->delivery.answer is the bare
 * 503. */
struct http_answer *answer_new(struct exchange *x);
void answer_error(struct exchange *x, int status);
/* 405, with the methods that there are for a file, or for a script. */
void answer_method(struct exchange *x, bool file);
/* 401: a name and a password are asked for. */
void answer_challenge(struct exchange *x, const char *realm);
/* What OPTIONS asks of the whole server: 204. */
void answer_options(struct exchange *x);
void answer_redirect(struct exchange *x, int status, struct str location); /* borrows location */
void answer_limited(struct exchange *x, const struct rate_verdict *v);     /* 429; counted */
/* answer_file.c: the file that a script named (x->reply.file), under the script's own head (x->reply.lines).
 */
void answer_script_file(struct exchange *x);
/* The error page, if it is one: what it looks like depends on the head, which is not kept. */
void answer_page(struct exchange *x, const struct http_head *head);
/* Before it leaves: what every response has. */
void answer_seal(struct exchange *x);

#endif
