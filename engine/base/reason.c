#include "engine/base/reason.h"

#include <stddef.h>

#define NONE ""

static const struct reason {
    int status;
    const char *http, *php; /* php: NULL is the same */
} reasons[] = {
    {100, "Continue", NULL},
    {101, "Switching Protocols", NULL},
    {103, "Early Hints", NONE},
    {200, "OK", NULL},
    {201, "Created", NULL},
    {202, "Accepted", NULL},
    {203, "Non-Authoritative Information", NULL},
    {204, "No Content", NULL},
    {205, "Reset Content", NULL},
    {206, "Partial Content", NULL},
    {207, "Multi-Status", NONE},
    {300, "Multiple Choices", NULL},
    {301, "Moved Permanently", NULL},
    {302, "Found", NULL},
    {303, "See Other", NULL},
    {304, "Not Modified", NULL},
    {305, NONE, "Use Proxy"},
    {307, "Temporary Redirect", NULL},
    {308, "Permanent Redirect", NULL},
    {400, "Bad Request", NULL},
    {401, "Unauthorized", NULL},
    {402, "Payment Required", NULL},
    {403, "Forbidden", NULL},
    {404, "Not Found", NULL},
    {405, "Method Not Allowed", NULL},
    {406, "Not Acceptable", NULL},
    {407, "Proxy Authentication Required", NULL},
    {408, "Request Timeout", NULL},
    {409, "Conflict", NULL},
    {410, "Gone", NULL},
    {411, "Length Required", NULL},
    {412, "Precondition Failed", NULL},
    {413, "Content Too Large", "Request Entity Too Large"},
    {414, "URI Too Long", "Request-URI Too Long"},
    {415, "Unsupported Media Type", NULL},
    {416, "Range Not Satisfiable", "Requested Range Not Satisfiable"},
    {417, "Expectation Failed", NULL},
    {421, "Misdirected Request", NONE},
    {422, "Unprocessable Content", NONE},
    {423, "Locked", NONE},
    {424, "Failed Dependency", NONE},
    {425, "Too Early", NONE},
    {426, "Upgrade Required", NULL},
    {428, "Precondition Required", NULL},
    {429, "Too Many Requests", NULL},
    {431, "Request Header Fields Too Large", NULL},
    {451, "Unavailable For Legal Reasons", NULL},
    {500, "Internal Server Error", NULL},
    {501, "Not Implemented", NULL},
    {502, "Bad Gateway", NULL},
    {503, "Service Unavailable", NULL},
    {504, "Gateway Timeout", NULL},
    {505, "HTTP Version Not Supported", NULL},
    {506, NONE, "Variant Also Negotiates"},
    {507, "Insufficient Storage", NONE},
    {511, "Network Authentication Required", NULL},
};

static const struct reason *find(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return &reasons[i];
        }
    }
    return NULL;
}

const char *reason_http(int status)
{
    const struct reason *r = find(status);
    return r && r->http[0] ? r->http : NULL;
}

const char *reason_php(int status)
{
    const struct reason *r = find(status);
    const char *text = !r ? NULL : r->php ? r->php : r->http;
    return text && text[0] ? text : NULL;
}
