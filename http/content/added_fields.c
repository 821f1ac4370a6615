/* Fields of every response. They are chosen once; a response costs one comparison of lengths and letters per
 * field that it has. */
#include "http/content/added_fields.h"
#include "http/http_settings.h"
#include "http/wire/h1_parse.h"
#include "http/wire/wire.h"

#define SECURITY_FIELDS 6

static void add(struct added_fields *s, struct str name, const char *value)
{
    if (value && *value && s->count < ADDED_FIELDS_MAX && !added_fields_seen(s, name)) {
        s->fields[s->count++] = (struct http_field){name, str_of(value)};
    }
}

static void add_security(struct added_fields *s, const struct http_settings *settings)
{
    add(s, STR("X-Content-Type-Options"), settings->header_content_type_options);
    add(s, STR("X-Frame-Options"), settings->header_frame_options);
    add(s, STR("Referrer-Policy"), settings->header_referrer_policy);
    add(s, STR("Permissions-Policy"), settings->header_permissions_policy);
    add(s, STR("Content-Security-Policy"), settings->header_csp);
    add(s, STR("Strict-Transport-Security"), settings->header_hsts);
}

void added_fields_init(struct added_fields *s, const struct http_settings *settings)
{
    s->count = 0;
    for (const struct setting_pair *pair = settings->add_header; pair; pair = pair->next) {
        add(s, str_of(pair->key), pair->value);
    }
    if (settings->security_headers) {
        add_security(s, settings);
    }
    s->tls_only = added_fields_seen(s, STR("Strict-Transport-Security"));
}

const char *added_fields_fault(const struct http_settings *settings)
{
    static const struct str ours[] = {
        {"Connection", 10},    {"Keep-Alive", 10},       {"Transfer-Encoding", 17},
        {"Upgrade", 7},        {"Trailer", 7},           {"Content-Length", 14},
        {"Date", 4},           {"Content-Encoding", 16}, {"TE", 2},
        {"Content-Range", 13},
    };
    size_t count = 0;
    for (const struct setting_pair *pair = settings->add_header; pair; pair = pair->next) {
        struct str name = str_of(pair->key);
        if (!h1_parse_token(name) || !wire_value_ok(str_of(pair->value))) {
            return "this is no field of a response";
        }
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
            if (str_ieq(ours[i], name)) {
                return "this field belongs to the server";
            }
        }
        if (++count > ADDED_FIELDS_MAX - SECURITY_FIELDS) {
            return "these are too many";
        }
    }
    return NULL;
}

unsigned added_fields_all(const struct added_fields *s, bool https)
{
    unsigned all = (1u << s->count) - 1;
    return https ? all : all & ~s->tls_only;
}

unsigned added_fields_seen(const struct added_fields *s, struct str name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (str_ieq(s->fields[i].name, name)) {
            return 1u << i;
        }
    }
    return 0;
}

void added_fields_add(const struct added_fields *s, bool https, struct http_answer *out)
{
    unsigned missing = added_fields_all(s, https);
    for (size_t i = 0; i < s->count; i++) {
        if ((missing & 1u << i) && !http_answer_has(out, s->fields[i].name) &&
            out->field_count < sizeof(out->fields) / sizeof(out->fields[0])) {
            out->fields[out->field_count++] = s->fields[i];
        }
    }
}
