/* Security headers. The fields are chosen once; a response costs one comparison of lengths and letters per
 * field that it has. */
#include "http/content/security_headers.h"
#include "http/http_settings.h"

static void add(struct security_headers *s, struct str name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        s->fields[s->count++] = (struct http_field){name, str_of(value)};
    }
}

void security_headers_init(struct security_headers *s, const struct http_settings *settings)
{
    s->count = 0;
    s->hsts = -1;
    if (!settings->security_headers) {
        return;
    }
    add(s, STR("X-Content-Type-Options"), settings->header_content_type_options);
    add(s, STR("X-Frame-Options"), settings->header_frame_options);
    add(s, STR("Referrer-Policy"), settings->header_referrer_policy);
    add(s, STR("Permissions-Policy"), settings->header_permissions_policy);
    add(s, STR("Content-Security-Policy"), settings->header_csp);
    if (settings->header_hsts != NULL && settings->header_hsts[0] != '\0') {
        s->hsts = (int)s->count;
        add(s, STR("Strict-Transport-Security"), settings->header_hsts);
    }
}

unsigned security_headers_all(const struct security_headers *s, bool https)
{
    unsigned all = (1u << s->count) - 1;
    return s->hsts >= 0 && !https ? all & ~(1u << s->hsts) : all;
}

unsigned security_headers_seen(const struct security_headers *s, struct str name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (str_ieq(s->fields[i].name, name)) {
            return 1u << i;
        }
    }
    return 0;
}

void security_headers_add(const struct security_headers *s, bool https, struct http_answer *out)
{
    unsigned missing = security_headers_all(s, https);
    for (size_t i = 0; i < s->count; i++) {
        if ((missing & 1u << i) && !http_answer_has(out, s->fields[i].name) &&
            out->field_count < sizeof(out->fields) / sizeof(out->fields[0])) {
            out->fields[out->field_count++] = s->fields[i];
        }
    }
}
