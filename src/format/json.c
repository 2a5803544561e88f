#include "format/json.h"

#include "format/json_chars.h"

#include <stdio.h>

/* Strict pushdown automaton: no recursion, one bit per level says object or array. */
struct cursor {
    const char *p, *end;
    const char *why; /* what p was expected to be; NULL = end of input was hit */
    unsigned depth;
    uint64_t objects[JSON_DEPTH_MAX / 64];
};

enum expect { EXPECT_VALUE, EXPECT_VALUE_OR_END, EXPECT_KEY, EXPECT_KEY_OR_END, EXPECT_SEPARATOR };

static const char why_too_deep[] = "exceeded max depth";
static const char why_utf8[] = "invalid UTF-8";

static bool refuse(struct cursor *c, const char *why)
{
    c->why = c->p < c->end || why == why_too_deep ? why : NULL;
    return false;
}

static inline void skip_space(struct cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\r' || *c->p == '\t'))
        c->p++;
}

static bool is_hex(char ch)
{
    return (ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f');
}

static bool take_escape(struct cursor *c) /* at the byte after '\\' */
{
    if (c->p >= c->end || !memchr("\"\\/bfnrtu", *c->p, 9))
        return refuse(c, "in string escape code");
    if (*c->p++ != 'u')
        return true;
    for (int i = 0; i < 4; i++, c->p++)
        if (c->p >= c->end || !is_hex(*c->p))
            return refuse(c, "in \\u hexadecimal character escape");
    return true;
}

static bool take_string(struct cursor *c) /* at the opening quote */
{
    c->p++;
    for (;;) {
        c->p = json_skip_plain(c->p, c->end, false);
        if (c->p >= c->end)
            return refuse(c, NULL);

        unsigned char ch = (unsigned char)*c->p;
        if (ch == '"') {
            c->p++;
            return true;
        }
        if (ch == '\\') {
            c->p++;
            if (!take_escape(c))
                return false;
        } else if (ch < 0x20) {
            return refuse(c, "in string literal");
        } else {
            size_t n = utf8_len(c->p, c->end);
            if (!n)
                return refuse(c, why_utf8);
            c->p += n;
        }
    }
}

static bool take_digits(struct cursor *c, const char *why)
{
    if (c->p >= c->end || *c->p < '0' || *c->p > '9')
        return refuse(c, why);
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
        c->p++;
    return true;
}

static bool take_number(struct cursor *c)
{
    if (*c->p == '-')
        c->p++;
    if (c->p < c->end && *c->p == '0')
        c->p++; /* a digit after it is refused by whoever expects a separator */
    else if (!take_digits(c, "in numeric literal"))
        return false;

    if (c->p < c->end && *c->p == '.') {
        c->p++;
        if (!take_digits(c, "after decimal point in numeric literal"))
            return false;
    }
    if (c->p < c->end && (*c->p | 0x20) == 'e') {
        c->p++;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-'))
            c->p++;
        return take_digits(c, "in exponent of numeric literal");
    }
    return true;
}

static bool take_literal(struct cursor *c, str word)
{
    static const char *const why[][5] = {
        { "", "in literal true (expecting 'r')", "in literal true (expecting 'u')",
          "in literal true (expecting 'e')" },
        { "", "in literal false (expecting 'a')", "in literal false (expecting 'l')",
          "in literal false (expecting 's')", "in literal false (expecting 'e')" },
        { "", "in literal null (expecting 'u')", "in literal null (expecting 'l')",
          "in literal null (expecting 'l')" },
    };
    int row = word.p[0] == 't' ? 0 : word.p[0] == 'f' ? 1 : 2;
    for (size_t i = 0; i < word.n; i++, c->p++)
        if (c->p >= c->end || *c->p != word.p[i])
            return refuse(c, why[row][i]);
    return true;
}

static bool open_level(struct cursor *c, bool object)
{
    if (c->depth >= JSON_DEPTH_MAX)
        return refuse(c, why_too_deep);
    uint64_t bit = (uint64_t)1 << (c->depth % 64);
    if (object)
        c->objects[c->depth / 64] |= bit;
    else
        c->objects[c->depth / 64] &= ~bit;
    c->depth++;
    c->p++;
    return true;
}

static inline bool in_object(const struct cursor *c)
{
    return c->objects[(c->depth - 1) / 64] >> ((c->depth - 1) % 64) & 1;
}

/* One value, or the opening of a container; *next says what may follow. */
static bool take_value(struct cursor *c, enum expect *next)
{
    *next = EXPECT_SEPARATOR;
    if (c->p >= c->end)
        return refuse(c, NULL);
    switch (*c->p) {
    case '"':
        return take_string(c);
    case '{':
        *next = EXPECT_KEY_OR_END;
        return open_level(c, true);
    case '[':
        *next = EXPECT_VALUE_OR_END;
        return open_level(c, false);
    case 't':
        return take_literal(c, S("true"));
    case 'f':
        return take_literal(c, S("false"));
    case 'n':
        return take_literal(c, S("null"));
    default:
        if (*c->p == '-' || (*c->p >= '0' && *c->p <= '9'))
            return take_number(c);
        return refuse(c, "looking for beginning of value");
    }
}

static bool take_key(struct cursor *c, enum expect *next)
{
    *next = EXPECT_VALUE;
    if (c->p >= c->end || *c->p != '"')
        return refuse(c, "looking for beginning of object key string");
    if (!take_string(c))
        return false;
    skip_space(c);
    if (c->p >= c->end || *c->p != ':')
        return refuse(c, "after object key");
    c->p++;
    return true;
}

static bool take_separator(struct cursor *c, enum expect *next)
{
    bool object = in_object(c);
    if (c->p < c->end && *c->p == ',') {
        c->p++;
        *next = object ? EXPECT_KEY : EXPECT_VALUE;
        return true;
    }
    if (c->p < c->end && *c->p == (object ? '}' : ']')) {
        c->p++;
        c->depth--;
        return true; /* still EXPECT_SEPARATOR, one level up */
    }
    return refuse(c, object ? "after object key:value pair" : "after array element");
}

static bool step(struct cursor *c, enum expect *state)
{
    skip_space(c);
    char ch = c->p < c->end ? *c->p : 0;
    bool closes =
        (*state == EXPECT_VALUE_OR_END && ch == ']') || (*state == EXPECT_KEY_OR_END && ch == '}');
    if (closes)
        *state = EXPECT_SEPARATOR;

    switch (*state) {
    case EXPECT_VALUE_OR_END:
    case EXPECT_VALUE:
        return take_value(c, state);
    case EXPECT_KEY_OR_END:
    case EXPECT_KEY:
        return take_key(c, state);
    case EXPECT_SEPARATOR:
        break;
    }
    return take_separator(c, state);
}

static bool validate(struct cursor *c, str *ret_raw)
{
    enum expect state = EXPECT_VALUE;
    skip_space(c);
    const char *start = c->p;
    do {
        if (!step(c, &state))
            return false;
    } while (c->depth || state != EXPECT_SEPARATOR);

    *ret_raw = str_of(start, (size_t)(c->p - start));
    skip_space(c);
    return c->p >= c->end || refuse(c, "after top-level value");
}

/* Go shows the byte as if it were a code point: 0xff is 'ÿ'. */
static void quote_char(unsigned char ch, char ret[8])
{
    static const char named[] = "\aa\bb\ff\nn\rr\tt\vv\\\\''";
    for (size_t i = 0; i + 1 < sizeof named; i += 2)
        if (ch == (unsigned char)named[i]) {
            snprintf(ret, 8, "\\%c", named[i + 1]);
            return;
        }
    if (ch < 0x20 || ch == 0x7f)
        snprintf(ret, 8, "\\x%02x", ch);
    else if (ch >= 0x80 && ch < 0xa1)
        snprintf(ret, 8, "\\u%04x", ch); /* not printable */
    else
        ret[utf8_put(ch, ret)] = 0;
}

static void explain(const struct cursor *c, str text, struct json_error *err)
{
    *err = (struct json_error){ .offset = (size_t)(c->p - text.p), .line = 1, .column = 1 };
    for (const char *p = text.p; p < c->p; p++) {
        err->column++;
        if (*p == '\n')
            err->line++, err->column = 1;
    }
    if (!c->why) {
        snprintf(err->text, sizeof err->text, "unexpected end of JSON input");
    } else if (c->why == why_too_deep) {
        snprintf(err->text, sizeof err->text, "%s", c->why);
    } else if (c->why == why_utf8) {
        snprintf(err->text, sizeof err->text, "invalid UTF-8 byte 0x%02x in string literal",
                 (unsigned char)*c->p);
    } else {
        char shown[8];
        quote_char((unsigned char)*c->p, shown);
        snprintf(err->text, sizeof err->text, "invalid character '%s' %s", shown, c->why);
    }
}

static enum json_type type_of(char first)
{
    switch (first) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

int json_parse(str text, struct json *ret, struct json_error *err)
{
    if (!text.p)
        text = S("");
    struct cursor c = { .p = text.p, .end = text.p + text.n };
    str raw;
    if (!validate(&c, &raw)) {
        if (err)
            explain(&c, text, err);
        return -INVALID;
    }
    *ret = (struct json){ raw, type_of(raw.p[0]) };
    return 0;
}

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = { "nothing", "null",  "boolean", "number",
                                         "string",  "array", "object" };
    return names[type];
}

/* ---- walking; the text is known to be valid, the ends are checked all the same ---- */

static const char *skip_string(const char *p, const char *end) /* at the opening quote */
{
    for (p++; p < end && *p != '"'; p++) {
        p = json_skip_plain(p, end, false);
        if (p < end && *p == '\\')
            p++;
        else if (p < end && *p == '"')
            break;
    }
    return p < end ? p + 1 : end;
}

static const char *skip_container(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        char ch = *p;
        if (ch == '"') {
            p = skip_string(p, end);
            continue;
        }
        p++;
        if (ch == '{' || ch == '[')
            depth++;
        else if ((ch == '}' || ch == ']') && --depth == 0)
            break;
    }
    return p;
}

