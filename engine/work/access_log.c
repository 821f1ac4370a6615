/* The access log. php-fpm's format is compiled once, when the log is made; a line is composed on its thread's
 * stack and goes to the log's writer (log_writer.h), or, where none was started, out in one write(2).
 *
 * Worker and loop threads put lines in; any thread may exchange the descriptor, which stays its owner's. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/access_line.h"
#include "engine/work/access_log.h"
#include "engine/work/log_writer.h"
#include "engine/work/worker.h"

#define LINE_MAX_BYTES 1024 /* php-fpm's: longer lines are cut */
#define ARGUMENT_MAX   128

/* One piece of the format: a token with its argument, or (letter 0) literal text. */
struct piece {
    char letter;
    int unit; /* index into the words of C, d and M */
    char *text;
    size_t n;
};

enum form { FORM_FPM, FORM_JSON, FORM_COMBINED };

struct access_log {
    _Atomic int fd;
    enum form form;
    char service[ACCESS_LINE_SERVICE]; /* in JSON lines */
    size_t service_n;
    struct log_writer *writer; /* NULL: whoever makes a line writes it */
    struct piece *pieces;
    size_t count;
    const struct setting_pair *suppress;
    bool wants_cpu;
};

struct line {
    char text[LINE_MAX_BYTES + 1];
    size_t n;
    bool cut;
};

/* -- compiling the format ------------------------------------------------------------------------------ */

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

    switch (letter) {
    case 'C':
        piece->unit = find_unit(cpu_words, argument);
        return piece->unit >= 0
                   ? 0
                   : refuse(error, size,
                            "only 'total', 'user' or 'system' are allowed as a modifier for %%%c ('%s')",
                            letter, argument);
    case 'd':
        piece->unit = find_unit(time_words, argument);
        return piece->unit >= 0
                   ? 0
                   : refuse(error, size,
                            "only 'seconds', 'milli', 'milliseconds', 'micro' or 'microseconds' are "
                            "allowed as a modifier for %%%c ('%s')",
                            letter, argument);
    case 'M':
        piece->unit = find_unit(size_words, argument);
        return piece->unit >= 0
                   ? 0
                   : refuse(error, size,
                            "only 'bytes', 'kilo', 'kilobytes', 'mega' or 'megabytes' are allowed as a "
                            "modifier for %%%c ('%s')",
                            letter, argument);
    case 'e':
        return *argument
                   ? 0
                   : refuse(error, size,
                            "the name of the environment variable must be set between embraces for %%%c",
                            letter);
    case 'o':
        return *argument ? 0
                         : refuse(error, size, "the name of the header must be set between embraces for %%%c",
                                  letter);
    case 't':
    case 'T': return 0;
    default: break;
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
    piece->letter = *p;
    if (check_token(piece, argument, error, size) != 0) {
        return -1;
    }
    piece->n = strlen(argument);
    piece->text = strndup(argument, piece->n);
    *s = p + 1;
    return piece->text ? 0 : refuse(error, size, "out of memory");
}

static void free_pieces(struct piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(pieces[i].text);
    }
    free(pieces);
}

/* NULL with error. */
static struct piece *compile(const char *format, size_t *count, char *error, size_t size)
{
    struct piece *pieces = calloc(strlen(format) + 1, sizeof(*pieces));

    *count = 0;
    if (!pieces) {
        refuse(error, size, "out of memory");
        return NULL;
    }
    while (*format) {
        if (read_piece(&format, &pieces[*count], error, size) != 0) {
            free_pieces(pieces, *count);
            return NULL;
        }
        (*count)++;
    }
    return pieces;
}

int access_format_check(const char *format, char *error, size_t error_size)
{
    size_t count;
    struct piece *pieces = compile(format, &count, error, error_size);

    if (!pieces) {
        return -1;
    }
    free_pieces(pieces, count);
    return 0;
}

/* -- life ---------------------------------------------------------------------------------------------- */

struct access_log *access_log_create(int fd, const char *format, const struct setting_pair *suppress)
{
    char error[256];
    struct access_log *log = fd >= 0 ? calloc(1, sizeof(*log)) : NULL;

