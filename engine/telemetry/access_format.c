/* php-fpm's access.format: a list of pieces, made once, and the lines that come of it. A line is composed in
 * its caller's memory. */
#include "engine/telemetry/access_format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"

#define ARGUMENT_MAX 128

/* One piece of the format: a token with its argument, or (letter 0) literal text. */
struct piece {
    char letter;
    int unit; /* index into the words of C, d and M */
    char *text;
    size_t n;
};

struct access_format {
    size_t count;
    struct piece pieces[];
};

/* A line while it is made. */
struct line {
    char *text; /* ACCESS_FORMAT_MAX bytes */
    size_t n;
    bool cut;
};

/* -- compiling -- */

/* The words that a token takes in braces; the first one is also meant when there are no braces. Words of one
 * meaning follow each other; `unit` is the number of the meaning. */
struct unit_word {
    const char *word;
    int unit;
};
static const struct unit_word cpu_words[] = {{"total", 0}, {"user", 1}, {"system", 2}, {NULL, 0}};
static const struct unit_word time_words[] = {
    {"seconds", 0}, {"milliseconds", 1}, {"milli", 1}, {"miliseconds", 1},
    {"mili", 1},    {"microseconds", 2}, {"micro", 2}, {NULL, 0},
};
static const struct unit_word size_words[] = {
    {"bytes", 0}, {"kilobytes", 1}, {"kilo", 1}, {"megabytes", 2}, {"mega", 2}, {NULL, 0},
};

static const struct measure {
    char letter;
    const struct unit_word *words;
    const char *allowed; /* in php-fpm's message */
} measures[] = {
    {'C', cpu_words, "'total', 'user' or 'system'"},
    {'d', time_words, "'seconds', 'milli', 'milliseconds', 'micro' or 'microseconds'"},
    {'M', size_words, "'bytes', 'kilo', 'kilobytes', 'mega' or 'megabytes'"},
};

static int find_unit(const struct unit_word *words, const char *argument)
{
    if (!*argument) {
        return 0;
    }
    for (; words->word; words++) {
        if (strcasecmp(words->word, argument) == 0) {
            return words->unit;
        }
    }
    return -1;
}

static int refuse(char *error, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int refuse(char *error, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
    return -1;
}

/* Is this letter, with this argument, a token? Fills in piece->unit. */
static int check_token(struct piece *piece, const char *argument, char *error, size_t size)
{
    const char letter = piece->letter;

    for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++) {
        if (letter == measures[i].letter) {
            piece->unit = find_unit(measures[i].words, argument);
            return piece->unit >= 0 ? 0
                                    : refuse(error, size, "only %s are allowed as a modifier for %%%c ('%s')",
                                             measures[i].allowed, letter, argument);
        }
    }
    if ((letter == 'e' || letter == 'o') && !*argument) {
        return refuse(error, size, "the name of the %s must be set between embraces for %%%c",
                      letter == 'e' ? "environment variable" : "header", letter);
    }
    if (letter && strchr("eotT", letter)) {
        return 0;
    }
    if (!letter || !strchr("%flmnpPqQrRsu", letter)) {
        return refuse(error, size, "Invalid token in the access.format (%%%c)", letter);
    }
    return *argument ? refuse(error, size, "embrace is not allowed for modifier %%%c", letter) : 0;
}

/* Reads one piece at *s. 0, or -1 with error. The piece's text is malloc'ed. */
static int read_piece(const char **s, struct piece *piece, char *error, size_t size)
{
    char argument[ARGUMENT_MAX] = "";
    const char *p = *s;

    *piece = (struct piece){0};
    if (*p != '%') {
        piece->n = strcspn(p, "%");
        piece->text = strndup(p, piece->n);
        *s = p + piece->n;
        return piece->text ? 0 : refuse(error, size, "out of memory");
    }
    p++;
    if (*p == '{') {
        const char *end = strchr(++p, '}');

        if (!end || !end[1]) {
            return refuse(error, size, "missing closing embrace in the access.format");
        }
        snprintf(argument, sizeof(argument), "%.*s", (int)(end - p), p);
        p = end + 1;
    }
    if (*p == '\0') { /* alone at the end it stands for nothing, as in php-fpm */
        piece->text = strdup("");
        *s = p;
        return piece->text ? 0 : refuse(error, size, "out of memory");
    }
    piece->letter = *p;
    if (check_token(piece, argument, error, size) != 0) {
        return -1;
    }
    piece->n = strlen(argument);
    piece->text = strndup(argument, piece->n);
    *s = p + 1;
    return piece->text ? 0 : refuse(error, size, "out of memory");
}

void access_format_destroy(struct access_format *format)
{
    for (size_t i = 0; i < format->count; i++) {
        free(format->pieces[i].text);
    }
    free(format);
}

struct access_format *access_format_create(const char *text, char *error, size_t error_size)
{
    size_t most = strlen(text);
    struct access_format *format = calloc(1, sizeof(*format) + most * sizeof(format->pieces[0]));

    if (!format) {
        refuse(error, error_size, "out of memory");
        return NULL;
    }
    while (*text) {
        if (read_piece(&text, &format->pieces[format->count], error, error_size) != 0) {
            access_format_destroy(format);
            return NULL;
        }
        format->count++;
    }
    return format;
}

int access_format_check(const char *text, char *error, size_t error_size)
{
    struct access_format *format = access_format_create(text, error, error_size);

    if (!format) {
        return -1;
    }
    access_format_destroy(format);
    return 0;
}

