#include "format/cel_ast.h"

#include <stdio.h>

enum { DAY_S = 86400 };

static const int64_t first_second = -62135596800; /* 0001-01-01T00:00:00Z */
static const int64_t last_second = 253402300799;  /* 9999-12-31T23:59:59Z */

struct civil {
    int64_t year;
    unsigned month, day; /* from 1 */
};

/* Proleptic Gregorian calendar in 400-year eras that begin on 1 March, so that the leap day is the
 * last of its year. */
static int64_t days_of(struct civil c)
{
    int64_t y = c.year - (c.month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t month = (c.month + 9) % 12;
    int64_t doy = (153 * month + 2) / 5 + c.day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static struct civil civil_of(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), month = (5 * doy + 2) / 153;
    unsigned m = (unsigned)(month < 10 ? month + 3 : month - 9);
    return (struct civil){ yoe + era * 400 + (m <= 2), m,
                           (unsigned)(doy - (153 * month + 2) / 5 + 1) };
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

bool cel_time_valid(int64_t s)
{
    return s >= first_second && s <= last_second;
}

/* ---- text ---- */

static bool take_digits(str *s, size_t n, unsigned *ret)
{
    unsigned v = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s->p[i] - '0');
    }
    *s = str_skip(*s, n);
    *ret = v;
    return true;
}

