#include "format/duration.h"

#include <stdio.h>

/* ---- Go's durations ---- */

static const struct unit {
    const char *name;
    uint64_t ns;
} units[] = {
    { "ns", 1 },     { "us", 1000 },  { "µs", 1000 }, /* U+00B5 */
    { "μs", 1000 },                                   /* U+03BC */
    { "ms", MS(1) }, { "s", SEC(1) }, { "m", 60 * SEC(1) }, { "h", 3600 * SEC(1) },
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool take_unit(str *s, uint64_t *ret_ns)
{
    size_t n = 0;
    while (n < s->n && s->p[n] != '.' && !is_digit(s->p[n]))
        n++;
    for (size_t i = 0; i < COUNT(units); i++)
        if (str_eq(str_take(*s, n), str_c(units[i].name))) {
            *ret_ns = units[i].ns;
            *s = str_skip(*s, n);
            return true;
        }
    return false;
}

/* The digits after the point as fraction / scale; digits past what 63 bits hold don't count. */
static size_t take_fraction(str s, uint64_t *ret_fraction, double *ret_scale)
{
    uint64_t v = 0;
    double scale = 1;
    size_t n = 0;
    for (bool full = false; n < s.n && is_digit(s.p[n]); n++) {
        full = full || v > (uint64_t)INT64_MAX / 10 - 1;
        if (full)
            continue;
        v = v * 10 + (uint64_t)(s.p[n] - '0');
        scale *= 10;
    }
    *ret_fraction = v;
    *ret_scale = scale;
    return n;
}

/* One "12.5ms" off the front of *s, added to *sum. */
static bool take_part(str *s, uint64_t *sum)
{
    const uint64_t max = (uint64_t)1 << 63; /* -2^63 ns is a duration, too */
    uint64_t whole = 0, fraction = 0, ns;
    double scale = 1;
    size_t n = 0, n_fraction = 0;
    for (; n < s->n && is_digit(s->p[n]); n++) {
        uint64_t digit = (uint64_t)(s->p[n] - '0');
        if (whole > (max - digit) / 10)
            return false;
        whole = whole * 10 + digit;
    }
    *s = str_skip(*s, n);
    if (s->n && s->p[0] == '.') {
        *s = str_skip(*s, 1);
        n_fraction = take_fraction(*s, &fraction, &scale);
        *s = str_skip(*s, n_fraction);
    }
    if ((!n && !n_fraction) || !take_unit(s, &ns) || whole > max / ns)
        return false;

    uint64_t part = whole * ns + (uint64_t)((double)fraction * ((double)ns / scale));
    if (part > max || *sum > max - part)
        return false;
    *sum += part;
    return true;
}

bool duration_parse(str s, int64_t *ret_ns)
{
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_skip(s, 1);
    if (!s.n)
        return false;

    uint64_t sum = 0;
    if (!str_eq(s, S("0")))
        while (s.n)
            if (!take_part(&s, &sum))
                return false;
    if (!negative && sum > INT64_MAX)
        return false;
    *ret_ns = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

bool duration_parse_bare(str s, int64_t bare_ns, int64_t *ret_ns)
{
    int64_t n, ns;
    if (!str_to_i64(s, &n))
        return duration_parse(s, ret_ns);
    if (__builtin_mul_overflow(n, bare_ns, &ns))
        return false;
    *ret_ns = ns;
    return true;
}

/* Writes v / 10^digits without trailing zeros; returns the length. */
static size_t print_decimal(uint64_t v, int digits, char *ret, size_t size)
{
    uint64_t scale = 1;
    for (int i = 0; i < digits; i++)
        scale *= 10;
    int n = snprintf(ret, size, "%llu.%0*llu", (unsigned long long)(v / scale), digits,
                     (unsigned long long)(v % scale));
    while (n > 0 && ret[n - 1] == '0')
        n--;
    if (n > 0 && ret[n - 1] == '.')
        n--;
    return (size_t)n;
}

size_t duration_print(int64_t ns, char ret[DURATION_MAX])
{
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    size_t n = 0;
    if (ns < 0)
        ret[n++] = '-';
    if (v < SEC(1)) {
        const char *unit = !v ? "s" : v < 1000 ? "ns" : v < MS(1) ? "µs" : "ms";
        int digits = v < 1000 ? 0 : v < MS(1) ? 3 : 6;
        char number[24];
        size_t len = digits ? print_decimal(v, digits, number, sizeof number)
                            : (size_t)snprintf(number, sizeof number, "%u", (unsigned)v);
        return n + (size_t)snprintf(ret + n, DURATION_MAX - n, "%.*s%s", (int)len, number, unit);
    }
    uint64_t minutes = v / SEC(60);
    char seconds[24];
    size_t len = print_decimal(v % SEC(60), 9, seconds, sizeof seconds);
    if (minutes >= 60)
        n += (size_t)snprintf(ret + n, DURATION_MAX - n, "%uh", (unsigned)(minutes / 60));
    if (minutes)
        n += (size_t)snprintf(ret + n, DURATION_MAX - n, "%um", (unsigned)(minutes % 60));
    return n + (size_t)snprintf(ret + n, DURATION_MAX - n, "%.*ss", (int)len, seconds);
}

/* ---- quantities ---- */

typedef unsigned __int128 u128;

struct quantity {
    u128 digits; /* value = digits × 10^exp10 × 2^exp2 */
    int exp10, exp2;
    bool negative;
};

static bool take_suffix(str s, struct quantity *q)
{
    static const struct {
        const char *name;
        int exp10, exp2;
    } row[] = {
        { "", 0, 0 },    { "n", -9, 0 },  { "u", -6, 0 },  { "m", -3, 0 },
        { "k", 3, 0 },   { "M", 6, 0 },   { "G", 9, 0 },   { "T", 12, 0 },
        { "P", 15, 0 },  { "E", 18, 0 },  { "Ki", 0, 10 }, { "Mi", 0, 20 },
        { "Gi", 0, 30 }, { "Ti", 0, 40 }, { "Pi", 0, 50 }, { "Ei", 0, 60 },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_eq(s, str_c(row[i].name))) {
            q->exp10 += row[i].exp10;
            q->exp2 = row[i].exp2;
            return true;
        }
    int64_t exp;
    if ((s.p[0] | 0x20) != 'e' || !str_to_i64(str_skip(s, 1), &exp) || exp < -100 || exp > 100)
        return false;
    q->exp10 += (int)exp;
    return true;
}

static bool split_quantity(str s, struct quantity *ret)
{
    enum { DIGITS_MAX = 30 }; /* fits 128 bits; more than any size or CPU share needs */
    struct quantity q = { .negative = s.n && s.p[0] == '-' };
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_skip(s, 1);
    bool point = false;
    size_t n = 0, n_digits = 0;
    for (; n < s.n && (is_digit(s.p[n]) || (s.p[n] == '.' && !point)); n++) {
        if (s.p[n] == '.') {
            point = true;
            continue;
        }
        if (++n_digits > DIGITS_MAX)
            return false;
        q.digits = q.digits * 10 + (u128)(s.p[n] - '0');
        q.exp10 -= point;
    }
    if (!n_digits || !take_suffix(str_skip(s, n), &q))
        return false;
    *ret = q;
    return true;
}

static bool quantity_scaled(str s, int extra_exp10, int64_t *ret)
{
    struct quantity q;
    if (!split_quantity(s, &q))
        return false;
    u128 v = q.digits, divisor = 1;
    if (__builtin_mul_overflow(v, (u128)1 << q.exp2, &v))
        return false;
    int exp = q.exp10 + extra_exp10;
    for (int i = 0; v && i < exp; i++)
        if (__builtin_mul_overflow(v, 10, &v))
            return false;
    /* Once the divisor is past v the quotient is 0 and rounds up to 1: no need to go further. */
    for (int i = 0; i > exp && divisor <= v; i--)
        if (__builtin_mul_overflow(divisor, 10, &divisor))
            return false;
    v = v / divisor + (v % divisor != 0);
    if (v > (u128)INT64_MAX)
        return false;
    *ret = q.negative ? -(int64_t)v : (int64_t)v;
    return true;
}

bool quantity_parse(str s, int64_t *ret)
{
    return quantity_scaled(s, 0, ret);
}

bool quantity_parse_milli(str s, int64_t *ret)
{
    return quantity_scaled(s, 3, ret);
}
