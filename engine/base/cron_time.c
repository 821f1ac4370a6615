/* See cron_time.h. */
#include "engine/base/cron_time.h"

#include <string.h>
#include <strings.h>

#define YEARS_AHEAD 9          /* the 29th of February may be that far */
#define BACK_MOST   (3 * 3600) /* seconds that a clock is set back by at once */

struct range {
    unsigned first, last;
    const char *names; /* three letters each, or NULL; the first one is `first` */
};

static const struct range fields[] = {
    {0, 59, NULL},
    {0, 23, NULL},
    {1, 31, NULL},
    {1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {0, 7, "sunmontuewedthufrisat"},
};

static const struct {
    const char *word, *means;
} words[] = {
    {"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},
};

static bool read_number(struct str *s, const struct range *range, unsigned *out)
{
    size_t n = 0;

    for (const char *name = range->names; name && *name && s->n >= 3; name += 3) {
        if (strncasecmp(s->p, name, 3) == 0) {
            *out = range->first + (unsigned)(name - range->names) / 3;
            *s = (struct str){s->p + 3, s->n - 3};
            return true;
        }
    }
    for (*out = 0; n < s->n && n < 4 && s->p[n] >= '0' && s->p[n] <= '9'; n++) {
        *out = *out * 10 + (unsigned)(s->p[n] - '0');
    }
    *s = (struct str){s->p + n, s->n - n};
    return n > 0;
}

static bool take(struct str *s, char c)
{
    if (s->n == 0 || s->p[0] != c) {
        return false;
    }
    *s = (struct str){s->p + 1, s->n - 1};
    return true;
}

/* One piece of a list: "*", "5", "1-5", each perhaps with "/2". */
static bool read_piece(struct str piece, const struct range *range, uint64_t *bits)
{
    unsigned from = range->first, to = range->last, step = 1;
    bool all = take(&piece, '*');

    if (!all) {
        if (!read_number(&piece, range, &from)) {
            return false;
        }
        to = from;
        if (take(&piece, '-') && !read_number(&piece, range, &to)) {
            return false;
        }
    }
    if (take(&piece, '/')) {
        to = !all && to == from ? range->last : to;
        if (!read_number(&piece, &fields[0], &step) || step == 0) {
            return false;
        }
    }
    if (piece.n > 0 || from < range->first || to > range->last || from > to) {
        return false;
    }
    for (unsigned i = from; i <= to; i += step) {
        *bits |= UINT64_C(1) << i;
    }
    return true;
}

static bool read_field(struct str field, const struct range *range, uint64_t *bits)
{
    struct str piece;

    *bits = 0;
    while (str_split(&field, ',', &piece)) {
        if (!read_piece(piece, range, bits)) {
            return false;
        }
    }
    return *bits != 0;
}

static struct str next_field(struct str *text)
{
    struct str field = {text->p, 0};

    while (field.n < text->n && field.p[field.n] != ' ' && field.p[field.n] != '\t') {
        field.n++;
    }
    *text = (struct str){text->p + field.n, text->n - field.n};
    while (take(text, ' ') || take(text, '\t')) {
    }
    return field;
}

bool cron_time_read(struct cron_time *out, struct str *text)
{
    uint64_t bits[5];

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        struct str rest = *text, means = str_of(words[i].means);

        if (str_ieq(next_field(&rest), str_of(words[i].word))) {
            *text = rest;
            return cron_time_read(out, &means);
        }
    }
    for (size_t i = 0; i < 5; i++) {
        struct str field = next_field(text);

        if (i == 1) {
            out->any_hour = field.n > 0 && field.p[0] == '*';
        } else if (i == 2) {
            out->any_day = field.n > 0 && field.p[0] == '*';
        } else if (i == 4) {
            out->any_weekday = field.n > 0 && field.p[0] == '*';
        }
        if (!read_field(field, &fields[i], &bits[i])) {
            return false;
        }
    }
    out->minutes = bits[0];
    out->hours = (uint32_t)bits[1];
    out->days = (uint32_t)bits[2];
    out->months = (uint32_t)bits[3];
    out->weekdays = (uint32_t)(bits[4] | bits[4] >> 7); /* 7 is Sunday, too */
    return true;
}

static bool fits_day(const struct cron_time *t, const struct tm *at)
{
    bool day = t->days >> at->tm_mday & 1, weekday = t->weekdays >> at->tm_wday & 1;

    return t->any_day || t->any_weekday ? day && weekday : day || weekday;
}

static bool fits(const struct cron_time *t, const struct tm *at)
{
    return t->months >> (at->tm_mon + 1) & 1 && fits_day(t, at) && t->hours >> at->tm_hour & 1 &&
           t->minutes >> at->tm_min & 1;
}

/* -- a clock that is set, in spring and autumn -- */

static long offset_at(time_t when)
{
    struct tm at;

    localtime_r(&when, &at);
    return at.tm_gmtoff;
}

/* The clock has just jumped over a minute that was meant. */
static bool fits_jumped(const struct cron_time *t, time_t when, const struct tm *at)
{
    for (long jump = at->tm_gmtoff - offset_at(when - 60); jump > 0; jump -= 60) {
        time_t shown = when + at->tm_gmtoff - jump;
        struct tm missing;

        if (fits(t, gmtime_r(&shown, &missing))) {
            return true;
        }
    }
    return false;
}

/* The clock was set back, and has shown this minute before. */
static bool is_shown_again(time_t when, const struct tm *at)
{
    long back = offset_at(when - BACK_MOST) - at->tm_gmtoff;

    return back > 0 && offset_at(when - back) == at->tm_gmtoff + back;
}

/* Whoever names hours wants one run of each, also where the clock has none of them, or two. */
static bool is_due(const struct cron_time *t, time_t when, const struct tm *at)
{
    if (t->any_hour) {
        return fits(t, at);
    }
    return fits(t, at) ? !is_shown_again(when, at) : fits_jumped(t, when, at);
}

/* From a moment that is not the right one to the next that may be. Within a day by the real time. */
static time_t go_on(const struct cron_time *t, time_t when, const struct tm *at)
{
    struct tm next = {.tm_year = at->tm_year, .tm_mon = at->tm_mon, .tm_mday = 1, .tm_isdst = -1};

    if (!(t->months >> (at->tm_mon + 1) & 1)) {
        next.tm_mon++;
    } else if (!fits_day(t, at)) {
        next.tm_mday = at->tm_mday + 1;
    } else {
        return when + (t->hours >> at->tm_hour & 1 ? 60 : (60 - at->tm_min) * 60);
    }
    time_t day = mktime(&next);

    return day > when ? day : when + 60;
}

time_t cron_time_next(const struct cron_time *t, time_t after)
{
    time_t when = after - after % 60 + 60;
    struct tm at;

    localtime_r(&when, &at);
    for (int last_year = at.tm_year + YEARS_AHEAD; at.tm_year <= last_year; localtime_r(&when, &at)) {
        if (is_due(t, when, &at)) {
            return when;
        }
        when = go_on(t, when, &at);
    }
    return -1;
}
