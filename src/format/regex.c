#include "format/regex.h"

#include "format/json_chars.h"
#include "format/regex_code.h"

const char regex_no_memory[] = "out of the memory set aside for it";

enum { FOLD = 1, DOT_ALL = 2, MULTILINE = 4 }; /* i, s, m */

enum { CODE_END = 0x7fffffff }; /* what peek() gives behind the pattern */

struct compiler {
    str rest;
    struct regex *re;
    const char *why;
    unsigned flags, depth;
};

static bool parse_alternation(struct compiler *c);

static bool refuse(struct compiler *c, const char *why)
{
    c->why = why;
    return false;
}

static uint32_t peek(const struct compiler *c)
{
    size_t n = utf8_len(c->rest.p, c->rest.p + c->rest.n);
    return n ? utf8_get(c->rest.p, n) : CODE_END;
}

static uint32_t take(struct compiler *c)
{
    uint32_t ch = peek(c);
    c->rest = str_skip(c->rest, utf8_len(c->rest.p, c->rest.p + c->rest.n));
    return ch;
}

static bool take_if(struct compiler *c, str word)
{
    if (!str_starts(c->rest, word))
        return false;
    c->rest = str_skip(c->rest, word.n);
    return true;
}

/* ---- emitting; jumps are relative, so that code can be moved and copied ---- */

static bool emit(struct compiler *c, enum regex_op op, int32_t arg)
{
    if (c->re->n_inst >= REGEX_OPS_MAX)
        return refuse(c, "the pattern is too large");
    c->re->inst[c->re->n_inst++] = (struct regex_inst){ op, arg };
    return true;
}

static bool insert(struct compiler *c, uint32_t at, enum regex_op op, int32_t arg)
{
    if (!emit(c, op, arg))
        return false;
    struct regex_inst *inst = c->re->inst;
    memmove(&inst[at + 1], &inst[at], (c->re->n_inst - 1 - at) * sizeof *inst);
    inst[at] = (struct regex_inst){ op, arg };
    return true;
}

static bool copy(struct compiler *c, uint32_t from, uint32_t n)
{
    bool ok = true;
    for (uint32_t i = 0; i < n && ok; i++)
        ok = emit(c, c->re->inst[from + i].op, c->re->inst[from + i].arg);
    return ok;
}

/* ---- classes ---- */

static bool add_range(struct compiler *c, uint32_t low, uint32_t high)
{
    if (c->re->n_ranges >= c->re->max_ranges)
        return refuse(c, "the pattern has too many character ranges");
    c->re->range[c->re->n_ranges++] = (struct regex_range){ low, high };
    return true;
}

/* With (?i): the other case of the ASCII letters in the range, too. */
static bool add_folded(struct compiler *c, uint32_t low, uint32_t high)
{
    bool ok = add_range(c, low, high);
    if (!(c->flags & FOLD))
        return ok;
    uint32_t a = low > 'A' ? low : 'A', z = high < 'Z' ? high : 'Z';
    if (ok && a <= z)
        ok = add_range(c, a + 32, z + 32);
    a = low > 'a' ? low : 'a', z = high < 'z' ? high : 'z';
    return ok && a <= z ? add_range(c, a - 32, z - 32) : ok;
}

