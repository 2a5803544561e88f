#include "format/json.h"
#include "format/json_chars.h"
#include "format/json_string.h"
#include "format/number.h"

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char ch = (unsigned char)p[i];
        v = v << 4 | (ch <= '9' ? ch - '0' : (uint32_t)((ch | 0x20) - 'a' + 10));
    }
    return v;
}

/* At 'u'. Two halves of a pair make one code point; a half alone becomes U+FFFD, as in Go. */
static str decode_unicode(struct json_decode *d)
{
    uint32_t c = d->end - d->p >= 5 ? hex4(d->p + 1) : 0xfffd;
    d->p += min_size(5, (size_t)(d->end - d->p));
    if (c >= 0xd800 && c < 0xdc00 && d->end - d->p >= 6 && d->p[0] == '\\' && d->p[1] == 'u') {
        uint32_t low = hex4(d->p + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            d->p += 6;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd;
    return str_of(d->unit, utf8_put(c, d->unit));
}

bool json_decode_next(struct json_decode *d, str *ret)
{
    if (d->p >= d->end)
        return false;
    if (*d->p != '\\' || d->end - d->p < 2) {
        const char *slash = memchr(d->p, '\\', (size_t)(d->end - d->p));
        const char *stop = slash && slash > d->p ? slash : d->end;
        *ret = str_of(d->p, (size_t)(stop - d->p));
        d->p = stop;
        return true;
    }
    d->p++;
    if (*d->p == 'u') {
        *ret = decode_unicode(d);
        return true;
    }
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *hit = memchr(from, *d->p, 5);
    d->unit[0] = hit ? to[hit - from] : *d->p;
    d->p++;
    *ret = str_of(d->unit, 1);
    return true;
}

bool json_eq_str(struct json v, str text)
{
    if (v.type != JSON_STRING)
        return false;
    if (!json_is_escaped(v))
        return str_eq(json_inner(v), text);

    struct json_decode d = json_decode(v);
    str piece;
    while (json_decode_next(&d, &piece)) {
        if (!str_starts(text, piece))
            return false;
        text = str_skip(text, piece.n);
    }
    return !text.n;
}

static bool eq_fold(struct json v, str text)
{
    if (!json_is_escaped(v))
        return str_ieq(json_inner(v), text);

    struct json_decode d = json_decode(v);
    str piece;
    while (json_decode_next(&d, &piece)) {
        if (!str_istarts(text, piece))
            return false;
        text = str_skip(text, piece.n);
    }
    return !text.n;
}

static struct json find(struct json v, str name, bool (*same)(struct json key, str name))
{
    struct json key, value, last = { .type = JSON_NONE };
    if (v.type != JSON_OBJECT)
        return last;
    for (struct json_iter it = json_iter(v); json_next(&it, &key, &value);)
        if (same(key, name))
            last = value;
    return last;
}

struct json json_get(struct json v, str name)
{
    return find(v, name, json_eq_str);
}

struct json json_get_fold(struct json v, str name)
{
    return find(v, name, eq_fold);
}

int json_string(struct arena *a, struct json v, str *ret)
{
    if (v.type != JSON_STRING)
        return -INVALID;
    if (!json_is_escaped(v)) {
        *ret = json_inner(v);
        return 0;
    }
    /* Decoded text is never longer than its escaped form: \uXXXX gives at most three bytes. */
    char *out = arena_alloc(a, v.raw.n);
    if (!out)
        return -EXHAUSTED;

    size_t n = 0;
    struct json_decode d = json_decode(v);
    for (str piece; json_decode_next(&d, &piece); n += piece.n)
        memcpy(out + n, piece.p, piece.n);
    *ret = str_of(out, n);
    return 0;
}

int json_string_or(struct arena *a, struct json v, str def, str *ret)
{
    if (!json_is_null(v))
        return json_string(a, v, ret);
    *ret = def;
    return 0;
}

int json_string_put(struct buf *out, struct json v)
{
    if (v.type != JSON_STRING)
        return -INVALID;
    struct json_decode d = json_decode(v);
    for (str piece; json_decode_next(&d, &piece);)
        buf_put(out, piece);
    return 0;
}

bool json_i64(struct json v, int64_t *ret)
{
    return v.type == JSON_NUMBER && number_i64(v.raw, ret);
}

bool json_u64(struct json v, uint64_t *ret)
{
    return v.type == JSON_NUMBER && number_u64(v.raw, ret);
}

bool json_double(struct json v, double *ret)
{
    return v.type == JSON_NUMBER && number_double(v.raw, ret);
}

bool json_bool(struct json v, bool *ret)
{
    if (v.type != JSON_BOOL)
        return false;
    *ret = v.raw.p[0] == 't';
    return true;
}
