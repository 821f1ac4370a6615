/* Pieces of a response head as text. See the header. */
#include "http/wire/wire.h"

#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/reason.h"
#include "http/wire/http_date.h"

const struct str wire_server = {"Server: tokiophp\r\n", 18};

const char *wire_reason(int status)
{
    const char *text = reason_http(status);
    return text ? text : "Status";
}

void wire_status_code(char out[3], int status)
{
    out[0] = (char)('0' + status / 100 % 10);
    out[1] = (char)('0' + status / 10 % 10);
    out[2] = (char)('0' + status % 10);
}

/* What follows "HTTP/1.1 ". */
static void add_code_and_reason(struct buf *out, int status, struct str reason)
{
    char code[3];
    wire_status_code(code, status);
    buf_add(out, code, sizeof code);
    buf_str(out, STR(" "));
    buf_str(out, reason);
    buf_str(out, STR("\r\n"));
}

void wire_status(struct buf *out, int status, struct str line)
{
    if (status == 200 && !line.p) {
        buf_str(out, STR("HTTP/1.1 200 OK\r\n"));
        return;
    }
    /* PHP's own reason, if it is a whole status line: "HTTP/1.1 418 I'm a teapot". */
    if (line.n > 13 && memcmp(line.p, "HTTP/", 5) == 0 && line.p[8] == ' ' && line.p[12] == ' ' &&
        !memchr(line.p, '\n', line.n) && !memchr(line.p, '\r', line.n)) {
        buf_str(out, STR("HTTP/1.1 "));
        add_code_and_reason(out, status, (struct str){line.p + 13, line.n - 13});
        return;
    }
    buf_str(out, STR("HTTP/1.1 "));
    add_code_and_reason(out, status, str_of(wire_reason(status)));
}

struct str wire_date(void)
{
    static _Thread_local int64_t made_for = -1;
    static _Thread_local char text[6 + HTTP_DATE_N + 3];
    int64_t now = (int64_t)(clock_wall_us() / CLOCK_US_PER_SECOND);
    if (now != made_for) {
        memcpy(text, "Date: ", 6);
        http_date_print(now, text + 6);
        memcpy(text + 6 + HTTP_DATE_N, "\r\n", 3);
        made_for = now;
    }
    return (struct str){text, 6 + HTTP_DATE_N + 2};
}

bool wire_has_body(int status)
{
    return wire_has_length(status) && status != 205;
}

bool wire_has_length(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

bool wire_value_ok(struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

void wire_answer(struct buf *out, const struct http_answer *answer, bool keep_alive, bool http10)
{
    wire_status(out, answer->status, STR_NONE);
    buf_str(out, wire_date());
    buf_str(out, wire_server);
    for (size_t i = 0; i < answer->field_count; i++) {
        buf_str(out, answer->fields[i].name);
        buf_str(out, STR(": "));
        buf_str(out, answer->fields[i].value);
        buf_str(out, STR("\r\n"));
    }
    if (answer->lines.n) {
        buf_str(out, answer->lines);
    }
    if (wire_has_body(answer->status)) {
        buf_str(out, STR("Content-Length: "));
        buf_u64(out, answer->body_n);
        buf_str(out, STR("\r\n"));
    }
    if (!keep_alive) {
        buf_str(out, STR("Connection: close\r\n"));
    } else if (http10) {
        buf_str(out, STR("Connection: keep-alive\r\n"));
    }
    buf_str(out, STR("\r\n"));
}