static const struct named_class {
    char letter; /* of \d; 0 = none */
    const char *name;
    struct regex_range range[4];
    int n;
} named[] = {
    { 'd', "digit", { { '0', '9' } }, 1 },
    { 's', "", { { '\t', '\n' }, { '\f', '\r' }, { ' ', ' ' } }, 3 },
    { 'w', "word", { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } }, 4 },
    { 0, "alnum", { { '0', '9' }, { 'A', 'Z' }, { 'a', 'z' } }, 3 },
    { 0, "alpha", { { 'A', 'Z' }, { 'a', 'z' } }, 2 },
    { 0, "ascii", { { 0, 0x7f } }, 1 },
    { 0, "blank", { { '\t', '\t' }, { ' ', ' ' } }, 2 },
    { 0, "cntrl", { { 0, 0x1f }, { 0x7f, 0x7f } }, 2 },
    { 0, "graph", { { '!', '~' } }, 1 },
    { 0, "lower", { { 'a', 'z' } }, 1 },
    { 0, "print", { { ' ', '~' } }, 1 },
    { 0, "punct", { { '!', '/' }, { ':', '@' }, { '[', '`' }, { '{', '~' } }, 4 },
    { 0, "space", { { '\t', '\r' }, { ' ', ' ' } }, 2 },
    { 0, "upper", { { 'A', 'Z' } }, 1 },
    { 0, "xdigit", { { '0', '9' }, { 'A', 'F' }, { 'a', 'f' } }, 3 },
};

static bool add_named(struct compiler *c, const struct named_class *k, bool negated)
{
    uint32_t next = 0; /* the ranges are in order: their gaps are the opposite */
    bool ok = true;
    for (int i = 0; i < k->n && ok; i++) {
        if (!negated)
            ok = add_folded(c, k->range[i].low, k->range[i].high);
        else if (k->range[i].low > next)
            ok = add_range(c, next, k->range[i].low - 1);
        next = k->range[i].high + 1;
    }
    return ok && negated ? add_range(c, next, 0x10ffff) : ok;
}

static const struct named_class *class_of_letter(uint32_t letter)
{
    for (size_t i = 0; i < COUNT(named); i++)
        if (named[i].letter && (letter | 0x20) == (uint32_t)named[i].letter)
            return &named[i];
    return NULL;
}

/* Inside brackets, behind "[:". */
static bool parse_posix_class(struct compiler *c)
{
    bool negated = take_if(c, S("^"));
    for (size_t i = 0; i < COUNT(named); i++) {
        str name = str_c(named[i].name);
        str after = str_skip(c->rest, name.n);
        if (!name.n || !str_starts(c->rest, name) || !str_starts(after, S(":]")))
            continue;
        c->rest = str_skip(after, 2);
        return add_named(c, &named[i], negated);
    }
    return refuse(c, "no such class [:name:]");
}

static int hex_value(uint32_t ch)
{
    if (ch >= '0' && ch <= '9')
        return (int)ch - '0';
    uint32_t low = ch | 0x20;
    return low >= 'a' && low <= 'f' ? (int)low - 'a' + 10 : -1;
}

/* Behind "\x": two digits, or any number of them in braces. */
static bool parse_hex(struct compiler *c, uint32_t *ret)
{
    bool braces = take_if(c, S("{"));
    uint32_t v = 0;
    int n = 0;
    for (; (braces || n < 2) && hex_value(peek(c)) >= 0; n++) {
        v = v * 16 + (uint32_t)hex_value(take(c));
        if (v > 0x10ffff)
            return refuse(c, "a code point past \\x{10FFFF}");
    }
    if (!n || (!braces && n < 2) || (braces && !take_if(c, S("}"))))
        return refuse(c, "\\x needs two hex digits, or some in braces");
    *ret = v;
    return true;
}

