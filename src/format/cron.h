/* cron.h — schedules: "@every 1m30s", "@hourly", and cron lines of five or six fields.
 * Owner:  the caller holds the struct; it points nowhere.
 * Thread: any; local time is read from the system's zone.
 * Failure: -INVALID with a text that names the field and the values it may take. */
#pragma once

#include "base/error.h"

struct cron {
    uint64_t second, minute;   /* bit n = matches n */
    uint32_t hour, day, month; /* days and months from 1 */
    uint8_t weekday;           /* 0 = Sunday */
    bool any_day, any_weekday; /* the field was '*' or '?' */
    uint64_t every_ns;         /* @every: whole seconds, at least one; 0 = fields count */
};

/* Six fields: second minute hour day month weekday; five: the second is 0. Names (jan, MON), ranges
 * a-b, steps a-b/n and * /n, lists a,b; '?' is '*'; weekday 7 is Sunday. Also @yearly @annually
 * @monthly @weekly @daily @midnight @hourly and @every <duration>. When both day fields are
 * restricted, either may match. */
int cron_parse(str s, struct cron *ret, struct error *err) WUR;

/* First firing after after_ns (wall clock, ns since 1970), or 0 when there is none within five
 * years. local = the fields mean the system's zone, else UTC. A local time that the clock skips
 * doesn't fire; one that comes twice fires twice. */
uint64_t cron_next(const struct cron *c, uint64_t after_ns, bool local);
