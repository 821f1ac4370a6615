/* HTTP's dates: printed in the one preferred form, read in all three that RFC 9110 5.6.7 knows. Own
 * arithmetic instead of strptime() and timegm(), which ask the locale and take a lock. Pure functions; any
 * thread. */
#include <string.h>

#include "http/wire/http_date.h"

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Days since 1970-01-01 of a date in the Gregorian calendar, counted in years that begin in March. */
static int64_t days_of(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void put_number(char *out, int digits, int64_t value)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void http_date_print(int64_t seconds, char out[HTTP_DATE_N + 1])
{
    static const char weekdays[] = "ThuFriSatSunMonTueWed";
    if (seconds < 0 || seconds > 253402300799) { /* a file from before 1970, or after 9999 */
        seconds = 0;
    }
    int64_t days = seconds / 86400, rest = seconds % 86400;
    int64_t shifted = days + 719468, era = shifted / 146097, day_of_era = shifted % 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march = (5 * day_of_year + 2) / 153;
    int64_t month = march < 10 ? march + 3 : march - 9;
    memcpy(out, "Www, dd Mmm yyyy hh:mm:ss GMT", HTTP_DATE_N + 1);
    memcpy(out, weekdays + days % 7 * 3, 3);
    put_number(out + 5, 2, day_of_year - (153 * march + 2) / 5 + 1);
    memcpy(out + 8, months + (month - 1) * 3, 3);
    put_number(out + 12, 4, year_of_era + era * 400 + (month <= 2));
    put_number(out + 17, 2, rest / 3600);
    put_number(out + 20, 2, rest / 60 % 60);
    put_number(out + 23, 2, rest % 60);
}

/* A reader that remembers that something was wrong. */
struct reader {
    const char *p, *end;
    bool bad;
};

static void expect(struct reader *r, const char *text)
{
    size_t n = strlen(text);
    if (r->bad || (size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0) {
        r->bad = true;
        return;
    }
    r->p += n;
}

static int read_number(struct reader *r, int digits, int max)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        bool blank = i == 0 && digits == 2 && r->p < r->end && *r->p == ' '; /* asctime's " 6" */
        if (r->bad || r->p == r->end || (!blank && (*r->p < '0' || *r->p > '9'))) {
            r->bad = true;
            return 0;
        }
        value = value * 10 + (blank ? 0 : *r->p - '0');
        r->p++;
    }
    r->bad |= value > max;
    return value;
}

static int read_month(struct reader *r)
{
    for (int month = 0; !r->bad && r->end - r->p >= 3 && month < 12; month++) {
        if (memcmp(r->p, months + month * 3, 3) == 0) {
            r->p += 3;
            return month + 1;
        }
    }
    r->bad = true;
    return 1;
}

static int64_t read_clock(struct reader *r)
{
    int hours = read_number(r, 2, 23);
    expect(r, ":");
    int minutes = read_number(r, 2, 59);
    expect(r, ":");
    return hours * 3600 + minutes * 60 + read_number(r, 2, 60);
}

/* A year in two digits is at most 50 years in the future, seen from this century. */
static int full_year(int two)
{
    return two + (two < 70 ? 2000 : 1900);
}

bool http_date_parse(struct str text, int64_t *seconds)
{
    struct reader r = {text.p, text.p + text.n, false};
    int year, month, day;
    int64_t clock;
    const char *comma = text.n > 10 ? memchr(text.p, ',', 10) : NULL;
    if (text.n < 24) {
        return false;
    }
    if (comma == NULL) { /* Sun Nov  6 08:49:37 1994 */
        r.p += 4;
        month = read_month(&r);
        expect(&r, " ");
        day = read_number(&r, 2, 31);
        expect(&r, " ");
        clock = read_clock(&r);
        expect(&r, " ");
        year = read_number(&r, 4, 9999);
    } else { /* Sun, 06 Nov 1994 08:49:37 GMT, or Sunday, 06-Nov-94 08:49:37 GMT */
        bool old = comma - text.p > 3;
        r.p = comma + 1;
        expect(&r, " ");
        day = read_number(&r, 2, 31);
        expect(&r, old ? "-" : " ");
        month = read_month(&r);
        expect(&r, old ? "-" : " ");
        year = old ? full_year(read_number(&r, 2, 99)) : read_number(&r, 4, 9999);
        expect(&r, " ");
        clock = read_clock(&r);
        expect(&r, " GMT");
    }
    if (r.bad || r.p != r.end || day == 0) {
        return false;
    }
    *seconds = days_of(year, month, day) * 86400 + clock;
    return true;
}
