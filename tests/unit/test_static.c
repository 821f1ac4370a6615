/* Answers for static files: fields, conditions, ranges, codings, and files that change under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "http/content/file_cache.h"
#include "http/content/helper_pool.h"
#include "http/content/static.h"
#include "http/http_settings.h"
#include "http/wire/mime.h"

static char dir[PATH_MAX];
static const struct http_settings usual = {.compression = true,
                                           .compress_min = 256,
                                           .gzip_level = 6,
                                           .brotli_level = 4,
                                           .zstd_level = 3,
                                           .static_cache_ttl = 86400,
                                           .static_memory = 8 << 20};

static struct helper_pool *helpers;

static struct static_files *open_files(const struct http_settings *settings)
{
    helpers = helper_pool_create(1);
    assert_non_null(helpers);
    return static_files_create(settings, helpers);
}

static void close_files(struct static_files *s)
{
    helper_pool_stop(helpers);
    static_files_destroy(s);
    helper_pool_destroy(helpers);
}

static int make_dir(void **state)
{
    (void)state;
    char template[] = "/tmp/test_static.XXXXXX";
    assert_non_null(mkdtemp(template));
    assert_non_null(realpath(template, dir));
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[PATH_MAX + 16];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

/* A file of n bytes of text, `age` seconds old, so that the cache keeps it. */
static struct str file_of(const char *name, size_t n, int age)
{
    static _Thread_local char path[PATH_MAX + 64];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < n; i++) {
        fputc("0123456789"[i % 10], file);
    }
    fclose(file);
    struct timespec times[2] = {{time(NULL) - age, 0}, {time(NULL) - age, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    return str_of(path);
}

/* One answer, with its fields and body flattened. */
struct got {
    int status;
    char fields[2048];
    char body[65536];
    size_t body_n;
    uint64_t announced;
    bool from_memory;
};

static const char *field_of(const struct got *got, const char *name)
{
    static _Thread_local char value[256];
    char want[64];
    snprintf(want, sizeof(want), "\n%s: ", name);
    const char *at = strstr(got->fields, want);
    if (at == NULL) {
        return "";
    }
    at += strlen(want);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\n"), at);
    return value;
}

static void collect(const struct http_answer *answer, struct got *got)
{
    size_t n = (size_t)snprintf(got->fields, sizeof(got->fields), "\n");
    for (size_t i = 0; i < answer->field_count; i++) {
        n += (size_t)snprintf(got->fields + n, sizeof(got->fields) - n, "%.*s: %.*s\n",
                              (int)answer->fields[i].name.n, answer->fields[i].name.p,
                              (int)answer->fields[i].value.n, answer->fields[i].value.p);
    }
    for (size_t i = 0; i < answer->piece_count; i++) {
        const struct http_piece *piece = &answer->pieces[i];
        assert_true(got->body_n + piece->n <= sizeof(got->body));
        if (piece->fd < 0) {
            memcpy(got->body + got->body_n, piece->p, piece->n);
            got->from_memory = true;
        } else {
            assert_true(file_read(piece->fd, got->body + got->body_n, piece->n, piece->offset));
        }
        got->body_n += piece->n;
    }
    got->status = answer->status;
    got->announced = answer->body_n;
    assert_true(answer->no_body || got->announced == got->body_n);
}

static const struct static_said *said; /* by a script that named the file; NULL = nothing */

/* fields: "Name: value\n..." */
static void ask(struct static_files *s, const char *method, struct str path, const char *fields,
                struct got *got)
{
    char text[1024], *state = NULL;
    struct http_head head;
    struct http_answer answer;
    struct arena *arena = arena_create(1 << 20);
    memset(&head, 0, sizeof(head));
    memset(got, 0, sizeof(*got));
    head.method = str_of(method);
    snprintf(text, sizeof(text), "%s", fields);
    for (char *line = strtok_r(text, "\n", &state); line != NULL; line = strtok_r(NULL, "\n", &state)) {
        char *colon = strchr(line, ':');
        head.fields[head.field_count].name = (struct str){line, (size_t)(colon - line)};
        head.fields[head.field_count++].value = str_trim(str_of(colon + 1));
    }
    static_answer(s, &head, path, said, arena, &answer);
    collect(&answer, got);
    if (answer.release != NULL) {
        answer.release(answer.held);
    }
    arena_destroy(arena);
}

static void test_plain(void **state)
{
    (void)state;
    struct static_files *s = open_files(&usual);
    struct got got;
    struct str path = file_of("a.css", 10, 100);
    ask(s, "GET", path, "", &got);
    assert_int_equal(got.status, 200);
    assert_memory_equal(got.body, "0123456789", 10);
    assert_int_equal(got.body_n, 10);
    assert_true(got.from_memory);
    assert_string_equal(field_of(&got, "Content-Type"), "text/css; charset=utf-8");
    assert_string_equal(field_of(&got, "Cache-Control"), "public, max-age=86400");
    assert_int_equal(strlen(field_of(&got, "Expires")), 29);
    assert_int_equal(strlen(field_of(&got, "Last-Modified")), 29);
    assert_string_equal(field_of(&got, "Accept-Ranges"), "bytes");
    assert_string_equal(field_of(&got, "Vary"), ""); /* too small to be compressed: not negotiable */
    ask(s, "HEAD", path, "", &got);
    assert_int_equal(got.status, 200);
    assert_int_equal(got.announced, 10);
    assert_int_equal(got.body_n, 0);
    ask(s, "GET", file_of("empty.txt", 0, 100), "", &got);
    assert_int_equal(got.status, 200);
    assert_int_equal(got.body_n, 0);
    ask(s, "GET", str_of("/nowhere/x"), "", &got);
    assert_int_equal(got.status, 404);
    ask(s, "GET", str_of(dir), "", &got);
    assert_true(got.status == 403 || got.status == 404);
    close_files(s);
    struct http_settings off = usual;
    off.static_cache_ttl = 0;
    s = open_files(&off);
    ask(s, "GET", file_of("a.css", 10, 100), "", &got);
    assert_string_equal(field_of(&got, "Cache-Control"), "");
    assert_string_equal(field_of(&got, "Expires"), "");
    close_files(s);
    off.static_cache_ttl = STATIC_NO_CACHE;
    s = open_files(&off);
    ask(s, "GET", file_of("a.css", 10, 100), "", &got);
    assert_string_equal(field_of(&got, "Cache-Control"), "no-cache");
    assert_string_equal(field_of(&got, "Expires"), "");
    assert_string_not_equal(field_of(&got, "ETag"), "");
    close_files(s);
}

static void test_conditions(void **state)
{
    (void)state;
    struct static_files *s = open_files(&usual);
    struct got got;
    char fields[256], etag[64];
    struct str path = file_of("b.txt", 1000, 100);
    ask(s, "GET", path, "", &got);
    strcpy(etag, field_of(&got, "ETag"));
    snprintf(fields, sizeof(fields), "If-None-Match: %s", etag);
    ask(s, "GET", path, fields, &got);
    assert_int_equal(got.status, 304);
    assert_int_equal(got.body_n, 0);
    assert_string_equal(field_of(&got, "ETag"), etag);
    assert_string_equal(field_of(&got, "Vary"), "Accept-Encoding");
    assert_string_equal(field_of(&got, "Content-Type"), "");
    snprintf(fields, sizeof(fields), "If-Match: \"x\"");
    ask(s, "GET", path, fields, &got);
    assert_int_equal(got.status, 412);
    snprintf(fields, sizeof(fields), "If-Range: %s\nRange: bytes=1-2", etag);
    ask(s, "GET", path, fields, &got);
    assert_int_equal(got.status, 206);
    ask(s, "GET", path, "If-Range: \"x\"\nRange: bytes=1-2", &got);
    assert_int_equal(got.status, 200);
    assert_int_equal(got.body_n, 1000);
    close_files(s);
}

static void test_ranges(void **state)
{
    (void)state;
    struct static_files *s = open_files(&usual);
    struct got got;
    struct str path = file_of("c.txt", 1000, 100);
    ask(s, "GET", path, "Range: bytes=10-14\nAccept-Encoding: br", &got);
    assert_int_equal(got.status, 206);
    assert_string_equal(field_of(&got, "Content-Range"), "bytes 10-14/1000");
    assert_string_equal(field_of(&got, "Content-Encoding"), "");
    assert_int_equal(got.body_n, 5);
    assert_memory_equal(got.body, "01234", 5);
    ask(s, "GET", path, "Range: bytes=1000-", &got);
    assert_int_equal(got.status, 416);
    assert_string_equal(field_of(&got, "Content-Range"), "bytes */1000");
    assert_string_equal(field_of(&got, "Content-Type"), "");
    ask(s, "HEAD", path, "Range: bytes=0-1", &got);
    assert_int_equal(got.status, 200);
    assert_int_equal(got.announced, 1000);
    ask(s, "GET", path, "Range: bytes=0-1,-2", &got);
    assert_int_equal(got.status, 206);
    const char *type = field_of(&got, "Content-Type");
    assert_int_equal(strncmp(type, "multipart/byteranges; boundary=", 31), 0);
    char expected[1024];
    snprintf(
        expected, sizeof(expected),
        "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-1/1000\r\n\r\n01\r\n"
        "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 998-999/1000\r\n\r\n89\r\n"
        "--%s--\r\n",
        type + 31, type + 31, type + 31);
    assert_int_equal(got.body_n, strlen(expected));
    assert_memory_equal(got.body, expected, got.body_n);
    close_files(s);
}

/* The first answer is plain, a later one compressed by the helper; each coding has its own ETag. */
static void test_codings(void **state)
{
    (void)state;
    struct static_files *s = open_files(&usual);
    struct got got;
    char plain[64];
    struct str path = file_of("d.js", 20000, 100);
    ask(s, "GET", path, "", &got);
    assert_string_equal(field_of(&got, "Vary"), "Accept-Encoding");
    strcpy(plain, field_of(&got, "ETag"));
    static const char *const codings[] = {"br", "gzip", "zstd"};
    for (size_t i = 0; i < 3; i++) {
        char accept[64];
        snprintf(accept, sizeof(accept), "Accept-Encoding: %s", codings[i]);
        for (int tries = 0; tries < 500; tries++) {
            ask(s, "GET", path, accept, &got);
            if (field_of(&got, "Content-Encoding")[0] != '\0') {
                break;
            }
            assert_int_equal(got.body_n, 20000);
            usleep(10000);
        }
        assert_string_equal(field_of(&got, "Content-Encoding"), codings[i]);
        assert_string_equal(field_of(&got, "Vary"), "Accept-Encoding");
        assert_string_not_equal(field_of(&got, "ETag"), plain);
        assert_true(got.body_n < 2000);
    }
    ask(s, "GET", path, "", &got);
    assert_int_equal(got.body_n, 20000);
    ask(s, "GET", file_of("e.png", 20000, 100), "Accept-Encoding: br", &got);
    assert_string_equal(field_of(&got, "Vary"), "");
    close_files(s);
}

static void test_siblings(void **state)
{
    (void)state;
    struct static_files *s = open_files(&usual);
    struct got got;
    file_of("f.css.gz", 7, 100);
    file_of("f.css.br", 5, 100000); /* left over: older than the file */
    struct str path = file_of("f.css", 100, 100);
    ask(s, "GET", path, "Accept-Encoding: gzip, br", &got);
    assert_string_equal(field_of(&got, "Content-Encoding"), "gzip");
    assert_int_equal(got.body_n, 7);
    assert_string_equal(field_of(&got, "Content-Type"), "text/css; charset=utf-8");
    ask(s, "GET", path, "", &got);
    assert_int_equal(got.body_n, 100);
    assert_string_equal(field_of(&got, "Vary"), "Accept-Encoding");
    close_files(s);
    /* a sibling that is a link elsewhere is not sent */
    char link[PATH_MAX + 32];
    snprintf(link, sizeof(link), "%s/g.css.gz", dir);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    s = open_files(&usual);
    ask(s, "GET", file_of("g.css", 100, 100), "Accept-Encoding: gzip", &got);
    assert_string_equal(field_of(&got, "Content-Encoding"), "");
    close_files(s);
}

static void test_change(void **state)
{
    (void)state;
    struct static_files *s = open_files(&usual);
    struct got got;
    char etag[64];
    struct str path = file_of("h.txt", 100, 100);
    ask(s, "GET", path, "", &got);
    strcpy(etag, field_of(&got, "ETag"));
    file_of("h.txt", 200, 50);
    for (int i = 0; i < 600 && got.body_n != 200; i++) {
        usleep(50000);
        ask(s, "GET", path, "", &got);
    }
    assert_int_equal(got.body_n, 200);
    assert_string_not_equal(field_of(&got, "ETag"), etag);
    unlink(path.p);
    for (int i = 0; i < 600 && got.status != 404; i++) {
        usleep(50000);
        ask(s, "GET", path, "", &got);
    }
    assert_int_equal(got.status, 404);
    /* one that is too new to be sure of is read anew each time */
    path = file_of("i.txt", 100, 0);
    struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    utimensat(AT_FDCWD, path.p, now, 0);
    ask(s, "GET", path, "", &got);
    FILE *file = fopen(path.p, "w");
    fputs("new", file);
    fclose(file);
    ask(s, "GET", path, "", &got);
    assert_int_equal(got.body_n, 3);
    close_files(s);
}

static int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* Many files and little memory: both bounds hold, and nothing stays open in the end. */
static void test_bounds(void **state)
{
    (void)state;
    struct http_settings small = usual;
    small.static_memory = 0;
    int before = open_descriptors();
    struct static_files *s = open_files(&small);
    struct got got;
    for (int i = 0; i < 700; i++) {
        char name[32];
        snprintf(name, sizeof(name), "many%d.png", i);
        ask(s, "GET", file_of(name, 10, 100), "", &got);
        assert_int_equal(got.body_n, 10);
    }
    assert_true(open_descriptors() <= before + 512);
    close_files(s);
    assert_int_equal(open_descriptors(), before);
    small.static_memory = 64 << 10;
    s = open_files(&small);
    ask(s, "GET", file_of("large.png", 60000, 100), "", &got);
    assert_false(got.from_memory);
    assert_int_equal(got.body_n, 60000);
    close_files(s);
    assert_int_equal(open_descriptors(), before);
}

struct hammer {
    struct static_files *files;
    char paths[4][PATH_MAX + 64];
    _Atomic int bad;
};

static void *ask_many(void *arg)
{
    struct hammer *h = arg;
    struct got *got = malloc(sizeof(*got));
    for (int i = 0; i < 400; i++) {
        ask(h->files, "GET", str_of(h->paths[i % 4]), i % 2 ? "Accept-Encoding: gzip" : "", got);
        h->bad += got->status != 200 || (i % 2 == 0 && got->body_n != 5000);
    }
    free(got);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct hammer h = {.files = open_files(&usual)};
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof(name), "t%d.js", i);
        strcpy(h.paths[i], file_of(name, 5000, i == 3 ? 0 : 100).p);
    }
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, &h), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(h.bad, 0);
    close_files(h.files);
}

