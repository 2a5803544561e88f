#include "base/str.h"

#include <limits.h>

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static bool space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool str_ieq(str a, str b)
{
    return a.n == b.n && str_istarts(a, b);
}

int str_cmp(str a, str b)
{
    size_t n = min_size(a.n, b.n);
    int r = n ? memcmp(a.p, b.p, n) : 0;
    return r ? r : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(str s, str prefix)
{
    return s.n >= prefix.n && (!prefix.n || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_istarts(str s, str prefix)
{
    if (s.n < prefix.n)
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if (lower((unsigned char)s.p[i]) != lower((unsigned char)prefix.p[i]))
            return false;
    return true;
}

bool str_ends(str s, str suffix)
{
    return s.n >= suffix.n && str_eq(str_skip(s, s.n - suffix.n), suffix);
}

str str_skip(str s, size_t n)
{
    n = min_size(n, s.n);
    return n ? (str){ s.p + n, s.n - n } : s; /* not even 0 may be added to NULL */
}

str str_take(str s, size_t n)
{
    return (str){ s.p, min_size(n, s.n) };
}

str str_trim(str s)
{
    while (s.n && space(s.p[0]))
        s = str_skip(s, 1);
    while (s.n && space(s.p[s.n - 1]))
        s.n--;
    return s;
}

ptrdiff_t str_find(str s, str needle)
{
    if (!needle.n)
        return 0;
    if (!s.n)
        return -1;
    const char *hit = memmem(s.p, s.n, needle.p, needle.n);
    return hit ? hit - s.p : -1;
}

ptrdiff_t str_find_c(str s, char c)
{
    const char *hit = s.n ? memchr(s.p, c, s.n) : NULL;
    return hit ? hit - s.p : -1;
}

bool str_contains(str s, str needle)
{
    return str_find(s, needle) >= 0;
}

bool str_cut(str s, char sep, str *ret_head, str *ret_tail)
{
    ptrdiff_t at = str_find_c(s, sep);
    *ret_head = at < 0 ? s : str_take(s, (size_t)at);
    *ret_tail = at < 0 ? str_skip(s, s.n) : str_skip(s, (size_t)at + 1);
    return at >= 0;
}

bool str_next(str *rest, char sep, str *ret_item)
{
    if (!rest->p)
        return false;
    str item;
    if (!str_cut(*rest, sep, &item, rest))
        rest->p = NULL;
    *ret_item = str_trim(item);
    return true;
}

bool str_to_u64(str s, uint64_t *ret)
{
    if (!s.n)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *ret = v;
    return true;
}

bool str_to_i64(str s, int64_t *ret)
{
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_skip(s, 1);
    uint64_t v;
    if (!str_to_u64(s, &v) || v > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool str_to_bool(str s, bool *ret)
{
    static const str yes[] = { S("1"), S("t"), S("T"), S("TRUE"), S("true"), S("True") };
    static const str no[] = { S("0"), S("f"), S("F"), S("FALSE"), S("false"), S("False") };
    for (size_t i = 0; i < COUNT(yes); i++)
        if (str_eq(s, yes[i]) || str_eq(s, no[i])) {
            *ret = str_eq(s, yes[i]);
            return true;
        }
    return false;
}

bool str_truthy(str s)
{
    static const str yes[] = { S("1"), S("t"), S("true"), S("y"), S("yes"), S("on") };
    s = str_trim(s);
    for (size_t i = 0; i < COUNT(yes); i++)
        if (str_ieq(s, yes[i]))
            return true;
    return false;
}

size_t str_distance(str a, str b)
{
    enum { MAX = 64 };
    size_t row[3][MAX + 1]; /* optimal string alignment: two rows back for the swap */
    a = str_take(a, MAX);
    b = str_take(b, MAX);
    size_t *before = row[0], *prev = row[1], *cur = row[2];
    for (size_t j = 0; j <= b.n; j++)
        prev[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        cur[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t change = prev[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            size_t best = min_size(change, 1 + min_size(prev[j], cur[j - 1]));
            bool swapped = i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1];
            cur[j] = swapped ? min_size(best, before[j - 2] + 1) : best;
        }
        size_t *spare = before;
        before = prev;
        prev = cur;
        cur = spare;
    }
    return prev[b.n];
}
