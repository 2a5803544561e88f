#include "format/cron.h"

#include "format/duration.h"

#include <time.h>

struct field {
    const char *name;
    unsigned low, high;
    const char *const *words; /* "jan" is words[0] = low; NULL = none */
    size_t n_words;
};

static const char *const months[] = { "jan", "feb", "mar", "apr", "may", "jun",
                                      "jul", "aug", "sep", "oct", "nov", "dec" };
static const char *const weekdays[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };

enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, N_FIELDS };

static const struct field fields[N_FIELDS] = {
    [SECOND] = { "second", 0, 59, NULL, 0 },
    [MINUTE] = { "minute", 0, 59, NULL, 0 },
    [HOUR] = { "hour", 0, 23, NULL, 0 },
    [DAY] = { "day of month", 1, 31, NULL, 0 },
    [MONTH] = { "month", 1, 12, months, COUNT(months) },
    [WEEKDAY] = { "day of week", 0, 7, weekdays, COUNT(weekdays) },
};

static int refuse(struct error *err, const struct field *f, str text)
{
    return fail(err, INVALID, NULL,
                "cron: \"" STR_FMT "\" is no %s: write %u to %u, *, a range a-b, a step */n or a "
                "list a,b",
                STR_ARG(str_take(text, 60)), f->name, f->low, f->high);
}

static bool parse_value(const struct field *f, str s, unsigned *ret)
{
    for (size_t i = 0; i < f->n_words; i++)
        if (str_ieq(s, str_c(f->words[i]))) {
            *ret = f->low + (unsigned)i;
            return true;
        }
    uint64_t v;
    if (!str_to_u64(s, &v) || v < f->low || v > f->high)
        return false;
    *ret = (unsigned)v;
    return true;
}

/* "*", "5" or "a-b"; open: a single value runs on to the end, as in "5/10". */
static bool parse_range(const struct field *f, str range, bool open, unsigned *ret_low,
                        unsigned *ret_high)
{
    str low, high;
    *ret_low = f->low;
    *ret_high = f->high;
    if (str_eq(range, S("*")) || str_eq(range, S("?")))
        return true;
    bool ranged = str_cut(range, '-', &low, &high);
    if (!parse_value(f, low, ret_low))
        return false;
    if (ranged)
        return parse_value(f, high, ret_high) && *ret_high >= *ret_low;
    if (!open)
        *ret_high = *ret_low;
    return true;
}

/* A range, perhaps with "/step" behind it. *ret_any: matches everything. */
static bool parse_item(const struct field *f, str item, uint64_t *bits, bool *ret_any)
{
    str range, step_text;
    uint64_t step = 1;
    unsigned low, high;
    bool stepped = str_cut(item, '/', &range, &step_text);
    if (stepped && (!str_to_u64(step_text, &step) || !step || step > f->high))
        return false;
    if (!parse_range(f, range, stepped, &low, &high))
        return false;
    for (uint64_t v = low; v <= high; v += step)
        *bits |= (uint64_t)1 << v;
    bool star = str_eq(range, S("*")) || str_eq(range, S("?"));
    *ret_any = *ret_any || (star && step == 1);
    return true;
}

static int parse_field(const struct field *f, str text, uint64_t *ret_bits, bool *ret_any,
                       struct error *err)
{
    *ret_bits = 0;
    *ret_any = false;
    for (str rest = text, item; str_next(&rest, ',', &item);)
        if (!parse_item(f, item, ret_bits, ret_any))
            return refuse(err, f, item);
    return 0;
}

static bool next_word(str *rest, str *ret)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->n && !memchr(" \t\r\n\v\f", rest->p[n], 6))
        n++;
    *ret = str_take(*rest, n);
    *rest = str_skip(*rest, n);
    return n > 0;
}

