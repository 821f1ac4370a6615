/* The status pages: php-fpm's five formats, field for field, from one view (view.h). Any
 * thread; the output belongs to the caller.
 *
 * A format is a table: how the page begins and ends, how one field of the pool and one field of a worker is
 * written. The fields themselves exist once, with a name for each family of formats. Lost workers appear in
 * no format, and parked ones do not either: php-fpm's monitors count processes that could take a request. */
#include "engine/telemetry/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/engine_settings.h"

/* -- the facts -- */

struct pool_facts {
    const struct view *view;
    const struct pool_view *pool;
    time_t now, started;
};

enum value_kind { VALUE_TEXT, VALUE_NUMBER, VALUE_DATE, VALUE_CPU, VALUE_URI };

struct value {
    enum value_kind kind;
    const char *text, *query; /* query: VALUE_URI */
    uint64_t number;
    double cpu;
};

struct field {
    const char *name; /* "start time"; XML has dashes for blanks */
    struct value value;
};

#define POOL_FIELDS   15
#define WORKER_FIELDS 13

static const char *pm_name(int pm)
{
    return pm == PM_STATIC     ? "static"
           : pm == PM_DYNAMIC  ? "dynamic"
           : pm == PM_ONDEMAND ? "ondemand"
                               : "unknown";
}

static struct field number_field(const char *name, uint64_t number)
{
    return (struct field){name, {.kind = VALUE_NUMBER, .number = number}};
}

static struct field text_field(const char *name, const char *text)
{
    return (struct field){name, {.kind = VALUE_TEXT, .text = text}};
}

static uint64_t since(time_t now, time_t then)
{
    return now > then ? (uint64_t)(now - then) : 0;
}

static void pool_fields(const struct pool_facts *f, struct field out[POOL_FIELDS])
{
    const struct pool_view *p = f->pool;
    const struct field fields[POOL_FIELDS] = {
        text_field("pool", p->name),
        text_field("process manager", pm_name(p->pm)),
        {"start time", {.kind = VALUE_DATE, .number = (uint64_t)f->started}},
        number_field("start since", since(f->now, f->started)),
        number_field("accepted conn", p->accepted),
        number_field("listen queue", p->listen_queue),
        number_field("max listen queue", p->listen_queue_max),
        number_field("listen queue len", p->listen_queue_len),
        number_field("idle processes", p->idle),
        number_field("active processes", p->active),
        number_field("total processes", (uint64_t)p->idle + p->active),
        number_field("max active processes", p->active_max),
        number_field("max children reached", p->max_children_reached),
        number_field("slow requests", p->slow_requests),
        number_field("memory peak", p->memory_peak),
    };
    memcpy(out, fields, sizeof(fields));
}

static const char *or_dash(const char *text)
{
    return text[0] != '\0' ? text : "-";
}

/* CPU and memory are those of a finished request: while one runs they are not known yet. */
static void worker_fields(const struct pool_facts *f, const struct worker_row *s,
                          struct field out[WORKER_FIELDS])
{
    bool idle = s->state == WORKER_IDLE;
    time_t started = (time_t)(s->start_wall_us / CLOCK_US_PER_SECOND);
    uint64_t now_us = clock_us();
    uint64_t running = now_us > s->accepted_us ? now_us - s->accepted_us : 0;
    uint64_t duration = idle ? s->duration_us : running;
    double cpu = idle && s->duration_us > 0 ? (double)s->last_cpu_us / (double)s->duration_us * 100.0 : 0.0;
    const struct field fields[WORKER_FIELDS] = {
        number_field("pid", (uint64_t)s->tid),
        text_field("state", worker_state_name(s->state)),
        {"start time", {.kind = VALUE_DATE, .number = (uint64_t)started}},
        number_field("start since", since(f->now, started)),
        number_field("requests", s->requests),
        number_field("request duration", duration),
        text_field("request method", or_dash(s->method)),
        {"request uri", {.kind = VALUE_URI, .text = or_dash(s->uri), .query = s->query}},
        number_field("content length", s->content_length),
        text_field("user", or_dash(s->user)),
        text_field("script", or_dash(s->script)),
        {"last request cpu", {.kind = VALUE_CPU, .cpu = cpu}},
        number_field("last request memory", idle ? s->memory_peak : 0),
    };
    memcpy(out, fields, sizeof(fields));
}

/* -- values -- */

typedef void (*escape_fn)(struct buf *out, struct str text);

static void plain(struct buf *out, struct str text)
{
    buf_str(out, text);
}

static void add_date(struct buf *out, uint64_t when, bool readable)
{
    time_t t = (time_t)when;
    struct tm broken;
    char text[64];
    if (!readable) {
        buf_printf(out, "%" PRIu64, when);
        return;
    }
    localtime_r(&t, &broken);
    strftime(text, sizeof(text), "%d/%b/%Y:%H:%M:%S %z", &broken);
    buf_text(out, text);
}

