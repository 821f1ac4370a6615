/* Answers for static files. What can be prepared once is in the cached file (file_cache.c); a request only
 * picks a coding, checks its conditions, and cuts ranges. Loop threads; the parts shared by them lock
 * themselves. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "http/content/compress_file.h"
#include "http/content/lifetime.h"
#include "http/content/static.h"
#include "http/http_settings.h"
#include "http/wire/conditional.h"
#include "http/wire/range.h"

#define BOUNDARY_N 32

struct static_files {
    const struct http_settings *settings;
    struct file_cache *cache;
    struct helper_pool *helpers;
    struct lifetimes *lifetimes;
    char boundary[BOUNDARY_N + 1]; /* of multipart/byteranges; random, so that no file contains it */
};

static void make_boundary(char out[BOUNDARY_N + 1])
{
    unsigned char bytes[BOUNDARY_N / 2];
    if (getrandom(bytes, sizeof(bytes), GRND_NONBLOCK) != (ssize_t)sizeof(bytes)) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            bytes[i] = (unsigned char)(clock_us() >> (i % 8 * 3));
        }
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

struct static_files *static_files_create(const struct http_settings *settings, struct helper_pool *helpers)
{
    struct static_files *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->settings = settings;
    s->helpers = helpers;
    make_boundary(s->boundary);
    s->lifetimes = lifetimes_create(settings);
    s->cache = file_cache_create(settings);
    if (s->lifetimes == NULL || s->cache == NULL) {
        static_files_destroy(s);
        return NULL;
    }
    return s;
}

void static_files_destroy(struct static_files *s)
{
    if (s != NULL) {
        file_cache_destroy(s->cache);
        lifetimes_destroy(s->lifetimes);
        free(s);
    }
}

/* -- pieces of an answer -- */

static void add(struct http_answer *out, struct str name, struct str value)
{
    if (out->field_count < sizeof(out->fields) / sizeof(out->fields[0])) {
        out->fields[out->field_count++] = (struct http_field){name, value};
    }
}

static void no_body(struct http_answer *out, int status)
{
    out->status = status;
    out->pieces = NULL;
    out->piece_count = 0;
    out->body_n = 0;
    out->no_body |= status == 304;
}

static void out_of_memory(struct http_answer *out)
{
    out->field_count = 0;
    no_body(out, 503);
}

static struct http_piece piece_of(const struct file_form *form, uint64_t first, uint64_t n)
{
    if (form->data != NULL) {
        return (struct http_piece){.p = form->data + first, .fd = -1, .n = (size_t)n};
    }
    return (struct http_piece){.fd = form->fd, .offset = (off_t)first, .n = (size_t)n};
}

/* What is answered with: the file in one of its forms, and what is true of it. */
struct chosen {
    const struct file *file;
    const struct file_form *form;
    enum coding coding;
    struct str type, etag;
    int64_t modified;
    const struct static_said *said; /* NULL: no script named the file */
    const struct lifetime *lifetime;
};

/* For how long anybody may keep it, which is ours to say only if no script has asked who wants it. */
static void add_lifetime(const struct lifetime *lifetime, struct arena *arena, struct http_answer *out)
{
    char *expires = lifetime->seconds > 0 ? arena_alloc(arena, HTTP_DATE_N + 1) : NULL;
    if (lifetime->cache_control_n > 0) {
        add(out, STR("Cache-Control"), (struct str){lifetime->cache_control, lifetime->cache_control_n});
    }
    if (expires != NULL) {
        http_date_print((int64_t)(clock_wall_us() / CLOCK_US_PER_SECOND) + lifetime->seconds, expires);
        add(out, STR("Expires"), (struct str){expires, HTTP_DATE_N});
    }
}

/* The fields that caches need; on 200, 206 and 304. What a script says itself is among its own fields. */
static void add_caching(const struct chosen *c, struct arena *arena, struct http_answer *out)
{
    const struct static_said *said = c->said;
    add(out, STR("ETag"), c->etag);
    if (said == NULL || said->modified < 0) {
        add(out, STR("Last-Modified"), (struct str){c->file->last_modified, HTTP_DATE_N});
    }
    if (c->file->negotiable && (said == NULL || (!said->as_it_is && !said->varies))) {
        add(out, STR("Vary"), STR("Accept-Encoding"));
    }
    if (said == NULL) {
        add_lifetime(c->lifetime, arena, out);
    }
}

