/* Fatal errors, shown. See the header. PHP would print a line in bold into whatever is on its way; that line
 * is left out where this page takes its place. */
#include "engine/php/fatal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/php/thread.h"

#include "php_output.h"

#define FATAL        (E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR)
#define SOURCE_MAX   (1 << 20)
#define LINES_AROUND 7

struct fatal {
    int type;
    const char *file, *message;
    uint32_t line;
    uint8_t display; /* PG(display_errors) before */
    bool begun;      /* there was output already, which the page stands behind */
};

typedef void (*error_function)(int type, zend_string *file, const uint32_t line, zend_string *message);
static error_function before; /* constant once there are threads, as the next */
static bool is_shown;

/* -- noting -- */

static bool takes_html(const struct request *r)
{
    const struct param *accept = request_param_find(r, STR("HTTP_ACCEPT"));

    return accept && memmem(accept->value, accept->value_len, "text/html", 9);
}

/* A resident's requests have no end of PHP's own: theirs are printed as ever. */
static bool is_wanted(const struct php_thread *t, int type)
{
    return t && t->request && !t->script && !t->fatal && (type & FATAL) && PG(display_errors) &&
           PG(html_errors) && takes_html(t->request);
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
            .type = type,
            .file = file ? arena_dup(r->arena, ZSTR_VAL(file), ZSTR_LEN(file)) : "",
            .message = arena_dup(r->arena, ZSTR_VAL(message), ZSTR_LEN(message)),
            .line = line,
            .display = PG(display_errors),
            .begun = has_output(),
        };
    }
    return f && f->file && f->message ? f : NULL;
}

static void on_error(int type, zend_string *file, const uint32_t line, zend_string *message)
{
    struct php_thread *t = php_thread;

    if (is_wanted(t, type & E_ALL)) {
        t->fatal = note(t->request, type & E_ALL, file, line, message);
        if (t->fatal) {
            PG(display_errors) = 0;
        }
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

/* -- the page -- */

static const char style[] =
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;"
    "padding:0 1rem}h1{font-size:1.3rem;margin:0 0 .5rem;overflow-wrap:anywhere}p{margin:.2rem 0}"
    ".kind{color:#c0392b;font-weight:600}pre{background:#8881;border-radius:.5rem;padding:.8rem;overflow-x:"
    "auto;"
    "font:.875rem/1.5 ui-monospace,monospace}mark{background:#e74c3c44;color:inherit;display:block}"
    "small{opacity:.65}";

static const char *kind_of(const struct fatal *f)
{
    switch (f->type) {
    case E_PARSE: return "Parse error";
    case E_COMPILE_ERROR: return "Compile error";
    default: return strncmp(f->message, "Uncaught ", 9) == 0 ? "Uncaught exception" : "Fatal error";
    }
}

static void add_text(struct buf *out, const char *p, size_t n)
{
    buf_xml(out, (struct str){p, n});
}

/* The file's text, malloc'ed; NULL: it cannot be shown. */
static char *read_source(const char *path, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = NULL;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= SOURCE_MAX &&
        (text = malloc((size_t)st.st_size + 1)) != NULL) {
        ssize_t got = read(fd, text, (size_t)st.st_size);
        *n = got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    return text;
}

static void add_source(struct buf *out, const struct fatal *f)
{
    size_t n = 0;
    char *text = read_source(f->file, &n);
    struct str rest = {text, n}, line;

    if (!text) {
        return;
    }
    buf_text(out, "<pre>");
    for (uint32_t number = 1; number <= f->line + LINES_AROUND && str_split(&rest, '\n', &line); number++) {
        if (number + LINES_AROUND < f->line) {
            continue;
        }
        buf_printf(out, "%s%5u  ", number == f->line ? "<mark>" : "", (unsigned)number);
        add_text(out, line.p, line.n);
        buf_text(out, number == f->line ? "</mark>" : "\n");
    }
    buf_text(out, "</pre>\n");
    free(text);
}

/* "Uncaught E: text in FILE:3\nStack trace:\n#0 ...": the first line is what happened. */
static void add_page(struct buf *out, const struct fatal *f, const struct request *r)
{
    size_t first = strcspn(f->message, "\n");

    buf_printf(out,
               "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
               "<meta name=\"viewport\" content=\"width=device-width\">\n<title>%s</title>\n"
               "<style>%s</style>\n<p class=\"kind\">%s</p>\n<h1>",
               kind_of(f), style, kind_of(f));
    add_text(out, f->message, first);
    buf_text(out, "</h1>\n<p><code>");
    add_text(out, f->file, strlen(f->file));
    buf_printf(out, ":%u</code></p>\n", (unsigned)f->line);
    add_source(out, f);
    if (f->message[first]) {
        buf_text(out, "<pre>");
        add_text(out, f->message + first + 1, strlen(f->message + first + 1));
        buf_text(out, "</pre>\n");
    }
    buf_text(out, "<p><small>");
    add_text(out, r->method ? r->method : "", r->method ? strlen(r->method) : 0);
    buf_text(out, " ");
    add_text(out, r->uri ? r->uri : "", r->uri ? strlen(r->uri) : 0);
    buf_printf(out, ", PHP " PHP_VERSION ". Errors are shown because this is tokiophp serve; "
                    "-d display_errors=0 hides them.</small></p>\n");
}

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
        add_page(&page, f, t->request);
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
