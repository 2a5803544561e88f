#include "format/envsubst.h"

static bool is_special(char c)
{
    return (c >= '0' && c <= '9') || (c && memchr("*#$@!?-", c, 7));
}

static bool is_name(char c)
{
    char low = (char)(c | 0x20);
    return c == '_' || (c >= '0' && c <= '9') || (low >= 'a' && low <= 'z');
}

/* The name behind a '$' and the bytes it takes. An empty name of some bytes is bad syntax, which is
 * eaten; of no bytes: a lone '$'. */
static str take_name(str s, size_t *ret_len)
{
    if (s.p[0] == '{') {
        ptrdiff_t close = str_find_c(s, '}');
        *ret_len = close < 0 ? 1 : (size_t)close + 1;
        return close < 0 ? S("") : str_of(s.p + 1, (size_t)close - 1);
    }
    size_t n = 0;
    if (is_special(s.p[0]))
        n = 1;
    else
        while (n < s.n && is_name(s.p[n]))
            n++;
    *ret_len = n;
    return str_take(s, n);
}

void envsubst(str text, envsubst_lookup lookup, void *arg, struct buf *out)
{
    for (ptrdiff_t at; (at = str_find_c(text, '$')) >= 0;) {
        buf_put(out, str_take(text, (size_t)at));
        text = str_skip(text, (size_t)at + 1);
        size_t len = 0;
        str name = text.n ? take_name(text, &len) : S("");
        if (!len)
            buf_putc(out, '$');
        else if (name.n)
            buf_put(out, lookup(arg, name));
        text = str_skip(text, len);
    }
    buf_put(out, text);
}
