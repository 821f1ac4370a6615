/* See boot_failure.h. */
#include "engine/php/boot_failure.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/php/fatal_page.h"
#include "engine/php/thread.h"
#include "engine/work/request.h"

#define SAID_MAX (256 * 1024)

struct boot_failure {
    struct fatal_facts facts; /* texts are malloc's; message NULL = nothing was noted */
    struct buf said;
};

void boot_failure_free(struct php_thread *t)
{
    struct boot_failure *f = t->boot_failure;

    if (f) {
        free((char *)(uintptr_t)f->facts.file);
        free((char *)(uintptr_t)f->facts.message);
        buf_free(&f->said);
        free(f);
        t->boot_failure = NULL;
    }
}

void boot_failure_begin(struct php_thread *t, bool shown)
{
    boot_failure_free(t);
    if (shown) {
        t->boot_failure = calloc(1, sizeof(*t->boot_failure));
    }
    if (t->boot_failure) {
        t->boot_failure->said.limit = SAID_MAX;
    }
}

void boot_failure_note(struct php_thread *t, const struct fatal_facts *facts)
{
    struct boot_failure *f = t->boot_failure;

    if (f && !f->facts.message) {
        f->facts = *facts;
        f->facts.file = strdup(facts->file);
        f->facts.message = f->facts.file ? strdup(facts->message) : NULL;
    }
}

/* What PHP itself prints of a fatal error is in what was noted. What was buffered comes at the script's end.
 */
void boot_failure_said(struct php_thread *t, const char *p, size_t n)
{
    if (t->boot_failure && (!t->boot_failure->facts.message || t->boot_failure->facts.type == FATAL_BOOT)) {
        buf_add(&t->boot_failure->said, p, n);
    }
}

bool boot_failure_end(struct php_thread *t, const char *why)
{
    boot_failure_note(t, &(struct fatal_facts){.type = FATAL_BOOT, .file = "", .message = why});
    return t->boot_failure && t->boot_failure->facts.message;
}

/* -- for clients -- */

static bool is_page(const struct buf *said)
{
    return said->p && (strcasestr(said->p, "<!doctype") || strcasestr(said->p, "<html"));
}

static void add_plain(struct buf *out, const struct boot_failure *f)
{
    buf_printf(out, "%s\n", f->facts.message);
    if (f->facts.line > 0) {
        buf_printf(out, "in %s on line %u\n", f->facts.file, (unsigned)f->facts.line);
    }
}

void boot_failure_answer(const struct php_thread *t, struct request *r)
{
    static const struct header_line html[] = {{"Content-Type: text/html; charset=utf-8", 38, 12}},
                                    plain[] = {{"Content-Type: text/plain; charset=utf-8", 39, 12}};
    const struct boot_failure *f = t->boot_failure;
    bool as_html = fatal_takes_html(r), own = as_html && f->facts.type == FATAL_BOOT && is_page(&f->said);
    const struct response_head head = {
        .status = 500, .lines = as_html ? html : plain, .count = 1, .no_body = r->head_counts};
    struct buf page = {0};

    if (own) {
        buf_add(&page, f->said.p, f->said.n);
    } else if (as_html) {
        fatal_page(&page, &f->facts, r);
    } else {
        add_plain(&page, f);
    }
    if (!own && f->facts.type == FATAL_BOOT && f->said.n) {
        buf_text(&page, as_html ? "<p>What it printed:</p>\n<pre>" : "What it printed:\n");
        if (as_html) {
            buf_xml(&page, (struct str){f->said.p, f->said.n});
            buf_text(&page, "</pre>\n");
        } else {
            buf_add(&page, f->said.p, f->said.n);
        }
    }
    if (request_send_head(r, &head) == 0 && page.n && !page.failed) {
        request_write(r, page.p, page.n);
    }
    buf_free(&page);
}
