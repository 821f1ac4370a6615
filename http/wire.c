/* Pieces of a response head as text. See the header. */
#include "http/wire.h"

#include <string.h>

#include "engine/base/clock.h"
#include "http/http_date.h"

const struct str wire_server = {"Server: tokiophp\r\n", 18};

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
    {511, "Network Authentication Required"},
};

const char *wire_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Status";
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
        buf_printf(out, "HTTP/1.1 %03d %.*s\r\n", status, (int)(line.n - 13), line.p + 13);
        return;
    }
    buf_printf(out, "HTTP/1.1 %03d %s\r\n", status, wire_reason(status));
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
    return status >= 200 && status != 204 && status != 304;
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
    if (wire_has_body(answer->status)) {
        buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)answer->body_n);
    }
    if (!keep_alive) {
        buf_str(out, STR("Connection: close\r\n"));
    } else if (http10) {
        buf_str(out, STR("Connection: keep-alive\r\n"));
    }
    buf_str(out, STR("\r\n"));
}
