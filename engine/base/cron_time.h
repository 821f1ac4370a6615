/* When something is due, as crontab(5) writes it: minute, hour, day of the month, month, day of the week;
 * each
 * "*", numbers, ranges and lists of them, with "/step"; names of months and days in three letters; or
 * @hourly,
 * @daily, @weekly, @monthly, @yearly. In local time: what names hours is due once for each, right after a
 * jump of the clock over it, and the first of two times. Pure functions; any thread. */
#ifndef ENGINE_BASE_CRON_TIME_H
#define ENGINE_BASE_CRON_TIME_H

#include <stdint.h>
#include <time.h>

#include "engine/base/str.h"

struct cron_time {
    uint64_t minutes; /* bits */
    uint32_t hours, days, months, weekdays;
    bool any_hour;             /* it goes by the time that passes, whatever the clock is set to */
    bool any_day, any_weekday; /* if neither is, either will do */
};

/* What follows the fields is left in *text, without blanks before it. False: they are none. */
bool cron_time_read(struct cron_time *out, struct str *text);
/* The first one after that moment; -1: never (the 30th of February). */
time_t cron_time_next(const struct cron_time *t, time_t after);

#endif
