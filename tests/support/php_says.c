#include "tests/support/php_says.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

const char *buf_said(const struct buf *b)
{
    return b->p ? b->p : "";
}

void assert_has(const struct buf *b, const char *part)
{
    if (!strstr(buf_said(b), part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, buf_said(b));
    }
}

void assert_has_not(const struct buf *b, const char *part)
{
    if (strstr(buf_said(b), part)) {
        fail_msg("\"%s\" is in \"%s\"", part, buf_said(b));
    }
}

void assert_says(const char *script, const char *query, const char *body)
{
    struct call c = {.script = script, .query = query};

    call_run(&c);
    if (strcmp(buf_said(&c.body), body) != 0) {
        fail_msg("\"%s\" instead of \"%s\" (%s)", buf_said(&c.body), body, buf_said(&c.messages));
    }
    assert_true(c.finished);
    call_free(&c);
}