/* Behind a backslash: an escape that stands for one character. */
static bool parse_escaped_char(struct compiler *c, uint32_t *ret)
{
    static const char from[] = "afnrtv", to[] = "\a\f\n\r\t\v";
    uint32_t ch = take(c);
    if (ch == CODE_END)
        return refuse(c, "a backslash at the end");
    if (ch == 'x')
        return parse_hex(c, ret);
    const char *hit = ch < 128 ? memchr(from, (int)ch, 6) : NULL;
    bool word = (ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z');
    if (!hit && (word || ch >= 128))
        return refuse(c, "an escape that isn't supported");
    *ret = hit ? (uint32_t)to[hit - from] : ch;
    return true;
}

static bool parse_class_char(struct compiler *c, uint32_t *ret)
{
    *ret = take(c);
    if (*ret == CODE_END)
        return refuse(c, "a bracket [ that isn't closed");
    return *ret != '\\' || parse_escaped_char(c, ret);
}

/* One item between brackets: a range, a character, \d or [:name:]. */
static bool parse_class_item(struct compiler *c)
{
    if (take_if(c, S("[:")))
        return parse_posix_class(c);
    if (str_starts(c->rest, S("\\")) && c->rest.n > 1) {
        uint32_t letter = (unsigned char)c->rest.p[1];
        const struct named_class *k = class_of_letter(letter);
        if (k) {
            c->rest = str_skip(c->rest, 2);
            return add_named(c, k, letter < 'a');
        }
    }
    uint32_t low, high;
    if (!parse_class_char(c, &low))
        return false;
    high = low;
    bool ranged = c->rest.n > 1 && c->rest.p[0] == '-' && c->rest.p[1] != ']';
    if (ranged) {
        take(c);
        if (!parse_class_char(c, &high))
            return false;
    }
    return high < low ? refuse(c, "a range that runs backwards") : add_folded(c, low, high);
}

static bool emit_class(struct compiler *c, uint32_t first, bool negated)
{
    struct regex *re = c->re;
    if (re->n_classes >= re->max_classes)
        return refuse(c, "the pattern is too large");
    re->cls[re->n_classes] = (struct regex_class){ first, re->n_ranges - first, negated };
    return emit(c, RE_CLASS, (int32_t)re->n_classes++);
}

static bool parse_brackets(struct compiler *c) /* behind '[' */
{
    uint32_t first = c->re->n_ranges;
    bool negated = take_if(c, S("^"));
    bool ok = true;
    for (bool start = true; ok && (start || !str_starts(c->rest, S("]"))); start = false)
        ok = parse_class_item(c);
    if (!ok)
        return false;
    take(c);
    return emit_class(c, first, negated);
}

/* ---- atoms ---- */

static bool emit_char(struct compiler *c, uint32_t ch)
{
    bool letter = (ch | 0x20) >= 'a' && (ch | 0x20) <= 'z';
    if (!(c->flags & FOLD) || !letter)
        return emit(c, RE_CHAR, (int32_t)ch);
    uint32_t first = c->re->n_ranges;
    return add_folded(c, ch, ch) && emit_class(c, first, false);
}

static bool emit_dot(struct compiler *c)
{
    uint32_t first = c->re->n_ranges;
    if (!(c->flags & DOT_ALL) && !add_range(c, '\n', '\n'))
        return false;
    return emit_class(c, first, true);
}

static bool parse_escape(struct compiler *c) /* behind '\\' */
{
    static const struct {
        char letter;
        enum regex_op op;
    } row[] = { { 'A', RE_BEGIN }, { 'z', RE_END }, { 'b', RE_WORD }, { 'B', RE_NOT_WORD } };
    for (size_t i = 0; i < COUNT(row); i++)
        if (peek(c) == (uint32_t)row[i].letter) {
            take(c);
            return emit(c, row[i].op, 0);
        }
    uint32_t letter = peek(c);
    const struct named_class *k = class_of_letter(letter);
    if (k) {
        take(c);
        uint32_t first = c->re->n_ranges;
        return add_named(c, k, letter < 'a') && emit_class(c, first, false);
    }
    uint32_t ch;
    return parse_escaped_char(c, &ch) && emit_char(c, ch);
}

/* Behind "(?": sets flags; *ret_group says whether ':' opened a group. */
static bool parse_flags(struct compiler *c, bool *ret_group)
{
    bool off = false;
    for (;;) {
        uint32_t ch = take(c);
        if (ch == ':' || ch == ')') {
            *ret_group = ch == ':';
            return true;
        }
        unsigned bit = ch == 'i' ? FOLD : ch == 's' ? DOT_ALL : ch == 'm' ? MULTILINE : 0;
        if (ch == '-' && !off)
            off = true;
        else if (bit)
            c->flags = off ? c->flags & ~bit : c->flags | bit;
        else
            return refuse(c, "a group (?… that isn't supported");
    }
}

static bool parse_group(struct compiler *c) /* behind '(' */
{
    unsigned outer = c->flags;
    if (take_if(c, S("?P<")) || take_if(c, S("?<"))) {
        ptrdiff_t close = str_find_c(c->rest, '>');
        if (close < 1)
            return refuse(c, "a group name that isn't closed with >");
        c->rest = str_skip(c->rest, (size_t)close + 1);
    } else if (take_if(c, S("?"))) {
        bool group;
        if (!parse_flags(c, &group))
            return false;
        if (!group)
            return true; /* (?i) holds until the enclosing group ends */
    }
    if (++c->depth > REGEX_DEPTH_MAX)
        return refuse(c, "groups are nested too deeply");
    if (!parse_alternation(c))
        return false;
    if (!take_if(c, S(")")))
        return refuse(c, "a group ( that isn't closed");
    c->depth--;
    c->flags = outer;
    return true;
}

static bool parse_atom(struct compiler *c)
{
    uint32_t ch = take(c);
    switch (ch) {
    case '(':
        return parse_group(c);
    case '[':
        return parse_brackets(c);
    case '.':
        return emit_dot(c);
    case '^':
        return emit(c, c->flags & MULTILINE ? RE_BEGIN_LINE : RE_BEGIN, 0);
    case '$':
        return emit(c, c->flags & MULTILINE ? RE_END_LINE : RE_END, 0);
    case '\\':
        return parse_escape(c);
    case '*':
    case '+':
    case '?':
        return refuse(c, "a repetition of nothing");
    case CODE_END:
        return refuse(c, "the pattern isn't UTF-8");
    default:
        return emit_char(c, ch);
    }
}

/* ---- repetition, sequence, choice ---- */

static bool take_number(struct compiler *c, uint32_t *ret)
{
    uint32_t v = 0;
    size_t n = 0;
    for (; n < c->rest.n && c->rest.p[n] >= '0' && c->rest.p[n] <= '9'; n++)
        v = v > REGEX_REPEAT_MAX ? v : v * 10 + (uint32_t)(c->rest.p[n] - '0');
    c->rest = str_skip(c->rest, n);
    *ret = v;
    return n > 0;
}

/* "{2}", "{2,}", "{2,5}"; anything else leaves the brace to be a character, as RE2 does. */
static bool take_counts(struct compiler *c, uint32_t *ret_min, uint32_t *ret_max)
{
    str before = c->rest;
    bool ok = take_if(c, S("{")) && take_number(c, ret_min);
    *ret_max = *ret_min;
    if (ok && take_if(c, S(",")) && !take_number(c, ret_max))
        *ret_max = UINT32_MAX;
    ok = ok && take_if(c, S("}"));
    if (!ok)
        c->rest = before;
    return ok;
}

static bool take_repeat(struct compiler *c, uint32_t *ret_min, uint32_t *ret_max)
{
    *ret_min = 0;
    *ret_max = UINT32_MAX;
    if (take_if(c, S("*")))
        return true;
    if (take_if(c, S("+"))) {
        *ret_min = 1;
        return true;
    }
    if (take_if(c, S("?"))) {
        *ret_max = 1;
        return true;
    }
    return take_counts(c, ret_min, ret_max);
}

/* Makes the n copies of len operations that begin at at optional, each by itself. */
static bool make_optional(struct compiler *c, uint32_t at, uint32_t len, uint32_t n)
{
    bool ok = true;
    for (; n && ok; n--) {
        ok = insert(c, at, RE_SPLIT, (int32_t)len + 1);
        at += len + 1;
    }
    return ok;
}

/* Makes the code from start on match min to max times. */
static bool repeat(struct compiler *c, uint32_t start, uint32_t min, uint32_t max)
{
    uint32_t len = c->re->n_inst - start;
    bool endless = max == UINT32_MAX, ok = true;
    if (min > REGEX_REPEAT_MAX || (!endless && (max > REGEX_REPEAT_MAX || max < min)))
        return refuse(c, "a repetition count past 1000, or one that runs backwards");
    if (!max) {
        c->re->n_inst = start;
        return true;
    }
    if (endless && !min) /* x* */
        return insert(c, start, RE_SPLIT, (int32_t)len + 2) && emit(c, RE_JUMP, -(int32_t)len - 1);
    for (uint32_t copies = endless ? min : max; copies > 1 && ok; copies--)
        ok = copy(c, start, len);
    if (!ok)
        return false;
    if (endless) /* x+ : behind the last copy, back or on */
        return emit(c, RE_SPLIT, -(int32_t)len);
    return make_optional(c, start + min * len, len, max - min);
}

static bool parse_sequence(struct compiler *c)
{
    while (c->rest.n && c->rest.p[0] != '|' && c->rest.p[0] != ')') {
        uint32_t start = c->re->n_inst, min, max;
        if (!parse_atom(c))
            return false;
        if (take_repeat(c, &min, &max)) {
            if (!repeat(c, start, min, max))
                return false;
            (void)take_if(c, S("?")); /* lazy: whether it matches is the same */
            if (take_repeat(c, &min, &max))
                return refuse(c, "a repetition of a repetition; put the inner one in a group");
        }
    }
    return true;
}

/* a|b|c: split a (jump end) split b (jump end) c. Jumps to the end are chained through their arg
 * until it is known. */
static bool parse_alternation(struct compiler *c)
{
    uint32_t start = c->re->n_inst, jumps = UINT32_MAX;
    for (;;) {
        if (!parse_sequence(c))
            return false;
        if (!take_if(c, S("|")))
            break;
        int32_t len = (int32_t)(c->re->n_inst - start);
        if (!insert(c, start, RE_SPLIT, len + 2) || !emit(c, RE_JUMP, (int32_t)jumps))
            return false;
        jumps = c->re->n_inst - 1;
        start = c->re->n_inst;
    }
    while (jumps != UINT32_MAX) {
        struct regex_inst *jump = &c->re->inst[jumps];
        uint32_t next = (uint32_t)jump->arg;
        jump->arg = (int32_t)(c->re->n_inst - jumps);
        jumps = next;
    }
    return true;
}

static struct regex *new_regex(struct arena *a, size_t pattern_len)
{
    struct regex *re = arena_zalloc(a, sizeof *re);
    if (!re)
        return NULL;
    /* Each character of a pattern adds at most one class and, as \D or \W under (?i), few ranges.
     */
    re->max_classes = (uint32_t)pattern_len + 1;
    re->max_ranges = (uint32_t)pattern_len * 6 + 8;
    re->inst = arena_alloc(a, REGEX_OPS_MAX * sizeof *re->inst);
    re->cls = arena_alloc(a, re->max_classes * sizeof *re->cls);
    re->range = arena_alloc(a, re->max_ranges * sizeof *re->range);
    return re->inst && re->cls && re->range ? re : NULL;
}

struct regex *regex_compile(struct arena *a, str pattern, const char **ret_why)
{
    struct compiler c = { .rest = pattern };
    if (pattern.n > REGEX_OPS_MAX) {
        *ret_why = "the pattern is longer than 4096 bytes";
        return NULL;
    }
    c.re = new_regex(a, pattern.n);
    if (!c.re) {
        *ret_why = regex_no_memory;
        return NULL;
    }
    bool ok = parse_alternation(&c);
    if (ok && c.rest.n)
        ok = refuse(&c, "a ) without its (");
    if (ok)
        ok = emit(&c, RE_MATCH, 0);
    if (!ok)
        *ret_why = c.why;
    return ok ? c.re : NULL;
}
