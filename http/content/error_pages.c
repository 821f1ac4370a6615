/* Error pages: read once, handed out by pointer. Page files are small by nature, and bounded here. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "http/content/error_pages.h"
#include "http/content/file_cache.h"
#include "http/wire/wire.h"

#define PAGE_MAX (256 * 1024)
#define FIRST    400
#define LAST     599

struct error_pages {
    struct str pages[LAST - FIRST + 1]; /* malloc'ed; p == NULL: none */
    struct str classes[2];              /* 4xx.html, 5xx.html */
};

/* Where the file of this name belongs; NULL: it is no page. */
static struct str *slot_of(struct error_pages *pages, const char *name)
{
    if (strlen(name) != 8 || strcmp(name + 3, ".html") != 0 || (name[0] != '4' && name[0] != '5')) {
        return NULL;
    }
    if (name[1] == 'x' && name[2] == 'x') {
        return &pages->classes[name[0] - '4'];
    }
    if (name[1] < '0' || name[1] > '9' || name[2] < '0' || name[2] > '9') {
        return NULL;
    }
    return &pages->pages[(name[0] - '0') * 100 + (name[1] - '0') * 10 + (name[2] - '0') - FIRST];
}

static void read_page(int dir_fd, const char *dir, const char *name, struct str *slot)
{
    struct stat st;
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        log_sys(LEVEL_WARNING, "cannot read the error page %s/%s", dir, name);
    } else if (!S_ISREG(st.st_mode) || st.st_size > PAGE_MAX) {
        log_warning("the error page %s/%s is left out: not a file of at most %d KB", dir, name,
                    PAGE_MAX / 1024);
    } else if (st.st_size > 0) {
        char *text = malloc((size_t)st.st_size);
        if (text != NULL && file_read(fd, text, (size_t)st.st_size, 0)) {
            *slot = (struct str){text, (size_t)st.st_size};
        } else {
            free(text);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

struct error_pages *error_pages_load(const char *dir)
{
    struct error_pages *pages = calloc(1, sizeof(*pages));
    if (pages == NULL || dir == NULL || dir[0] == '\0') {
        return pages;
    }
    DIR *listing = opendir(dir);
    if (listing == NULL) {
        log_sys(LEVEL_WARNING, "cannot read http.error_pages_dir %s", dir);
        return pages;
    }
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        struct str *slot = slot_of(pages, entry->d_name);
        if (slot != NULL) {
            read_page(dirfd(listing), dir, entry->d_name, slot);
        }
    }
    closedir(listing);
    return pages;
}

void error_pages_destroy(struct error_pages *pages)
{
    if (pages == NULL) {
        return;
    }
    for (size_t i = 0; i < sizeof(pages->pages) / sizeof(pages->pages[0]); i++) {
        free((char *)pages->pages[i].p);
    }
    free((char *)pages->classes[0].p);
    free((char *)pages->classes[1].p);
    free(pages);
}

/* q=0, q=0.0 ...: this is refused. */
static bool refused(struct str parameters)
{
    struct str parameter;
    while (str_split(&parameters, ';', &parameter)) {
        parameter = str_trim(parameter);
        if (parameter.n < 3 || (parameter.p[0] | 0x20) != 'q' || parameter.p[1] != '=') {
            continue;
        }
        size_t i = 2;
        while (i < parameter.n && (parameter.p[i] == '0' || parameter.p[i] == '.')) {
            i++;
        }
        return i == parameter.n;
    }
    return false;
}

bool error_pages_html_accepted(const struct http_head *head, bool explicit)
{
    const struct http_field *accept = head != NULL ? http_head_find(head, STR("Accept")) : NULL;
    if (accept == NULL) {
        return !explicit;
    }
    struct str rest = accept->value, item;
    bool wide = false;
    while (str_split(&rest, ',', &item)) {
        struct str type = STR_NONE;
        str_split(&item, ';', &type);
        type = str_trim(type);
        if (str_ieq(type, STR("text/html"))) {
            return !refused(item);
        }
        if (str_eq(type, STR("*/*")) || str_ieq(type, STR("text/*"))) {
            wide |= !refused(item);
        }
    }
    return wide && !explicit;
}

struct str error_pages_custom(const struct error_pages *pages, const struct http_head *head, int status)
{
    if (pages == NULL || status < FIRST || status > LAST) {
        return STR_NONE;
    }
    struct str page = pages->pages[status - FIRST];
    if (page.p == NULL) {
        page = pages->classes[status / 100 - 4];
    }
    return page.p != NULL && error_pages_html_accepted(head, false) ? page : STR_NONE;
}

struct str error_pages_own(int status, bool html, const char *id, struct arena *arena)
{
    const char *text = wire_reason(status);
    bool named = status >= 500 && id != NULL && id[0] != '\0';
    if (!html) {
        return str_of(arena_printf(arena, "%d %s\n%s%s%s", status, text, named ? "Request " : "",
                                   named ? id : "", named ? "\n" : ""));
    }
    return str_of(
        arena_printf(arena,
                     "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width\">\n<title>%d %s</title>\n"
                     "<style>:root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;"
                     "margin:20vh auto;max-width:30rem;padding:0 1rem;text-align:center}"
                     "h1{font-size:4rem;margin:0;opacity:.4}small{opacity:.6;word-break:break-all}</style>\n"
                     "<h1>%d</h1>\n<p>%s</p>\n%s%s%s",
                     status, text, status, text, named ? "<p><small>Request " : "", named ? id : "",
                     named ? "</small></p>\n" : ""));
}

void error_pages_fill(const struct error_pages *pages, const struct http_head *head, const char *id,
                      struct arena *arena, struct http_answer *out)
{
    if (out->status < FIRST || out->status > LAST || out->body_n > 0 ||
        out->field_count == sizeof(out->fields) / sizeof(out->fields[0])) {
        return;
    }
    bool html = true;
    struct str page = error_pages_custom(pages, head, out->status);
    if (page.p == NULL) {
        html = error_pages_html_accepted(head, true);
        page = error_pages_own(out->status, html, id, arena);
    }
    struct http_piece *piece = arena_alloc(arena, sizeof(*piece));
    if (page.p == NULL || piece == NULL) {
        return;
    }
    out->fields[out->field_count++] = (struct http_field){
        STR("Content-Type"), html ? STR("text/html; charset=utf-8") : STR("text/plain; charset=utf-8")};
    out->body_n = page.n;
    out->no_body |= head != NULL && str_eq(head->method, STR("HEAD"));
    if (!out->no_body) {
        *piece = (struct http_piece){.p = page.p, .fd = -1, .n = page.n};
        out->pieces = piece;
        out->piece_count = 1;
    }
}
