#include "format/cel_lex.h"

#include "format/json_chars.h"
#include "format/number.h"

struct lexer {
    struct arena *arena;
    str source;
    size_t at;
};

static bool is_letter(char c)
{
    return c == '_' || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

static char char_at(const struct lexer *l, size_t at)
{
    return at < l->source.n ? l->source.p[at] : 0;
}

static void skip_blank(struct lexer *l)
{
    for (;; l->at++) {
        if (char_at(l, l->at) == '/' && char_at(l, l->at + 1) == '/')
            while (l->at < l->source.n && l->source.p[l->at] != '\n')
                l->at++;
        if (l->at >= l->source.n || !memchr(" \t\n\r\f", l->source.p[l->at], 5))
            return;
    }
}

static struct token bad(unsigned pos, const char *why)
{
    return (struct token){ .kind = TOKEN_BAD, .pos = pos, .why = why };
}

/* ---- numbers ---- */

static bool parse_magnitude(str digits, int base, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < digits.n; i++)
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)hex_value(digits.p[i]), &v))
            return false;
    *ret = v;
    return digits.n > 0;
}

static size_t digits_from(const struct lexer *l, size_t at)
{
    size_t n = at;
    while (is_digit(char_at(l, n)))
        n++;
    return n;
}

/* End of the number that begins at l->at; *ret_double: it has a point or an exponent. */
static size_t decimal_end(const struct lexer *l, bool *ret_double)
{
    size_t end = digits_from(l, l->at);
    *ret_double = false;
    if (char_at(l, end) == '.' && is_digit(char_at(l, end + 1))) {
        *ret_double = true;
        end = digits_from(l, end + 1);
    }
    if ((char_at(l, end) | 0x20) == 'e') {
        size_t sign = char_at(l, end + 1) == '+' || char_at(l, end + 1) == '-';
        if (is_digit(char_at(l, end + 1 + sign))) {
            *ret_double = true;
            end = digits_from(l, end + 1 + sign);
        }
    }
    return end;
}

static struct token lex_number(struct lexer *l)
{
    struct token t = { .kind = TOKEN_INT, .pos = (unsigned)l->at };
    size_t start = l->at, end;
    bool hex = char_at(l, start) == '0' && (char_at(l, start + 1) | 0x20) == 'x', is_double = false;
    if (hex) {
        start += 2;
        for (end = start; hex_value(char_at(l, end)) >= 0;)
            end++;
    } else {
        end = decimal_end(l, &is_double);
    }
    str text = str_of(l->source.p + start, end - start);
    l->at = end;
    if (is_double) {
        t.kind = TOKEN_LITERAL;
        t.value.kind = CEL_DOUBLE;
        if (!number_double(text, &t.value.d))
            return bad(t.pos, "the number is too large");
    } else {
        if (!parse_magnitude(text, hex ? 16 : 10, &t.value.u))
            return bad(t.pos, "the integer has no digits or doesn't fit 64 bits");
        if ((char_at(l, end) | 0x20) == 'u') {
            l->at++;
            t.kind = TOKEN_LITERAL;
            t.value.kind = CEL_UINT;
        }
    }
    if (is_letter(char_at(l, l->at)) || is_digit(char_at(l, l->at)))
        return bad((unsigned)l->at, "a letter or digit that doesn't belong to the number");
    return t;
}

/* ---- strings ---- */

struct quoted {
    bool raw, bytes, triple;
    char quote;
    size_t start, end; /* of the content */
};

/* Finds the end of the content; moves l->at behind the closing quotes. */
static const char *find_end(struct lexer *l, struct quoted *q)
{
    for (size_t i = q->start; i < l->source.n; i++) {
        char c = l->source.p[i];
        if (c == '\\' && !q->raw)
            i++;
        else if (c == q->quote &&
                 (!q->triple || (char_at(l, i + 1) == c && char_at(l, i + 2) == c))) {
            q->end = i;
            l->at = i + (q->triple ? 3 : 1);
            return NULL;
        } else if (!q->triple && (c == '\n' || c == '\r')) {
            break;
        }
    }
    return "a string that isn't closed on its line";
}

/* Exactly n hex digits at p. */
static bool take_hex(const char *p, const char *end, int n, uint32_t *ret)
{
    uint32_t v = 0;
    if (end - p < n)
        return false;
    for (int i = 0; i < n; i++) {
        if (hex_value(p[i]) < 0)
            return false;
        v = v << 4 | (uint32_t)hex_value(p[i]);
    }
    *ret = v;
    return true;
}

static bool take_octal(const char *p, const char *end, uint32_t *ret)
{
    if (end - p < 3 || p[0] > '3')
        return false;
    uint32_t v = 0;
    for (int i = 0; i < 3; i++) {
        if (p[i] < '0' || p[i] > '7')
            return false;
        v = v * 8 + (uint32_t)(p[i] - '0');
    }
    *ret = v;
    return true;
}

/* Behind a backslash. *ret = the code point, or the byte when *ret_byte. NULL when it is no escape.
 */
static const char *take_escape(const char *p, const char *end, uint32_t *ret, bool *ret_byte)
{
    static const char from[] = "abfnrtv\\?\"'`", to[] = "\a\b\f\n\r\t\v\\?\"'`";
    *ret_byte = false;
    if (p >= end)
        return NULL;
    const char *hit = memchr(from, *p, sizeof from - 1);
    if (hit) {
        *ret = (unsigned char)to[hit - from];
        return p + 1;
    }
    int digits = *p == 'x' || *p == 'X' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
    *ret_byte = digits <= 2;
    if (digits)
        return take_hex(p + 1, end, digits, ret) ? p + 1 + digits : NULL;
    return take_octal(p, end, ret) ? p + 3 : NULL;
}

