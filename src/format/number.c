#include "format/number.h"

#include "base/mem.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A number is digits × 10^exp; the digits stay where they are, a '.' among them. */
struct decimal {
    str digits; /* without leading and trailing zeros; may hold a '.' */
    int64_t exp;
    bool negative;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool take_exponent(str s, int64_t *ret)
{
    const int64_t limit = 1000000000000; /* past any text's length: more makes no difference */
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_skip(s, 1);
    int64_t e = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return false;
        if (e < limit)
            e = e * 10 + (s.p[i] - '0');
    }
    *ret = negative ? -e : e;
    return s.n > 0;
}

/* Drops zeros at both ends of the digits and moves the exponent so that the value stays. */
static void trim_zeros(struct decimal *d)
{
    str s = d->digits;
    while (s.n && (s.p[0] == '0' || s.p[0] == '.'))
        s = str_skip(s, 1);
    ptrdiff_t dot = str_find_c(d->digits, '.');
    const char *end = d->digits.p + d->digits.n;
    const char *point = dot < 0 ? end : d->digits.p + dot;
    if (point < end)
        d->exp -= end - point - 1;
    while (s.n && (s.p[s.n - 1] == '0' || s.p[s.n - 1] == '.')) {
        if (s.p[s.n - 1] == '0')
            d->exp++;
        s.n--;
    }
    d->digits = s;
}

static bool split_decimal(str s, struct decimal *ret)
{
    struct decimal d = { .negative = s.n && s.p[0] == '-' };
    if (d.negative)
        s = str_skip(s, 1);
    size_t n = 0, n_digits = 0, n_dots = 0;
    for (; n < s.n && (is_digit(s.p[n]) || s.p[n] == '.'); n++) {
        n_dots += s.p[n] == '.';
        n_digits += s.p[n] != '.';
    }
    if (!n_digits || n_dots > 1)
        return false;
    if (n < s.n && ((s.p[n] | 0x20) != 'e' || !take_exponent(str_skip(s, n + 1), &d.exp)))
        return false;
    d.digits = str_take(s, n);
    trim_zeros(&d);
    *ret = d;
    return true;
}

/* The magnitude as an integer; false when it has a fraction or doesn't fit. */
static bool whole(const struct decimal *d, uint64_t *ret)
{
    if (d->digits.n && (d->exp < 0 || d->exp > 19))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < d->digits.n; i++)
        if (d->digits.p[i] != '.' && (__builtin_mul_overflow(v, 10, &v) ||
                                      __builtin_add_overflow(v, d->digits.p[i] - '0', &v)))
            return false;
    for (int64_t e = 0; v && e < d->exp; e++)
        if (__builtin_mul_overflow(v, 10, &v))
            return false;
    *ret = v;
    return true;
}

bool number_u64(str s, uint64_t *ret)
{
    struct decimal d;
    uint64_t v;
    if (!split_decimal(s, &d) || !whole(&d, &v) || (d.negative && v))
        return false;
    *ret = v;
    return true;
}

bool number_i64(str s, int64_t *ret)
{
    struct decimal d;
    uint64_t v;
    if (!split_decimal(s, &d) || !whole(&d, &v) || v > (uint64_t)INT64_MAX + d.negative)
        return false;
    *ret = d.negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Both factors are exact doubles, so the one rounding is the right one (Clinger's fast path). */
static bool fast_double(const struct decimal *d, double *ret)
{
    static const double pow10[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    if (d->digits.n > 16 || d->exp < -22 || d->exp > 22)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < d->digits.n; i++)
        if (d->digits.p[i] != '.')
            v = v * 10 + (uint64_t)(d->digits.p[i] - '0');
    if (v > (uint64_t)1 << 53)
        return false;
    double x = d->exp < 0 ? (double)v / pow10[-d->exp] : (double)v * pow10[d->exp];
    *ret = d->negative ? -x : x;
    return true;
}

/* strtod in the C locale, whatever the program has chosen. z is NUL-terminated. */
static double c_strtod(const char *z)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return strtod(z, NULL);
    double x = strtod_l(z, NULL, c);
    freelocale(c);
    return x;
}

bool number_double(str s, double *ret)
{
    struct decimal d;
    if (!split_decimal(s, &d))
        return false;
    double x;
    if (!fast_double(&d, &x)) {
        char small[64];
        AUTO(mem_freep) char *large = s.n < sizeof small ? NULL : mem_dup(s.p, s.n);
        if (s.n < sizeof small) {
            memcpy(small, s.p, s.n);
            small[s.n] = 0;
        } else if (!large) {
            return false;
        }
        x = c_strtod(large ? large : small);
    }
    if (!isfinite(x))
        return false;
    *ret = x;
    return true;
}

struct shortest {
    char digits[24]; /* without trailing zeros */
    int n, exp;      /* 0.d1d2… × 10^exp */
};

/* Splits "d.ddde±xx", whatever the locale's point is. */
static void split_printed(const char *z, struct shortest *ret)
{
    ret->n = 0;
    const char *p = z;
    for (; *p != 'e'; p++)
        if (is_digit(*p) && ret->n < (int)sizeof ret->digits)
            ret->digits[ret->n++] = *p;
    bool negative = p[1] == '-';
    int e = 0;
    for (p += 2; is_digit(*p); p++)
        e = e * 10 + (*p - '0');
    ret->exp = (negative ? -e : e) + 1;
    while (ret->n > 1 && ret->digits[ret->n - 1] == '0')
        ret->n--;
}

/* 15 digits always survive the trip through a normal double; most that don't need 17 stop there. */
static void find_shortest(double d, struct shortest *ret)
{
    for (int precision = d < 2.3e-308 ? 0 : 14;; precision++) {
        char text[48], back[48];
        snprintf(text, sizeof text, "%.*e", precision, d);
        split_printed(text, ret);
        snprintf(back, sizeof back, "0.%.*se%d", ret->n, ret->digits, ret->exp);
        if (precision >= 16 || c_strtod(back) == d)
            return;
    }
}

static char *put_plain(char *p, const struct shortest *s)
{
    if (s->exp <= 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = s->exp; i < 0; i++)
            *p++ = '0';
    }
    for (int i = 0; i < s->n || i < s->exp; i++) {
        if (i == s->exp && i > 0)
            *p++ = '.';
        *p++ = i < s->n ? s->digits[i] : '0';
    }
    return p;
}

static char *put_scientific(char *p, const struct shortest *s, int min_digits)
{
    *p++ = s->digits[0];
    if (s->n > 1)
        *p++ = '.';
    for (int i = 1; i < s->n; i++)
        *p++ = s->digits[i];
    int e = s->exp - 1;
    *p++ = 'e';
    *p++ = e < 0 ? '-' : '+';
    return p + snprintf(p, 8, "%0*d", min_digits, abs(e));
}

size_t number_print(double d, enum number_form form, char ret[NUMBER_MAX])
{
    char *p = ret;
    if (signbit(d))
        *p++ = '-';
    d = fabs(d);
    if (d == 0) {
        *p++ = '0';
    } else {
        struct shortest s;
        find_shortest(d, &s);
        int lowest = form == NUMBER_JSON ? -5 : -3;
        bool scientific = s.exp < lowest || s.exp > 21;
        int min_digits = form == NUMBER_JSON ? 1 : 2;
        p = scientific ? put_scientific(p, &s, min_digits) : put_plain(p, &s);
    }
    *p = 0;
    return (size_t)(p - ret);
}
