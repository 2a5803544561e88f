#include "format/json.h"
#include "format/json_chars.h"
#include "format/number.h"

#include "base/id.h"

#include <math.h>

static void put_unicode_escape(struct buf *out, unsigned c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', hex[c >> 12 & 15], hex[c >> 8 & 15], hex[c >> 4 & 15], hex[c & 15]
    };
    buf_put(out, str_of(text, sizeof text));
}

static void put_ascii_escape(struct buf *out, unsigned char ch)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *hit = memchr(from, ch, sizeof from - 1);
    if (!hit) {
        put_unicode_escape(out, ch);
        return;
    }
    char text[2] = { '\\', to[hit - from] };
    buf_put(out, str_of(text, 2));
}

/* One sequence past ASCII at p; returns its length. */
static size_t put_sequence(struct buf *out, const char *p, const char *end, bool html)
{
    size_t n = utf8_len(p, end);
    if (!n) {
        put_unicode_escape(out, 0xfffd);
        return 1;
    }
    uint32_t c = html && n == 3 ? utf8_get(p, n) : 0;
    if (c == 0x2028 || c == 0x2029) /* line ends to JavaScript */
        put_unicode_escape(out, c);
    else
        buf_put(out, str_of(p, n));
    return n;
}

static void put_escaped(struct buf *out, const char *p, const char *end, bool html)
{
    while (p < end) {
        const char *stop = json_skip_plain(p, end, html);
        buf_put(out, str_of(p, (size_t)(stop - p)));
        p = stop;
        if (p >= end)
            break;
        if ((unsigned char)*p < 0x80)
            put_ascii_escape(out, (unsigned char)*p++);
        else
            p += put_sequence(out, p, end, html);
    }
}

/* before + "s" + after, where before is at most two bytes and after at most one: nearly every
 * string is plain, and then goes out in one piece. */
static void put_string(struct buf *out, str s, unsigned flags, str before, str after)
{
    bool html = flags & JSON_W_HTML;
    const char *end = s.p + s.n;
    bool plain = json_skip_plain(s.p, end, html) == end;
    char *to = plain ? buf_reserve(out, before.n + s.n + 2 + after.n) : NULL;
    if (!to) {
        buf_put(out, before);
        buf_putc(out, '"');
        put_escaped(out, s.p, end, html);
        buf_putc(out, '"');
        buf_put(out, after);
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < before.n; i++)
        to[n++] = before.p[i];
    to[n++] = '"';
    if (s.n)
        memcpy(to + n, s.p, s.n);
    n += s.n;
    to[n++] = '"';
    for (size_t i = 0; i < after.n; i++)
        to[n++] = after.p[i];
    buf_commit(out, n);
}

void json_put_string(struct buf *out, str s, unsigned flags)
{
    put_string(out, s, flags, S(""), S(""));
}

void json_put_compact(struct buf *out, struct json v)
{
    const char *p = v.raw.p, *end = v.raw.p + v.raw.n;
    while (p < end) {
        const char *start = p;
        bool quoted = false;
        for (; p < end && (quoted || !memchr(" \n\r\t", *p, 4)); p++) {
            if (*p == '"')
                quoted = !quoted;
            else if (quoted && *p == '\\' && p + 1 < end)
                p++;
        }
        buf_put(out, str_of(start, (size_t)(p - start)));
        while (p < end && memchr(" \n\r\t", *p, 4))
            p++;
    }
}

void json_w_init(struct json_w *w, struct buf *out, unsigned flags)
{
    *w = (struct json_w){ .out = out, .flags = flags };
}

static void before_value(struct json_w *w)
{
    if (w->comma)
        buf_putc(w->out, ',');
    w->comma = true;
}

void json_w_object(struct json_w *w)
{
    before_value(w);
    buf_putc(w->out, '{');
    w->comma = false;
}

void json_w_object_end(struct json_w *w)
{
    buf_putc(w->out, '}');
    w->comma = true;
}

void json_w_array(struct json_w *w)
{
    before_value(w);
    buf_putc(w->out, '[');
    w->comma = false;
}

void json_w_array_end(struct json_w *w)
{
    buf_putc(w->out, ']');
    w->comma = true;
}

void json_w_key(struct json_w *w, str key)
{
    put_string(w->out, key, w->flags, w->comma ? S(",") : S(""), S(":"));
    w->comma = false;
}

void json_w_str(struct json_w *w, str s)
{
    put_string(w->out, s, w->flags, w->comma ? S(",") : S(""), S(""));
    w->comma = true;
}

void json_w_raw(struct json_w *w, str raw)
{
    before_value(w);
    buf_put(w->out, raw.n ? raw : S("null"));
}

void json_w_i64(struct json_w *w, int64_t v)
{
    before_value(w);
    if (v < 0)
        buf_putc(w->out, '-');
    buf_put_u64(w->out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void json_w_u64(struct json_w *w, uint64_t v)
{
    before_value(w);
    buf_put_u64(w->out, v);
}

void json_w_double(struct json_w *w, double v)
{
    if (!isfinite(v)) {
        json_w_null(w);
        return;
    }
    char text[NUMBER_MAX];
    size_t n = number_print(v, NUMBER_JSON, text);
    before_value(w);
    buf_put(w->out, str_of(text, n));
}

void json_w_bool(struct json_w *w, bool v)
{
    before_value(w);
    buf_put(w->out, v ? S("true") : S("false"));
}

void json_w_null(struct json_w *w)
{
    before_value(w);
    buf_put(w->out, S("null"));
}

void json_w_base64(struct json_w *w, str bytes)
{
    before_value(w);
    buf_putc(w->out, '"');
    /* Whole groups of three, in pieces that bound what must be reserved at once. */
    while (bytes.n) {
        str piece = str_take(bytes, 3 * 4096);
        char *at = buf_reserve(w->out, base64_len(piece.n));
        if (!at)
            return;
        base64_encode(piece, at);
        buf_commit(w->out, base64_len(piece.n));
        bytes = str_skip(bytes, piece.n);
    }
    buf_putc(w->out, '"');
}

void json_w_kv(struct json_w *w, str key, str value)
{
    json_w_key(w, key);
    json_w_str(w, value);
}
