/* Pieces of a response head as text. Any thread. */
#ifndef HTTP_WIRE_WIRE_H
#define HTTP_WIRE_WIRE_H

#include "engine/base/buf.h"
#include "engine/base/str.h"
#include "http/wire/head.h"

const char *wire_reason(int status); /* "Not Found"; "Status" for an unknown one */
/* "HTTP/1.1 404 Not Found\r\n"; line: PHP's own status line, or STR_NONE. */
void wire_status(struct buf *out, int status, struct str line);
void wire_status_code(char out[3], int status); /* "404" */
/* "Date: ...\r\n", made once a second and thread. Valid until this thread asks again. */
struct str wire_date(void);
extern const struct str wire_server; /* "Server: tokiophp\r\n" */
/* An answer's whole HTTP/1 head, with its empty line. */
void wire_answer(struct buf *out, const struct http_answer *answer, bool keep_alive, bool http10);
/* May a response of this status have a body? May it say how long it is? */
bool wire_has_body(int status);
bool wire_has_length(int status);
/* May this stand in a response's field? Control characters could end the field, or the head. */
bool wire_value_ok(struct str value);

/* What a script's head may have, whichever way it came and leaves. */
#define WIRE_LINES_MAX 1000
#define WIRE_HEAD_MAX  (64u << 10)

#endif