    if (!log) {
        return NULL;
    }
    log->form = strcmp(format, "json") == 0       ? FORM_JSON
                : strcmp(format, "combined") == 0 ? FORM_COMBINED
                                                  : FORM_FPM;
    log->pieces = compile(log->form == FORM_FPM ? format : "", &log->count, error, sizeof(error));
    if (!log->pieces) {
        log_warning("%s", error);
        free(log);
        return NULL;
    }
    log->fd = fd;
    log->suppress = suppress;
    log->service_n = access_line_service(NULL, log->service);
    for (size_t i = 0; i < log->count; i++) {
        log->wants_cpu |= log->pieces[i].letter == 'C';
    }
    return log;
}

/* A write to a regular file waits for no reader. */
static bool never_blocks(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

int access_log_start(struct access_log *log, const char *service, void (*dropped)(void *ctx, uint64_t lines),
                     void *ctx)
{
    log->service_n = access_line_service(service, log->service);
    if (log->form == FORM_FPM && never_blocks(log->fd)) {
        return 0;
    }
    log->writer = log_writer_create(&log->fd, "access log", dropped, ctx);
    return log->writer ? 0 : -1;
}

void access_log_stop(struct access_log *log, unsigned wait_ms)
{
    if (log && log->writer) {
        log_writer_stop(log->writer, wait_ms);
    }
}

void access_log_destroy(struct access_log *log)
{
    if (log) {
        if (log->writer) {
            log_writer_destroy(log->writer);
        }
        free_pieces(log->pieces, log->count);
        free(log);
    }
}

void access_log_set_fd(struct access_log *log, int fd)
{
    atomic_store(&log->fd, fd);
}

bool access_log_wants_cpu(const struct access_log *log)
{
    return log && log->wants_cpu;
}

bool access_log_waits(const struct access_log *log)
{
    return log && log->form != FORM_FPM;
}

/* -- one line ------------------------------------------------------------------------------------------ */

static void add(struct line *l, const char *text, size_t n)
{
    size_t room = LINE_MAX_BYTES - 1 - l->n; /* the newline has its place */

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
    case 'n': add_or_dash(l, pool_conf(r->pool)->name); break;
    case 'o': add_header(l, piece, f); break;
    case 'p': add_number(l, "%ld", r->worker ? (long)r->worker->tid : (long)getpid()); break;
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

/* access.suppress_path: only what a health check looks like. */
static bool suppressed(const struct access_log *log, const struct request *r)
{
    if (!log->suppress || !r->method || !r->uri || *r->query || r->content_length > 0 || r->status < 200 ||
        r->status > 299 || (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0)) {
        return false;
    }
    for (const struct setting_pair *p = log->suppress; p; p = p->next) {
        if (strcmp(p->value, r->uri) == 0) {
            return true;
        }
    }
    return false;
}

/* php-fpm's form; its length, newline included. */
static size_t fpm_line(const struct access_log *log, const struct request *r,
                       const struct access_facts *facts, struct line *l)
{
    l->n = 0;
    l->cut = false;
    for (size_t i = 0; i < log->count && !l->cut; i++) {
        add_piece(l, &log->pieces[i], r, facts);
    }
    /* One request is one line, whatever bytes its client sent. */
    for (size_t i = 0; i < l->n; i++) {
        if (l->text[i] == '\n' || l->text[i] == '\r') {
            l->text[i] = ' ';
        }
    }
    l->text[l->n++] = '\n';
    if (l->cut) {
        log_limited(LEVEL_NOTICE, "the log buffer is full (%d). The access log request has been truncated.",
                    LINE_MAX_BYTES);
    }
    return l->n;
}

static void put(struct access_log *log, int fd, const char *text, size_t n)
{
    if (log->writer) {
        log_writer_put(log->writer, text, n);
    } else if (write(fd, text, n) < 0) {
        log_limited(LEVEL_WARNING, "cannot write to the access log");
    }
}

void access_log_write(struct access_log *log, struct request *r, const struct access_facts *facts)
{
    int fd = log ? atomic_load(&log->fd) : -1;
    struct line line;
    char text[ACCESS_LINE_MAX];

    if (fd < 0 || suppressed(log, r)) {
        return;
    }
    switch (log->form) {
    case FORM_FPM: put(log, fd, line.text, fpm_line(log, r, facts, &line)); break;
    case FORM_JSON:
        put(log, fd, text, access_line_json(r, facts, (struct str){log->service, log->service_n}, text));
        break;
    case FORM_COMBINED: put(log, fd, text, access_line_combined(r, facts, text)); break;
    }
}
