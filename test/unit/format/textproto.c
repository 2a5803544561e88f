#include "textproto.h"

struct reader {
    struct arena *a;
    str text;
    size_t at;
};

static bool parse_fields(struct reader *r, struct textproto *into, char close);

static char peek(struct reader *r)
{
    for (; r->at < r->text.n; r->at++) {
        char c = r->text.p[r->at];
        if (c == '#')
            while (r->at < r->text.n && r->text.p[r->at] != '\n')
                r->at++;
        else if (!memchr(" \t\r\n,;", c, 6))
            return c;
    }
    return 0;
}

static bool take(struct reader *r, char c)
{
    if (peek(r) != c)
        return false;
    r->at++;
    return true;
}

static str word(struct reader *r)
{
    size_t start = r->at;
    while (r->at < r->text.n && !memchr(" \t\r\n,;:{}<>[]#\"'", r->text.p[r->at], 17))
        r->at++;
    return str_of(r->text.p + start, r->at - start);
}

static unsigned digits(str s, size_t *i, unsigned max, unsigned base)
{
    unsigned v = 0;
    for (unsigned n = 0; n < max && *i < s.n; n++, (*i)++) {
        char c = s.p[*i];
        unsigned d = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
        if (d >= base)
            break;
        v = v * base + d;
    }
    return v;
}

static size_t put_utf8(unsigned c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00u >> n) | c);
    return n;
}

/* At the byte behind a backslash; returns how many bytes were put. */
static size_t unescape(str s, size_t *i, char *out)
{
    static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
    char c = s.p[*i];
    const char *hit = strchr(from, c);
    bool octal = c >= '0' && c <= '7', hex = (c | 0x20) == 'x';
    *i += !octal;
    if ((c | 0x20) == 'u')
        return put_utf8(digits(s, i, c == 'u' ? 4 : 8, 16), out);
    if (octal || hex)
        out[0] = (char)digits(s, i, octal ? 3 : 2, octal ? 8 : 16);
    else
        out[0] = hit && c ? to[hit - from] : c;
    return 1;
}

static bool quoted(struct reader *r, str *ret)
{
    size_t start = r->at, n = 0;
    char *out = arena_alloc(r->a, 4096 * 4);
    while (peek(r) == '"' || peek(r) == '\'') { /* neighbours are one string */
        char quote = r->text.p[r->at++];
        while (r->at < r->text.n && r->text.p[r->at] != quote) {
            if (n + 8 > 4096 * 4 || !out)
                return false;
            if (r->text.p[r->at] != '\\') {
                out[n++] = r->text.p[r->at++];
                continue;
            }
            r->at++;
            n += unescape(r->text, &r->at, out + n);
        }
        r->at++;
    }
    *ret = str_of(out, n);
    return r->at > start;
}

static bool parse_value(struct reader *r, struct textproto *f)
{
    char c = peek(r);
    if (c == '{' || c == '<') {
        r->at++;
        f->is_message = true;
        return parse_fields(r, f, c == '{' ? '}' : '>');
    }
    f->is_string = c == '"' || c == '\'';
    if (f->is_string)
        return quoted(r, &f->value);
    f->value = word(r);
    return f->value.n > 0;
}

static struct textproto *add(struct reader *r, struct textproto ***tail, str name)
{
    struct textproto *f = arena_zalloc(r->a, sizeof *f);
    if (!f)
        return NULL;
    f->name = name;
    f->value = S("");
    **tail = f;
    *tail = &f->next;
    return f;
}

static bool parse_field(struct reader *r, struct textproto ***tail)
{
    str name;
    if (take(r, '[')) {
        ptrdiff_t end = str_find_c(str_skip(r->text, r->at), ']');
        if (end < 0)
            return false;
        name = str_of(r->text.p + r->at - 1, (size_t)end + 2);
        r->at += (size_t)end + 1;
    } else {
        name = word(r);
    }
    if (!name.n)
        return false;
    (void)take(r, ':');
    if (!take(r, '[')) {
        struct textproto *f = add(r, tail, name);
        return f && parse_value(r, f);
    }
    while (!take(r, ']')) {
        struct textproto *f = add(r, tail, name);
        if (!f || !parse_value(r, f))
            return false;
    }
    return true;
}

static bool parse_fields(struct reader *r, struct textproto *into, char close)
{
    struct textproto **tail = &into->first;
    for (;;) {
        char c = peek(r);
        if (c == close) {
            r->at += close != 0;
            return true;
        }
        if (!c || !parse_field(r, &tail))
            return false;
    }
}

struct textproto *textproto_parse(struct arena *a, str text, unsigned *ret_line)
{
    struct reader r = { a, text, 0 };
    struct textproto *root = arena_zalloc(a, sizeof *root);
    if (root && parse_fields(&r, root, 0))
        return root;
    *ret_line = 1;
    for (size_t i = 0; i < r.at && i < text.n; i++)
        *ret_line += text.p[i] == '\n';
    return NULL;
}

const struct textproto *textproto_get(const struct textproto *m, const char *name)
{
    for (const struct textproto *f = m ? m->first : NULL; f; f = f->next)
        if (str_eq(f->name, str_c(name)))
            return f;
    return NULL;
}

str textproto_text(const struct textproto *m, const char *name)
{
    const struct textproto *f = textproto_get(m, name);
    return f ? f->value : S("");
}