static void answer_whole(const struct file_form *form, struct arena *arena, struct http_answer *out)
{
    out->status = 200;
    out->body_n = form->n;
    if (out->no_body || form->n == 0) {
        return;
    }
    out->pieces = arena_alloc(arena, sizeof(*out->pieces));
    if (out->pieces == NULL) {
        out_of_memory(out);
        return;
    }
    out->pieces[0] = piece_of(form, 0, form->n);
    out->piece_count = 1;
}

/* -- ranges -- */

static void answer_unsatisfiable(const struct file_form *form, struct arena *arena, struct http_answer *out)
{
    char *text = arena_printf(arena, "bytes */%llu", (unsigned long long)form->n);
    no_body(out, 416);
    out->field_count = 0; /* what was said of the file is not true of the error's page */
    if (text != NULL) {
        add(out, STR("Content-Range"), str_of(text));
    }
}

static void answer_part(const struct file_form *form, struct range range, struct arena *arena,
                        struct http_answer *out)
{
    char *text = arena_printf(arena, "bytes %llu-%llu/%llu", (unsigned long long)range.first,
                              (unsigned long long)range.last, (unsigned long long)form->n);
    out->pieces = arena_alloc(arena, sizeof(*out->pieces));
    if (text == NULL || out->pieces == NULL) {
        out_of_memory(out);
        return;
    }
    out->status = 206;
    add(out, STR("Content-Range"), str_of(text));
    out->body_n = range.last - range.first + 1;
    out->pieces[0] = piece_of(form, range.first, out->body_n);
    out->piece_count = 1;
}

/* multipart/byteranges: for each range a small head in the arena and a piece of the file. */
static void answer_parts(const struct static_files *s, const struct chosen *c, const struct range *ranges,
                         size_t count, struct arena *arena, struct http_answer *out)
{
    const struct file_form *form = c->form;
    struct http_piece *pieces = arena_alloc(arena, (2 * count + 1) * sizeof(*pieces));
    char *type = arena_printf(arena, "multipart/byteranges; boundary=%s", s->boundary);
    char *end = arena_printf(arena, "\r\n--%s--\r\n", s->boundary);
    if (pieces == NULL || type == NULL || end == NULL) {
        out_of_memory(out);
        return;
    }
    out->body_n = 0;
    for (size_t i = 0; i < count; i++) {
        char *text = arena_printf(
            arena, "%s--%s\r\nContent-Type: %.*s\r\nContent-Range: bytes %llu-%llu/%llu\r\n\r\n",
            i > 0 ? "\r\n" : "", s->boundary, (int)c->type.n, c->type.p, (unsigned long long)ranges[i].first,
            (unsigned long long)ranges[i].last, (unsigned long long)form->n);
        if (text == NULL) {
            out_of_memory(out);
            return;
        }
        pieces[2 * i] = (struct http_piece){.p = text, .fd = -1, .n = strlen(text)};
        pieces[2 * i + 1] = piece_of(form, ranges[i].first, ranges[i].last - ranges[i].first + 1);
        out->body_n += pieces[2 * i].n + pieces[2 * i + 1].n;
    }
    pieces[2 * count] = (struct http_piece){.p = end, .fd = -1, .n = strlen(end)};
    out->body_n += pieces[2 * count].n;
    out->pieces = pieces;
    out->piece_count = 2 * count + 1;
    out->status = 206;
    out->fields[0].value = str_of(type); /* Content-Type is the first field */
}

static void answer_range(const struct static_files *s, const struct chosen *c, struct str range,
                         struct arena *arena, struct http_answer *out)
{
    const struct file_form *form = c->form;
    struct range ranges[RANGE_MAX];
    size_t count;
    switch (range_parse(range, form->n, ranges, &count)) {
    case RANGE_WHOLE: answer_whole(form, arena, out); break;
    case RANGE_UNSATISFIABLE: answer_unsatisfiable(form, arena, out); break;
    case RANGE_PARTS:
        if (count == 1) {
            answer_part(form, ranges[0], arena, out);
        } else {
            answer_parts(s, c, ranges, count, arena, out);
        }
        break;
    }
}

/* -- codings -- */

static const struct file_form *form_in(const struct file *file, enum coding coding)
{
    struct file_form *form = coding != CODING_IDENTITY ? atomic_load(&file->forms[coding]) : NULL;
    return form != NULL && !form->absent ? form : NULL;
}