/* One escape: *p is at the backslash and moves behind it; *n bytes of out grow by what it means. */
static const char *put_escape(const struct quoted *q, const char **p, const char *end, char *out,
                              size_t *n)
{
    uint32_t c;
    bool byte;
    *p = take_escape(*p + 1, end, &c, &byte);
    if (!*p || (q->bytes && !byte && c >= 0x80))
        return "an escape that isn't known here";
    if (!q->bytes && (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)))
        return "an escape that is no code point";
    if (q->bytes)
        out[(*n)++] = (char)c;
    else
        *n += utf8_put(c, out + *n);
    return NULL;
}

static const char *unescape(const struct lexer *l, const struct quoted *q, char *out, size_t *ret_n)
{
    const char *p = l->source.p + q->start, *end = l->source.p + q->end, *why = NULL;
    size_t n = 0;
    while (p < end && !why) {
        if (*p == '\r' && p + 1 < end && p[1] == '\n')
            p++; /* a line end is \n, however the file writes it */
        if (*p == '\\' && !q->raw)
            why = put_escape(q, &p, end, out, &n);
        else
            out[n++] = *p++;
    }
    *ret_n = n;
    return why;
}

/* At the prefix, if any, or the quote. */
static struct token lex_string(struct lexer *l)
{
    struct token t = { .kind = TOKEN_LITERAL, .pos = (unsigned)l->at };
    struct quoted q = { 0 };
    for (; is_letter(char_at(l, l->at)); l->at++) {
        q.raw = q.raw || (char_at(l, l->at) | 0x20) == 'r';
        q.bytes = q.bytes || (char_at(l, l->at) | 0x20) == 'b';
    }
    q.quote = char_at(l, l->at);
    q.triple = char_at(l, l->at + 1) == q.quote && char_at(l, l->at + 2) == q.quote;
    q.start = l->at + (q.triple ? 3 : 1);
    const char *why = find_end(l, &q);
    if (why)
        return bad(t.pos, why);

    /* An escape is never shorter than what it stands for. */
    char *out = arena_alloc(l->arena, q.end - q.start + 1);
    size_t n = 0;
    why = out ? unescape(l, &q, out, &n) : cel_no_memory;
    if (why)
        return bad(t.pos, why);
    t.value = (struct cel_value){ .kind = q.bytes ? CEL_BYTES : CEL_STRING, .s = str_of(out, n) };
    return t;
}

/* Whether a string begins here: up to two letters of r and b, then a quote. */
static bool at_string(const struct lexer *l)
{
    size_t at = l->at;
    bool raw = false, bytes = false;
    for (int i = 0; i < 2; i++, at++) {
        char c = (char)(char_at(l, at) | 0x20);
        if (c == 'r' && !raw)
            raw = true;
        else if (c == 'b' && !bytes)
            bytes = true;
        else
            break;
    }
    return char_at(l, at) == '"' || char_at(l, at) == '\'';
}

/* ---- names and signs ---- */

static struct token lex_ident(struct lexer *l)
{
    size_t start = l->at;
    while (is_letter(char_at(l, l->at)) || is_digit(char_at(l, l->at)))
        l->at++;
    return (struct token){ .kind = TOKEN_IDENT,
                           .pos = (unsigned)start,
                           .text = str_of(l->source.p + start, l->at - start) };
}

static struct token lex_quoted_ident(struct lexer *l)
{
    size_t start = l->at++;
    while (is_letter(char_at(l, l->at)) || is_digit(char_at(l, l->at)) ||
           (char_at(l, l->at) && strchr(".-/ ", char_at(l, l->at))))
        l->at++;
    str text = str_of(l->source.p + start + 1, l->at - start - 1);
    if (char_at(l, l->at) != '`' || !text.n)
        return bad((unsigned)start, "a field in `…` has letters, digits and . - / only");
    l->at++;
    return (struct token){ .kind = TOKEN_QUOTED_IDENT, .pos = (unsigned)start, .text = text };
}

static struct token lex_punct(struct lexer *l)
{
    static const str row[] = {
        S("=="), S("!="), S("<="), S(">="), S("&&"), S("||"), S("<"), S(">"),
        S("+"),  S("-"),  S("*"),  S("/"),  S("%"),  S("!"),  S("?"), S(":"),
        S("."),  S(","),  S("("),  S(")"),  S("["),  S("]"),  S("{"), S("}"),
    };
    str rest = str_skip(l->source, l->at);
    struct token t = { .kind = TOKEN_PUNCT, .pos = (unsigned)l->at };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_starts(rest, row[i])) {
            l->at += row[i].n;
            t.text = row[i];
            return t;
        }
    return bad(t.pos, "a character that means nothing here");
}

void cel_lex(struct arena *a, str source, size_t *at, struct token *ret)
{
    struct lexer l = { a, source, *at };
    skip_blank(&l);
    char c = char_at(&l, l.at);
    if (l.at >= source.n)
        *ret = (struct token){ .kind = TOKEN_END, .pos = (unsigned)l.at };
    else if (at_string(&l))
        *ret = lex_string(&l);
    else if (is_letter(c))
        *ret = lex_ident(&l);
    else if (is_digit(c) || (c == '.' && is_digit(char_at(&l, l.at + 1))))
        *ret = lex_number(&l);
    else if (c == '`')
        *ret = lex_quoted_ident(&l);
    else
        *ret = lex_punct(&l);
    *at = l.at;
}
