/* Pages that load themselves anew when the pool's process is another one, because a file has changed
 * (http.live_reload, `serve --watch`). Pages of scripts get a line that loads PATH.js; that script asks for
 * PATH, a stream of server-sent events that names the process in one event and ends; the browser asks again
 * every second. */
#ifndef HTTP_ANSWER_LIVE_RELOAD_H
#define HTTP_ANSWER_LIVE_RELOAD_H

#include <stdbool.h>

#include "http/wire/head.h"

struct exchange;

/* Loop thread. True: x has its answer, the stream or the script. */
bool live_reload_answer(struct exchange *x, const struct http_head *head);
/* Worker's thread, before the answer is finished: the line that this page is to get behind its end, or
 * STR_NONE. The request's memory. */
struct str live_reload_line(struct exchange *x);

#endif