static void add_value(struct buf *out, const struct value *v, escape_fn escape, bool readable)
{
    switch (v->kind) {
    case VALUE_NUMBER: buf_printf(out, "%" PRIu64, v->number); break;
    case VALUE_DATE: add_date(out, v->number, readable); break;
    case VALUE_CPU: buf_printf(out, "%.2f", v->cpu); break;
    case VALUE_TEXT: escape(out, str_of(v->text)); break;
    case VALUE_URI:
        escape(out, str_of(v->text));
        if (v->query[0] != '\0') {
            buf_text(out, "?");
            escape(out, str_of(v->query));
        }
        break;
    }
}

/* -- formats -- */

/* A field: open, name, middle, value, close. Without a middle there is no name; with a tail it comes again in
 * front of that. */
struct form {
    const char *open, *middle, *close, *tail;
};

/* NULL is nothing. */
struct format {
    const char *content_type;
    const char *begin;     /* before the pool's fields */
    const char *end_short; /* after them, without workers */
    const char *begin_full, *end_full;
    const char *begin_worker, *end_worker;
    const char *separator; /* between fields, and between workers */
    const char *quote;     /* around texts */
    struct form pool, worker;
    bool heads; /* the workers' fields are named once, above them */
    bool readable_dates;
    void (*name)(struct buf *out, const char *name);
    escape_fn escape;
};

static void add(struct buf *out, const char *text)
{
    buf_text(out, text ? text : "");
}

static void text_name(struct buf *out, const char *name)
{
    const char *shown = strcmp(name, "request uri") == 0 ? "request URI" : name;
    buf_printf(out, "%s:%*s", shown, (int)(21 - strlen(shown)), "");
}

static void xml_name(struct buf *out, const char *name)
{
    for (const char *c = name; *c; c++) {
        buf_add(out, *c == ' ' ? "-" : c, 1);
    }
}

static void add_field(struct buf *out, const struct field *f, const struct form *form,
                      const struct format *format)
{
    const char *quote = f->value.kind == VALUE_TEXT || f->value.kind == VALUE_URI ? format->quote : NULL;
    add(out, form->open);
    if (form->middle) {
        format->name(out, f->name);
        buf_text(out, form->middle);
    }
    add(out, quote);
    add_value(out, &f->value, format->escape, format->readable_dates);
    add(out, quote);
    add(out, form->close);
    if (form->tail) {
        format->name(out, f->name);
        buf_text(out, form->tail);
    }
}

static void add_fields(struct buf *out, const struct field *fields, size_t count, const struct form *form,
                       const struct format *format)
{
    for (size_t i = 0; i < count; i++) {
        add(out, i > 0 ? format->separator : NULL);
        add_field(out, &fields[i], form, format);
    }
}

static const struct format text_format = {
    .content_type = "text/plain",
    .begin_worker = "\n************************\n",
    .pool = {.middle = "", .close = "\n"},
    .worker = {.middle = "", .close = "\n"},
    .readable_dates = true,
    .name = text_name,
    .escape = plain,
};

static const struct format html_format = {
    .content_type = "text/html",
    .begin = "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" "
             "\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\n"
             "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n"
             "<head><title>PHP-FPM Status Page</title></head>\n<body>\n<table>\n",
    .end_short = "</table>\n</body></html>",
    .begin_full = "</table>\n<table border=\"1\">\n",
    .end_full = "</table></body></html>",
    .begin_worker = "<tr>",
    .end_worker = "</tr>\n",
    .pool = {"<tr><th>", "</th><td>", "</td></tr>\n", NULL},
    .worker = {.open = "<td>", .close = "</td>"},
    .heads = true,
    .readable_dates = true,
    .name = add,
    .escape = buf_xml,
};

static const struct format xml_format = {
    .content_type = "text/xml",
    .begin = "<?xml version=\"1.0\" ?>\n<status>\n",
    .end_short = "</status>",
    .begin_full = "<processes>\n",
    .end_full = "</processes>\n</status>",
    .begin_worker = "<process>",
    .end_worker = "</process>\n",
    .pool = {"<", ">", "</", ">\n"},
    .worker = {"<", ">", "</", ">"},
    .name = xml_name,
    .escape = buf_xml,
};

static const struct format json_format = {
    .content_type = "application/json",
    .begin = "{",
    .end_short = "}",
    .begin_full = ", \"processes\":[",
    .end_full = "]}",
    .begin_worker = "{",
    .end_worker = "}",
    .separator = ",",
    .quote = "\"",
    .pool = {.open = "\"", .middle = "\":"},
    .worker = {.open = "\"", .middle = "\":"},
    .name = add,
    .escape = buf_json,
};

/* -- pages -- */

static void render_heads(const struct pool_facts *facts, struct buf *out)
{
    static const struct worker_row empty;
    struct field fields[WORKER_FIELDS];
    worker_fields(facts, &empty, fields);
    buf_text(out, "<tr>");
    for (size_t i = 0; i < WORKER_FIELDS; i++) {
        buf_printf(out, "<th>%s</th>", fields[i].name);
    }
    buf_text(out, "</tr>\n");
}

