#include "format/yaml_scalar.h"

#include "format/number.h"

enum { NUMBER_TEXT_MAX = 128 }; /* a longer scalar is taken for a string */

struct plain {
    char text[NUMBER_TEXT_MAX]; /* without '_' and '+' */
    size_t n;
    bool negative; /* the '-' isn't in text either */
};

static bool resolve_word(struct yaml_node *n)
{
    static const struct {
        str word, canon;
        enum yaml_type type;
    } row[] = {
#define WORDS(lower, title, upper, as, type)                                                       \
    { S(lower), S(as), type }, { S(title), S(as), type }, { S(upper), S(as), type }
        WORDS("true", "True", "TRUE", "true", YAML_BOOL),
        WORDS("yes", "Yes", "YES", "true", YAML_BOOL),
        WORDS("on", "On", "ON", "true", YAML_BOOL),
        WORDS("y", "Y", "Y", "true", YAML_BOOL),
        WORDS("false", "False", "FALSE", "false", YAML_BOOL),
        WORDS("no", "No", "NO", "false", YAML_BOOL),
        WORDS("off", "Off", "OFF", "false", YAML_BOOL),
        WORDS("n", "N", "N", "false", YAML_BOOL),
        WORDS("null", "Null", "NULL", "null", YAML_NULL),
        WORDS("", "~", "~", "null", YAML_NULL),
        WORDS(".nan", ".NaN", ".NAN", "null", YAML_FLOAT),
        WORDS(".inf", ".Inf", ".INF", "null", YAML_FLOAT),
        WORDS("+.inf", "+.Inf", "+.INF", "null", YAML_FLOAT),
        WORDS("-.inf", "-.Inf", "-.INF", "null", YAML_FLOAT),
#undef WORDS
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_eq(n->text, row[i].word)) {
            n->type = row[i].type;
            n->canon = row[i].canon;
            return true;
        }
    return false;
}

static bool strip(str s, struct plain *ret)
{
    if (!s.n || s.n >= NUMBER_TEXT_MAX || !memchr("+-.0123456789", s.p[0], 13))
        return false;
    ret->negative = s.p[0] == '-';
    if (s.p[0] == '-' || s.p[0] == '+')
        s = str_skip(s, 1);
    ret->n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            ret->text[ret->n++] = s.p[i];
    return ret->n > 0;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'z' ? low - 'a' + 10 : 99;
}

/* As strconv.ParseInt with base 0: 0x, 0o, 0b, and a leading 0 for octal. */
static bool parse_int(const struct plain *s, uint64_t *ret)
{
    str t = str_of(s->text, s->n);
    int base = 10;
    if (t.n > 1 && t.p[0] == '0') {
        char c = (char)(t.p[1] | 0x20);
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        t = str_skip(t, c == 'x' || c == 'b' || c == 'o' ? 2 : 1);
    }
    uint64_t v = 0;
    for (size_t i = 0; i < t.n; i++) {
        int digit = digit_value(t.p[i]);
        if (digit >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit, &v))
            return false;
    }
    *ret = v;
    return t.n && (!s->negative || v <= (uint64_t)1 << 63);
}

/* [digits][.digits][e[±]digits] and nothing else: number_double() itself takes only that. */
static bool parse_float(const struct plain *s, double *ret)
{
    double d;
    if (!number_double(str_of(s->text, s->n), &d) || s->text[0] == '-')
        return false;
    *ret = s->negative ? -d : d;
    return true;
}

int yaml_resolve(struct arena *a, struct yaml_node *n)
{
    n->type = YAML_STR;
    n->canon = n->text;
    struct plain s;
    if (resolve_word(n) || !strip(n->text, &s))
        return 0;

    uint64_t v;
    double d;
    if (parse_int(&s, &v)) {
        n->type = YAML_INT;
        n->canon = arena_printf(a, "%s%llu", s.negative && v ? "-" : "", (unsigned long long)v);
    } else if (parse_float(&s, &d)) {
        char text[NUMBER_MAX];
        size_t len = number_print(d, NUMBER_JSON, text);
        n->type = YAML_FLOAT;
        n->canon = arena_dup(a, str_of(text, len));
    }
    return n->canon.p ? 0 : -EXHAUSTED;
}