static void test_mime(void **state)
{
    (void)state;
    assert_true(str_eq(mime_of(STR("/a/x.HTML")), STR("text/html; charset=utf-8")));
    assert_true(str_eq(mime_of(STR("/a/x.json")), STR("application/json")));
    assert_true(str_eq(mime_of(STR("/a.b/x")), STR("application/octet-stream")));
    assert_true(str_eq(mime_of(STR("/a/x.")), STR("application/octet-stream")));
    assert_true(str_eq(mime_of(STR("/a/x.averyveryverylongextension")), STR("application/octet-stream")));
    static const char *const known[] = {"css",  "js",   "mjs",   "png",        "jpg", "svg", "woff2",
                                        "pdf",  "mp4",  "zip",   "txt",        "xml", "ico", "wasm",
                                        "webp", "3gp",  "zst",   "avif",       "gz",  "ts",  "md",
                                        "csv",  "atom", "xhtml", "webmanifest"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) { /* a table out of order would miss some */
        char name[32];
        snprintf(name, sizeof(name), "x.%s", known[i]);
        assert_false(str_eq(mime_of(str_of(name)), STR("application/octet-stream")));
    }
}

/* A file that a script named: how long it may be kept, and by whom, is the script's to say. */
static void test_named_by_a_script(void **state)
{
    (void)state;
    struct static_files *s = open_files(&usual);
    struct got got;
    const struct static_said nothing = {.modified = -1};
    struct str path = file_of("named.html", 1000, 100);
    said = &nothing;
    ask(s, "GET", path, "", &got);
    assert_int_equal(got.status, 200);
    assert_string_equal(field_of(&got, "Cache-Control"), "");
    assert_string_equal(field_of(&got, "Expires"), "");
    assert_string_not_equal(field_of(&got, "ETag"), "");
    assert_string_not_equal(field_of(&got, "Last-Modified"), "");
    ask(s, "POST", path, "Range: bytes=0-1\nIf-None-Match: *", &got);
    assert_int_equal(got.status, 200);

    const struct static_said own = {
        .type = STR("text/x-own"), .etag = STR("\"own\""), .modified = 784111777, .varies = true};
    said = &own;
    ask(s, "GET", path, "Accept-Encoding: gzip", &got);
    assert_int_equal(got.status, 200);
    assert_string_equal(field_of(&got, "Content-Type"), "text/x-own");
    assert_string_equal(field_of(&got, "ETag"), "\"own\"");
    assert_string_equal(field_of(&got, "Last-Modified"), "");
    assert_string_equal(field_of(&got, "Vary"), "");
    assert_string_equal(field_of(&got, "Content-Encoding"), "");
    ask(s, "GET", path, "If-None-Match: \"own\"", &got);
    assert_int_equal(got.status, 304);
    ask(s, "GET", path, "If-Match: \"other\"", &got);
    assert_int_equal(got.status, 412);
    ask(s, "GET", path, "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", &got);
    assert_int_equal(got.status, 304);
    ask(s, "GET", path, "Range: bytes=0-1\nIf-Range: \"own\"", &got);
    assert_int_equal(got.status, 206);
    assert_string_equal(field_of(&got, "Content-Type"), "text/x-own");
    ask(s, "GET", path, "Range: bytes=0-1,4-5", &got);
    assert_int_equal(got.status, 206);
    assert_true(str_starts(str_of(field_of(&got, "Content-Type")), STR("multipart/byteranges")));
    assert_non_null(memmem(got.body, got.body_n, "Content-Type: text/x-own\r\n", 26));
    said = NULL;
    close_files(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_by_a_script),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_codings),
        cmocka_unit_test(test_siblings),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_mime),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