/* The form to send. The best coding that the client takes; until that is made, any other that is there. */
static const struct file_form *choose_form(struct static_files *s, struct file *file, struct str accept,
                                           enum coding *coding)
{
    static const enum coding order[] = {CODING_BROTLI, CODING_ZSTD, CODING_GZIP};
    *coding = file->negotiable ? compress_negotiate(s->settings, accept) : CODING_IDENTITY;
    if (*coding == CODING_IDENTITY) {
        return &file->identity;
    }
    const struct file_form *form = form_in(file, *coding);
    if (form != NULL) {
        return form;
    }
    if (atomic_load(&file->forms[*coding]) == NULL &&
        file->identity.n >= (uint64_t)s->settings->compress_min) {
        compress_file_ask(s->helpers, s->settings, s->cache, file, *coding);
    }
    int weights[FILE_CODINGS];
    compress_weights(accept, weights);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        form = weights[order[i]] > 0 ? form_in(file, order[i]) : NULL;
        if (form != NULL) {
            *coding = order[i];
            return form;
        }
    }
    *coding = CODING_IDENTITY;
    return &file->identity;
}

/* -- the answer -- */

static void release_file(void *held)
{
    file_release(held);
}

static void choose(struct static_files *s, const struct http_head *head, struct file *file, bool whole,
                   const struct static_said *said, struct chosen *c)
{
    const struct http_field *accept = http_head_find(head, STR("Accept-Encoding"));
    *c = (struct chosen){.file = file,
                         .form = &file->identity,
                         .coding = CODING_IDENTITY,
                         .said = said,
                         .lifetime = lifetimes_find(s->lifetimes, head->path)};
    /* Parts are parts of the plain file, and so is what a script knows by a tag of its own. */
    if (whole && (said == NULL || (!said->as_it_is && !said->etag.p))) {
        c->form = choose_form(s, file, accept != NULL ? accept->value : STR_NONE, &c->coding);
    }
    c->type = said != NULL && said->type.p ? said->type : file->type;
    c->etag = said != NULL && said->etag.p ? said->etag : (struct str){c->form->etag, c->form->etag_n};
    c->modified =
        said != NULL && said->modified >= 0 ? said->modified : file->stamps[CODING_IDENTITY].modified_s;
}

static void answer_file(struct static_files *s, const struct http_head *head, struct file *file,
                        const struct static_said *said, struct arena *arena, struct http_answer *out)
{
    /* A script may answer any method with a file; conditions and ranges are about those that only read. */
    bool reads = out->no_body || str_eq(head->method, STR("GET"));
    const struct http_field *range = out->no_body || !reads ? NULL : http_head_find(head, STR("Range"));
    struct chosen c;
    choose(s, head, file, range == NULL, said, &c);
    enum condition condition = reads ? conditional_check(head, c.etag, c.modified) : CONDITION_GO;
    if (condition == CONDITION_FAILED) {
        no_body(out, 412);
        return;
    }
    if (condition == CONDITION_NOT_MODIFIED) {
        add_caching(&c, arena, out);
        no_body(out, 304);
        return;
    }
    add(out, STR("Content-Type"), c.type);
    if (c.coding != CODING_IDENTITY) {
        add(out, STR("Content-Encoding"), str_of(compress_name(c.coding)));
    } else if (file->packed.p && said == NULL) {
        add(out, STR("Content-Encoding"), file->packed);
    }
    add_caching(&c, arena, out);
    add(out, STR("Accept-Ranges"), STR("bytes"));
    if (range != NULL && conditional_range_holds(head, c.etag, c.modified)) {
        answer_range(s, &c, range->value, arena, out);
    } else {
        answer_whole(c.form, arena, out);
    }
}

void static_answer(struct static_files *s, const struct http_head *head, struct str path,
                   const struct static_said *said, struct arena *arena, struct http_answer *out)
{
    memset(out, 0, sizeof(*out));
    out->no_body = str_eq(head->method, STR("HEAD"));
    struct file *file = file_cache_get(s->cache, path, clock_coarse_us());
    if (file == NULL) {
        int status = errno == EACCES || errno == EPERM || errno == ELOOP     ? 403
                     : errno == EMFILE || errno == ENFILE || errno == ENOMEM ? 503
                                                                             : 404;
        no_body(out, status);
        return;
    }
    out->release = release_file;
    out->held = file;
    answer_file(s, head, file, said, arena, out);
}