static bool take_char(str *s, const char *any_of)
{
    if (!s->n || !strchr(any_of, s->p[0]) || !s->p[0])
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static bool take_fraction(str *s, int32_t *ret_ns)
{
    *ret_ns = 0;
    if (!take_char(s, "."))
        return true;
    int32_t scale = 100000000;
    size_t n = 0;
    for (; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++, scale /= 10)
        *ret_ns += (s->p[n] - '0') * scale; /* past the ninth digit the scale is 0 */
    *s = str_skip(*s, n);
    return n > 0;
}

static bool take_offset(str *s, int64_t *ret_seconds)
{
    unsigned hours, minutes;
    *ret_seconds = 0;
    if (take_char(s, "Zz"))
        return true;
    bool west = s->n && s->p[0] == '-';
    if (!take_char(s, "+-") || !take_digits(s, 2, &hours) || !take_char(s, ":") ||
        !take_digits(s, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    int64_t offset = hours * 3600 + minutes * 60;
    *ret_seconds = west ? -offset : offset;
    return true;
}

static unsigned days_in(int64_t year, unsigned month)
{
    struct civil first = { year, month, 1 },
                 next = { year + (month == 12), month == 12 ? 1 : month + 1, 1 };
    return (unsigned)(days_of(next) - days_of(first));
}

/* "2026-01-02" as days since 1970. */
static bool take_date(str *s, int64_t *ret_days)
{
    struct civil c;
    unsigned year;
    if (!take_digits(s, 4, &year) || !take_char(s, "-") || !take_digits(s, 2, &c.month) ||
        !take_char(s, "-") || !take_digits(s, 2, &c.day))
        return false;
    c.year = year;
    if (c.month < 1 || c.month > 12 || c.day < 1 || c.day > days_in(year, c.month))
        return false;
    *ret_days = days_of(c);
    return true;
}

/* "03:04:05" as seconds of the day. */
static bool take_clock(str *s, int64_t *ret_seconds)
{
    unsigned hour, minute, second;
    if (!take_digits(s, 2, &hour) || !take_char(s, ":") || !take_digits(s, 2, &minute) ||
        !take_char(s, ":") || !take_digits(s, 2, &second))
        return false;
    *ret_seconds = hour * 3600 + minute * 60 + second;
    return hour < 24 && minute < 60 && second < 60;
}

bool cel_time_parse(str s, struct cel_time *ret)
{
    int64_t days, seconds, offset;
    int32_t ns;
    if (!take_date(&s, &days) || !take_char(&s, "Tt ") || !take_clock(&s, &seconds) ||
        !take_fraction(&s, &ns) || !take_offset(&s, &offset) || s.n)
        return false;
    int64_t t = days * DAY_S + seconds - offset;
    if (!cel_time_valid(t))
        return false;
    *ret = (struct cel_time){ t, ns };
    return true;
}

/* ".123" without trailing zeros; nothing for 0. */
static size_t print_fraction(int32_t ns, char *ret)
{
    if (!ns)
        return 0;
    size_t n = (size_t)snprintf(ret, 12, ".%09d", (int)ns);
    while (ret[n - 1] == '0')
        n--;
    ret[n] = 0;
    return n;
}

size_t cel_time_print(struct cel_time t, char ret[CEL_TIME_MAX])
{
    int64_t days = floor_div(t.s, DAY_S), s = t.s - days * DAY_S;
    struct civil c = civil_of(days);
    size_t n = (size_t)snprintf(ret, CEL_TIME_MAX, "%04d-%02u-%02uT%02d:%02d:%02d", (int)c.year,
                                c.month, c.day, (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    n += print_fraction(t.ns, ret + n);
    ret[n++] = 'Z';
    ret[n] = 0;
    return n;
}

size_t cel_duration_print(int64_t ns, char ret[CEL_TIME_MAX])
{
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    size_t n = (size_t)snprintf(ret, CEL_TIME_MAX, "%s%llu", ns < 0 ? "-" : "",
                                (unsigned long long)(v / SEC(1)));
    n += print_fraction((int32_t)(v % SEC(1)), ret + n);
    ret[n++] = 's';
    ret[n] = 0;
    return n;
}

/* ---- arithmetic ---- */

bool cel_time_add(struct cel_time t, int64_t ns, struct cel_time *ret)
{
    const int64_t second = 1000000000;
    int64_t whole = floor_div(ns, second), sum = t.ns + (ns - whole * second);
    struct cel_time v = { t.s + whole + sum / second, (int32_t)(sum % second) };
    if (!cel_time_valid(v.s))
        return false;
    *ret = v;
    return true;
}

bool cel_time_sub(struct cel_time a, struct cel_time b, int64_t *ret_ns)
{
    int64_t ns;
    if (__builtin_mul_overflow(a.s - b.s, 1000000000, &ns) ||
        __builtin_add_overflow(ns, a.ns - b.ns, &ns))
        return false;
    *ret_ns = ns;
    return true;
}

/* ---- parts ---- */

static bool zone_offset(str zone, int64_t *ret)
{
    *ret = 0;
    if (!zone.n || str_eq(zone, S("UTC")) || str_eq(zone, S("Z")))
        return true;
    bool west = zone.p[0] == '-';
    (void)take_char(&zone, "+-");
    unsigned hours, minutes;
    bool ok =
        str_find_c(zone, ':') == 1 ? take_digits(&zone, 1, &hours) : take_digits(&zone, 2, &hours);
    if (!ok || !take_char(&zone, ":") || !take_digits(&zone, 2, &minutes) || zone.n || hours > 23 ||
        minutes > 59)
        return false;
    *ret = (int64_t)(hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return true;
}

bool cel_time_part(struct cel_time t, str zone, enum cel_time_part part, int64_t *ret)
{
    int64_t offset;
    if (!zone_offset(zone, &offset))
        return false;
    int64_t days = floor_div(t.s + offset, DAY_S), s = t.s + offset - days * DAY_S;
    struct civil c = civil_of(days);
    struct civil new_year = { c.year, 1, 1 };
    const int64_t value[] = {
        [PART_YEAR] = c.year,
        [PART_MONTH] = c.month - 1,
        [PART_DAY_OF_MONTH] = c.day - 1,
        [PART_DATE] = c.day,
        [PART_DAY_OF_WEEK] = ((days + 4) % 7 + 7) % 7, /* 1970-01-01 was a Thursday */
        [PART_DAY_OF_YEAR] = days - days_of(new_year),
        [PART_HOURS] = s / 3600,
        [PART_MINUTES] = s / 60 % 60,
        [PART_SECONDS] = s % 60,
        [PART_MILLISECONDS] = t.ns / 1000000,
    };
    *ret = value[part];
    return true;
}