static int parse_line(str s, struct cron *ret, struct error *err)
{
    str word[N_FIELDS + 1];
    size_t n = 1; /* word[0] is for the second, which may be missing */
    while (n <= N_FIELDS && next_word(&s, &word[n]))
        n++;
    str more;
    bool six = n == N_FIELDS + 1 && !next_word(&s, &more);
    if (n != N_FIELDS && !six)
        return fail(err, INVALID, NULL,
                    "cron: a schedule has five fields (minute hour day month weekday), or six with "
                    "the second first, or is like @hourly or @every 1m30s");
    word[0] = S("0");

    uint64_t bits[N_FIELDS];
    bool any[N_FIELDS];
    for (size_t i = 0; i < N_FIELDS; i++) {
        int r = parse_field(&fields[i], word[i + six], &bits[i], &any[i], err);
        if (r)
            return r;
    }
    *ret = (struct cron){ .second = bits[SECOND],
                          .minute = bits[MINUTE],
                          .hour = (uint32_t)bits[HOUR],
                          .day = (uint32_t)bits[DAY],
                          .month = (uint32_t)bits[MONTH],
                          .weekday = (uint8_t)((bits[WEEKDAY] | bits[WEEKDAY] >> 7) & 0x7f),
                          .any_day = any[DAY],
                          .any_weekday = any[WEEKDAY] };
    return 0;
}

static int parse_every(str s, struct cron *ret, struct error *err)
{
    int64_t ns;
    if (!duration_parse(str_trim(s), &ns) || ns <= 0)
        return fail(err, INVALID, NULL,
                    "cron: \"" STR_FMT "\" is no interval: write @every and a duration above zero, "
                    "such as @every 1m30s",
                    STR_ARG(str_take(s, 60)));
    uint64_t every = (uint64_t)ns - (uint64_t)ns % SEC(1);
    *ret = (struct cron){ .every_ns = every ? every : SEC(1) };
    return 0;
}

int cron_parse(str s, struct cron *ret, struct error *err)
{
    static const struct {
        str name, line;
    } row[] = {
        { S("@yearly"), S("0 0 1 1 *") },  { S("@annually"), S("0 0 1 1 *") },
        { S("@monthly"), S("0 0 1 * *") }, { S("@weekly"), S("0 0 * * 0") },
        { S("@daily"), S("0 0 * * *") },   { S("@midnight"), S("0 0 * * *") },
        { S("@hourly"), S("0 * * * *") },
    };
    s = str_trim(s);
    if (str_starts(s, S("@every ")))
        return parse_every(str_skip(s, S("@every ").n), ret, err);
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_eq(s, row[i].name))
            return parse_line(row[i].line, ret, err);
    return parse_line(s, ret, err);
}

/* ---- the next firing ---- */

static void split_time(time_t t, bool local, struct tm *ret)
{
    if (local)
        localtime_r(&t, ret);
    else
        gmtime_r(&t, ret);
}

static time_t join_time(struct tm *tm, bool local)
{
    tm->tm_hour = tm->tm_min = tm->tm_sec = 0;
    tm->tm_isdst = -1;
    return local ? mktime(tm) : timegm(tm);
}

static bool day_matches(const struct cron *c, const struct tm *tm)
{
    bool day = c->day >> tm->tm_mday & 1, weekday = c->weekday >> tm->tm_wday & 1;
    return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

/* t itself when it fires; else a later time before which nothing fires. Hours and less move in
 * absolute time, so that a changing clock neither hides nor invents one. */
static time_t advance(const struct cron *c, time_t t, bool local)
{
    struct tm tm;
    split_time(t, local, &tm);
    if (!(c->month >> (tm.tm_mon + 1) & 1)) {
        tm.tm_mon++;
        tm.tm_mday = 1;
        return join_time(&tm, local);
    }
    if (!day_matches(c, &tm)) {
        tm.tm_mday++;
        return join_time(&tm, local);
    }
    if (!(c->hour >> tm.tm_hour & 1))
        return t + 3600 - tm.tm_min * 60 - tm.tm_sec;
    if (!(c->minute >> tm.tm_min & 1))
        return t + 60 - tm.tm_sec;
    if (!(c->second >> tm.tm_sec & 1)) /* a leap second, 60, is bit 60: never set */
        return t + 1;
    return t;
}

uint64_t cron_next(const struct cron *c, uint64_t after_ns, bool local)
{
    uint64_t second = after_ns / SEC(1);
    if (c->every_ns)
        return (second + c->every_ns / SEC(1)) * SEC(1);

    const time_t day = 86400;
    time_t t = (time_t)second + 1, limit = t + 5 * 366 * day;
    while (t < limit) {
        time_t next = advance(c, t, local);
        if (next == t)
            return (uint64_t)t * SEC(1);
        /* A midnight that the clock skips may map to the evening before. */
        t = next > t ? next : t + 3600;
    }
    return 0;
}
