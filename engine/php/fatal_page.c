/* See fatal_page.h. */
#include "engine/php/fatal_page.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/php/thread.h"

#define SOURCE_MAX   (1 << 20)
#define LINES_AROUND 7

bool fatal_takes_html(const struct request *r)
{
    const struct param *accept = request_param_find(r, STR("HTTP_ACCEPT"));

    return accept && memmem(accept->value, accept->value_len, "text/html", 9);
}

static const char style[] =
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;"
    "padding:0 1rem}h1{font-size:1.3rem;margin:0 0 .5rem;overflow-wrap:anywhere}p{margin:.2rem 0}"
    ".kind{color:#c0392b;font-weight:600}pre{background:#8881;border-radius:.5rem;padding:.8rem;overflow-x:"
    "auto;"
    "font:.875rem/1.5 ui-monospace,monospace}mark{background:#e74c3c44;color:inherit;display:block}"
    "small{opacity:.65}";

static const char *kind_of(const struct fatal_facts *f)
{
    switch (f->type) {
    case FATAL_BOOT: return "The worker script did not boot";
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

static void add_source(struct buf *out, const struct fatal_facts *f)
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
void fatal_page(struct buf *out, const struct fatal_facts *f, const struct request *r)
{
    size_t first = strcspn(f->message, "\n");

    buf_printf(out,
               "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
               "<meta name=\"viewport\" content=\"width=device-width\">\n<title>%s</title>\n"
               "<style>%s</style>\n<p class=\"kind\">%s</p>\n<h1>",
               kind_of(f), style, kind_of(f));
    add_text(out, f->message, first);
    buf_text(out, "</h1>\n");
    if (f->line > 0) {
        buf_text(out, "<p><code>");
        add_text(out, f->file, strlen(f->file));
        buf_printf(out, ":%u</code></p>\n", (unsigned)f->line);
        add_source(out, f);
    }
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