bool access_format_has(const struct access_format *format, char letter)
{
    for (size_t i = 0; i < format->count; i++) {
        if (format->pieces[i].letter == letter) {
            return true;
        }
    }
    return false;
}

/* -- one line -- */

static void add(struct line *l, const char *text, size_t n)
{
    size_t room = ACCESS_FORMAT_MAX - 1 - l->n; /* the newline has its place */

    if (n > room) {
        n = room;
        l->cut = true;
    }
    memcpy(l->text + l->n, text, n);
    l->n += n;
}

static void add_text(struct line *l, const char *text)
{
    add(l, text, strlen(text));
}

static void add_number(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_number(struct line *l, const char *format, ...)
{
    char text[64];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    add_text(l, text);
}

static void add_or_dash(struct line *l, const char *text)
{
    add_text(l, text && *text ? text : "-");
}

static void add_cpu(struct line *l, int unit, const struct access_facts *f)
{
    uint64_t cpu = unit == 1 ? f->user_us : unit == 2 ? f->system_us : f->user_us + f->system_us;

    add_number(l, "%.2f", f->duration_us ? (double)cpu / (double)f->duration_us * 100.0 : 0.0);
}

static void add_duration(struct line *l, int unit, uint64_t us)
{
    if (unit == 2) {
        add_number(l, "%llu", (unsigned long long)us);
    } else {
        add_number(l, "%.3f", (double)us / (unit == 1 ? 1e3 : 1e6));
    }
}

static void add_header(struct line *l, const struct piece *piece, const struct access_facts *f)
{
    size_t n = 0;
    const char *value = f->header ? f->header(f->ctx, piece->text, piece->n, &n) : NULL;

    add(l, value && n ? value : "-", value && n ? n : 1);
}

static void add_param(struct line *l, const struct piece *piece, const struct request *r)
{
    const struct param *p = request_param_find(r, (struct str){piece->text, piece->n});

    if (p) {
        add(l, p->value, p->value_len);
    } else {
        add(l, "-", 1);
    }
}

/* localtime_r takes a lock in the C library: the default form is kept for as long as its second lasts. */
static void add_time(struct line *l, const char *format, uint64_t wall_us)
{
    static _Thread_local time_t kept_second;
    static _Thread_local char kept[64];
    time_t second = (time_t)(wall_us / CLOCK_US_PER_SECOND);
    char text[ARGUMENT_MAX];
    struct tm tm;

    if (!*format && second == kept_second) {
        add_text(l, kept);
        return;
    }
    localtime_r(&second, &tm);
    size_t n = strftime(text, sizeof(text), *format ? format : "%d/%b/%Y:%H:%M:%S %z", &tm);

    add(l, text, n);
    if (!*format && n < sizeof(kept)) {
        memcpy(kept, text, n);
        kept[n] = '\0';
        kept_second = second;
    }
}

static uint64_t accepted_wall_us(const struct request *r)
{
    uint64_t began = r->times.accepted ? r->times.accepted : r->times.started;

    return clock_wall_us() - (clock_us() - began);
}

static void add_piece(struct line *l, const struct piece *piece, const struct request *r,
                      const struct access_facts *f)
{
    static const int shifts[] = {0, 10, 20};

    switch (piece->letter) {
    case 0: add(l, piece->text, piece->n); break;
    case '%': add(l, "%", 1); break;
    case 'C': add_cpu(l, piece->unit, f); break;
    case 'd': add_duration(l, piece->unit, f->duration_us); break;
    case 'e': add_param(l, piece, r); break;
    case 'f': add_or_dash(l, r->script); break;
    case 'l':
        add_number(l, "%llu", r->content_length > 0 ? (unsigned long long)r->content_length : 0ULL);
        break;
    case 'm': add_or_dash(l, r->method); break;
    case 'M': add_number(l, "%zu", f->memory_peak >> shifts[piece->unit]); break;
    case 'n': add_or_dash(l, f->pool); break;
    case 'o': add_header(l, piece, f); break;
    case 'p': add_number(l, "%ld", f->worker_tid ? (long)f->worker_tid : (long)getpid()); break;
    case 'P': add_number(l, "%ld", (long)getppid()); break;
    case 'q': add_text(l, r->query); break;
    case 'Q': add_text(l, *r->query ? "?" : ""); break;
    case 'r': add_text(l, r->uri ? r->uri : ""); break;
    case 'R': add_or_dash(l, r->remote_ip); break;
    case 's': add_number(l, "%d", r->status); break;
    case 't': add_time(l, piece->text, accepted_wall_us(r)); break;
    case 'T': add_time(l, piece->text, clock_wall_us()); break;
    case 'u': add_text(l, r->auth_user ? r->auth_user : ""); break;
    default: break;
    }
}

size_t access_format_line(const struct access_format *format, const struct request *r,
                          const struct access_facts *facts, char *out)
{
    struct line l = {.text = out};

    for (size_t i = 0; i < format->count && !l.cut; i++) {
        add_piece(&l, &format->pieces[i], r, facts);
    }
    /* One request is one line, whatever bytes its client sent. */
    for (size_t i = 0; i < l.n; i++) {
        if (l.text[i] == '\n' || l.text[i] == '\r') {
            l.text[i] = ' ';
        }
    }
    l.text[l.n++] = '\n';
    if (l.cut) {
        log_limited(LEVEL_NOTICE, "the log buffer is full (%d). The access log request has been truncated.",
                    ACCESS_FORMAT_MAX);
    }
    return l.n;
}