static const char *skip_value(const char *p, const char *end)
{
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    while (p < end && !memchr(",:]} \n\r\t", *p, 8))
        p++;
    return p;
}

struct json_iter json_iter(struct json v)
{
    if ((v.type != JSON_OBJECT && v.type != JSON_ARRAY) || v.raw.n < 2)
        return (struct json_iter){ 0 };
    return (struct json_iter){ v.raw.p + 1, v.raw.p + v.raw.n - 1, v.type == JSON_OBJECT };
}

static const char *skip_fill(const char *p, const char *end, char separator)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t' || *p == separator))
        p++;
    return p;
}

bool json_next(struct json_iter *it, struct json *ret_key, struct json *ret_value)
{
    it->p = skip_fill(it->p, it->end, ',');
    if (it->p >= it->end)
        return false;

    struct json key = { .type = JSON_NONE };
    if (it->object) {
        const char *after = skip_string(it->p, it->end);
        key = (struct json){ str_of(it->p, (size_t)(after - it->p)), JSON_STRING };
        it->p = skip_fill(after, it->end, ':');
        if (it->p >= it->end)
            return false;
    }
    const char *after = skip_value(it->p, it->end);
    *ret_value = (struct json){ str_of(it->p, (size_t)(after - it->p)), type_of(*it->p) };
    if (ret_key)
        *ret_key = key;
    it->p = after;
    return true;
}

size_t json_count(struct json v)
{
    struct json_iter it = json_iter(v);
    struct json item;
    size_t n = 0;
    while (json_next(&it, NULL, &item))
        n++;
    return n;
}

struct json json_at(struct json v, size_t index)
{
    struct json_iter it = json_iter(v);
    struct json item;
    if (v.type == JSON_ARRAY)
        while (json_next(&it, NULL, &item))
            if (index-- == 0)
                return item;
    return (struct json){ .type = JSON_NONE };
}