static void render_workers(const struct format *format, const struct pool_facts *facts, struct buf *out)
{
    const struct pool_view *pool = facts->pool;
    const char *separator = NULL;
    add(out, format->begin_full);
    if (format->heads) {
        render_heads(facts, out);
    }
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker_row *row = &facts->view->workers[pool->first_worker + i];
        struct field fields[WORKER_FIELDS];
        if (!worker_row_visible(row)) {
            continue;
        }
        worker_fields(facts, row, fields);
        add(out, separator);
        add(out, format->begin_worker);
        add_fields(out, fields, WORKER_FIELDS, &format->worker, format);
        add(out, format->end_worker);
        separator = format->separator;
    }
    add(out, format->end_full);
}

static void render(const struct format *format, const struct pool_facts *facts, bool full, struct buf *out)
{
    struct field fields[POOL_FIELDS];
    pool_fields(facts, fields);
    add(out, format->begin);
    add_fields(out, fields, POOL_FIELDS, &format->pool, format);
    if (full) {
        render_workers(format, facts, out);
    } else {
        add(out, format->end_short);
    }
}

/* In OpenMetrics the pool and its manager are only named in a help text, and some help texts follow the type:
 * as php-fpm has it. */
struct metric {
    const char *name, *type, *help, *field;
};

static const struct metric metrics[] = {
    {"start_since", "counter", "The number of seconds since FPM has started.", "start since"},
    {"accepted_connections", "counter", "The number of requests accepted by the pool.", "accepted conn"},
    {"listen_queue", "gauge", "The number of requests in the queue of pending connections.", "listen queue"},
    {"max_listen_queue", "counter",
     "The maximum number of requests in the queue of pending connections since FPM has started.",
     "max listen queue"},
    {"listen_queue_length", "gauge", "The size of the socket queue of pending connections.",
     "listen queue len"},
    {"idle_processes", "gauge", "The number of idle processes.", "idle processes"},
    {"active_processes", "gauge", "The number of active processes.", "active processes"},
    {"total_processes", "gauge", "The number of idle + active processes.", "total processes"},
    {"max_active_processes", "counter", "The maximum number of active processes since FPM has started.",
     "max active processes"},
    {"max_children_reached", "counter",
     "The number of times, the process limit has been reached, when pm tries to start more children (works "
     "only "
     "for pm 'dynamic' and 'ondemand').",
     "max children reached"},
    {"slow_requests", "counter", "The number of requests that exceeded your 'request_slowlog_timeout' value.",
     "slow requests"},
    {"memory_peak", "gauge", "The memory usage peak since FPM has started.", "memory peak"},
};

static uint64_t number_of(const struct field *fields, const char *name)
{
    for (size_t i = 0; i < POOL_FIELDS; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return fields[i].value.number;
        }
    }
    return 0;
}

static void render_openmetrics(const struct pool_facts *facts, struct buf *out)
{
    struct field fields[POOL_FIELDS];
    pool_fields(facts, fields);
    buf_printf(out, "# HELP phpfpm_up Could pool %s using a %s PM on PHP-FPM be reached?\n",
               facts->pool->name, pm_name(facts->pool->pm));
    buf_text(out, "# TYPE phpfpm_up gauge\nphpfpm_up 1\n");
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
        const struct metric *m = &metrics[i];
        bool type_first = strcmp(m->name, "listen_queue_length") == 0;
        if (type_first) {
            buf_printf(out, "# TYPE phpfpm_%s %s\n", m->name, m->type);
        }
        buf_printf(out, "# HELP phpfpm_%s %s\n", m->name, m->help);
        if (!type_first) {
            buf_printf(out, "# TYPE phpfpm_%s %s\n", m->name, m->type);
        }
        buf_printf(out, "phpfpm_%s %" PRIu64 "\n", m->name, number_of(fields, m->field));
    }
    buf_text(out, "# EOF\n");
}

/* A key counts with any value: "full", "full=", "full=0". */
static bool asks_for(const char *query, const char *key)
{
    struct str rest = str_of(query), item, wanted = str_of(key);
    while (str_split(&rest, '&', &item)) {
        const char *eq = memchr(item.p, '=', item.n);
        if (str_eq((struct str){item.p, eq ? (size_t)(eq - item.p) : item.n}, wanted)) {
            return true;
        }
    }
    return false;
}

void status_render(const struct view *view, const struct pool_view *pool, const char *query, struct buf *out,
                   const char **content_type)
{
    struct pool_facts facts = {.view = view,
                               .pool = pool,
                               .now = (time_t)(clock_wall_us() / CLOCK_US_PER_SECOND),
                               .started = (time_t)(pool->start_wall_us / CLOCK_US_PER_SECOND)};
    const struct format *format = asks_for(query, "html")   ? &html_format
                                  : asks_for(query, "xml")  ? &xml_format
                                  : asks_for(query, "json") ? &json_format
                                                            : NULL;
    if (!format && asks_for(query, "openmetrics")) {
        *content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        render_openmetrics(&facts, out);
        return;
    }
    format = format ? format : &text_format;
    *content_type = format->content_type;
    render(format, &facts, asks_for(query, "full"), out);
}
