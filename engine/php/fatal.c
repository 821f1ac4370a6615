/* Fatal errors, shown. See the header. PHP would print a line in bold into whatever is on its way; that line
 * is left out where this page takes its place. */
#include "engine/php/fatal.h"

#include "engine/base/buf.h"
#include "engine/php/boot_failure.h"
#include "engine/php/fatal_page.h"
#include "engine/php/thread.h"

#include "php_output.h"

#define FATAL (E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR)

struct fatal {
    struct fatal_facts facts;
    uint8_t display; /* PG(display_errors) before */
    bool begun;      /* there was output already, which the page stands behind */
};

typedef void (*error_function)(int type, zend_string *file, const uint32_t line, zend_string *message);
static error_function before; /* constant once there are threads, as the next */
static bool is_shown;

/* -- noting -- */

static bool is_wanted(const struct php_thread *t, int type)
{
    return t && t->request && !t->fatal && (type & FATAL) && PG(display_errors) && PG(html_errors) &&
           fatal_takes_html(t->request);
}

static bool has_output(void)
{
    zval length;

    return SG(headers_sent) ||
           (OG(active) && php_output_get_length(&length) == SUCCESS && Z_LVAL(length) > 0);
}

static struct fatal *note(struct request *r, int type, const zend_string *file, uint32_t line,
                          const zend_string *message)
{
    struct fatal *f = arena_alloc(r->arena, sizeof *f);

    if (f) {
        *f = (struct fatal){
            .facts = {.type = type,
                      .file = file ? arena_dup(r->arena, ZSTR_VAL(file), ZSTR_LEN(file)) : "",
                      .message = arena_dup(r->arena, ZSTR_VAL(message), ZSTR_LEN(message)),
                      .line = line},
            .display = PG(display_errors),
            .begun = has_output(),
        };
    }
    return f && f->facts.file && f->facts.message ? f : NULL;
}

static void on_error(int type, zend_string *file, const uint32_t line, zend_string *message)
{
    struct php_thread *t = php_thread;

    if (is_wanted(t, type & E_ALL)) {
        t->fatal = note(t->request, type & E_ALL, file, line, message);
        if (t->fatal) {
            PG(display_errors) = 0;
        }
    } else if (t && !t->request && (type & FATAL)) {
        boot_failure_note(t, &(struct fatal_facts){.type = type & E_ALL,
                                                   .file = file ? ZSTR_VAL(file) : "",
                                                   .message = ZSTR_VAL(message),
                                                   .line = line});
    }
    before(type, file, line, message); /* may leave by a long jump */
}

void fatal_init(bool shown)
{
    is_shown = shown;
}

void fatal_watch(void)
{
    if (is_shown && zend_error_cb != on_error) {
        before = zend_error_cb;
        zend_error_cb = on_error;
    }
}

bool fatal_is_shown(void)
{
    return is_shown && PG(display_errors);
}

/* -- showing -- */

/* Of what the script has said of its answer, nothing that is about its body may stay. */
static void set_head(void)
{
    static const char *const dropped[] = {"Content-Length", "Content-Encoding", "ETag", "Last-Modified"};
    static const char type[] = "Content-Type: text/html; charset=utf-8";

    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) {
        sapi_header_line line = {.line = (char *)(uintptr_t)dropped[i], .line_len = strlen(dropped[i])};
        sapi_header_op(SAPI_HEADER_DELETE, &line);
    }
    SG(sapi_headers).http_response_code = 500;
    sapi_add_header_ex((char *)(uintptr_t)type, sizeof type - 1, true, true);
}

void fatal_show(void)
{
    struct php_thread *t = php_thread;
    struct fatal *f = t ? t->fatal : NULL;
    struct buf page = {0};

    if (!f) {
        return;
    }
    t->fatal = NULL;
    PG(display_errors) = f->display;
    if (SG(headers_sent) && !f->begun) {
        return; /* by a page of the application's */
    }
    if (t->request && !t->request->finished && !SG(request_info).headers_only) {
        fatal_page(&page, &f->facts, t->request);
    }
    zend_try
    {
        if (!SG(headers_sent)) {
            set_head();
        }
        if (page.n && !page.failed) {
            PHPWRITE(page.p, page.n);
        }
    }
    zend_end_try();
    buf_free(&page);
}

void fatal_forget(struct php_thread *t)
{
    if (t->fatal) {
        PG(display_errors) = t->fatal->display;
        t->fatal = NULL;
    }
}
