#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return SEC(t.tv_sec) + (uint64_t)t.tv_nsec;
}

uint64_t clock_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

size_t clock_rfc3339(uint64_t wall_ns, bool local, int digits, char ret[RFC3339_MAX])
{
    time_t sec = (time_t)(wall_ns / SEC(1));
    unsigned ns = (unsigned)(wall_ns % SEC(1));
    struct tm tm;
    if (local)
        localtime_r(&sec, &tm);
    else
        gmtime_r(&sec, &tm);
    size_t n = strftime(ret, RFC3339_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (digits) {
        char fraction[16];
        snprintf(fraction, sizeof fraction, ".%09u", ns);
        memcpy(ret + n, fraction, (size_t)digits + 1);
        n += (size_t)digits + 1;
    }
    if (!local || tm.tm_gmtoff == 0) {
        ret[n++] = 'Z';
        ret[n] = 0;
        return n;
    }
    long minutes = tm.tm_gmtoff / 60, size = minutes < 0 ? -minutes : minutes;
    return n + (size_t)snprintf(ret + n, RFC3339_MAX - n, "%c%02ld:%02ld", minutes < 0 ? '-' : '+',
                                size / 60, size % 60);
}

static bool digits_at(str *s, size_t n, int *ret)
{
    if (s->n < n)
        return false;
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + s->p[i] - '0';
    }
    *s = str_skip(*s, n);
    *ret = v;
    return true;
}

static bool char_at(str *s, char a, char b)
{
    if (!s->n || (s->p[0] != a && s->p[0] != b))
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static bool fraction_at(str *s, uint64_t *ret_ns)
{
    *ret_ns = 0;
    if (!char_at(s, '.', ','))
        return true;
    uint64_t unit = 100000000;
    size_t n = 0;
    for (; s->n && s->p[0] >= '0' && s->p[0] <= '9'; *s = str_skip(*s, 1), n++) {
        *ret_ns += (uint64_t)(s->p[0] - '0') * unit;
        unit /= 10;
    }
    return n > 0;
}

static bool offset_at(str *s, int *ret_minutes)
{
    *ret_minutes = 0;
    if (char_at(s, 'Z', 'z'))
        return true;
    int sign = s->n && s->p[0] == '-' ? -1 : 1, hours, minutes;
    if (!char_at(s, '+', '-') || !digits_at(s, 2, &hours) || !char_at(s, ':', ':') ||
        !digits_at(s, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

static bool day_exists(int year, int month, int day)
{
    struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day };
    (void)timegm(&tm); /* puts 30 February right */
    return tm.tm_mday == day && tm.tm_mon == month - 1;
}

bool clock_parse_rfc3339(str s, uint64_t *ret_wall_ns)
{
    struct tm tm = { 0 };
    uint64_t ns;
    int offset;
    if (!digits_at(&s, 4, &tm.tm_year) || !char_at(&s, '-', '-') || !digits_at(&s, 2, &tm.tm_mon) ||
        !char_at(&s, '-', '-') || !digits_at(&s, 2, &tm.tm_mday) || !char_at(&s, 'T', 't') ||
        !digits_at(&s, 2, &tm.tm_hour) || !char_at(&s, ':', ':') || !digits_at(&s, 2, &tm.tm_min) ||
        !char_at(&s, ':', ':') || !digits_at(&s, 2, &tm.tm_sec) || !fraction_at(&s, &ns) ||
        !offset_at(&s, &offset) || s.n)
        return false;
    if (tm.tm_year < 1970 || !day_exists(tm.tm_year, tm.tm_mon, tm.tm_mday) || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t sec = timegm(&tm) - (int64_t)offset * 60;
    if (sec < 0 || (uint64_t)sec > UINT64_MAX / SEC(1) - 1)
        return false;
    *ret_wall_ns = (uint64_t)sec * SEC(1) + ns;
    return true;
}
