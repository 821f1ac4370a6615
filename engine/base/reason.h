/* Reason phrases of HTTP's status codes. Any thread; the texts are constants. NULL: there is none. */
#ifndef ENGINE_BASE_REASON_H
#define ENGINE_BASE_REASON_H

const char *reason_http(int status); /* as RFC 9110 and its registry have it: 413 "Content Too Large" */
const char *reason_php(int status);  /* as PHP's servers say it: 413 "Request Entity Too Large" */

#endif
