#include "format/cel_ast.h"
#include "format/duration.h"
#include "format/json_chars.h"
#include "format/number.h"

#include <math.h>

#define ARGS struct cel_run *r, unsigned pos, const struct cel_value *arg, struct cel_value *ret

static bool no_overload(struct cel_run *r, unsigned pos, const char *fn,
                        const struct cel_value *arg)
{
    return cel_fail(r, pos, "no such overload: %s(%s)", fn, cel_kind_name(arg->kind));
}

static bool give(struct cel_value v, struct cel_value *ret)
{
    *ret = v;
    return true;
}

static bool out_of_range(struct cel_run *r, unsigned pos, const char *type)
{
    return cel_fail(r, pos, "the value doesn't fit %s", type);
}

static bool not_a(struct cel_run *r, unsigned pos, const char *what, str text)
{
    return cel_fail(r, pos, "\"" STR_FMT "\" is no %s", STR_ARG(str_take(text, 100)), what);
}

static size_t count_runes(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static bool fn_size(ARGS)
{
    switch (arg->kind) {
    case CEL_STRING:
        return cel_charge(r, pos, arg->s.n) && give(cel_int((int64_t)count_runes(arg->s)), ret);
    case CEL_BYTES:
        return give(cel_int((int64_t)arg->s.n), ret);
    case CEL_LIST:
    case CEL_MAP:
        return cel_charge(r, pos, arg->json.raw.n) && give(cel_int((int64_t)cel_count(arg)), ret);
    default:
        return no_overload(r, pos, "size", arg);
    }
}

/* ---- text ---- */

static bool two_strings(ARGS, const char *fn, bool (*test)(str s, str part))
{
    for (int i = 0; i < 2; i++)
        if (arg[i].kind != CEL_STRING)
            return no_overload(r, pos, fn, &arg[i]);
    return cel_charge(r, pos, arg[0].s.n) && give(cel_bool(test(arg[0].s, arg[1].s)), ret);
}

static bool fn_contains(ARGS)
{
    return two_strings(r, pos, arg, ret, "contains", str_contains);
}

static bool fn_starts_with(ARGS)
{
    return two_strings(r, pos, arg, ret, "startsWith", str_starts);
}

static bool fn_ends_with(ARGS)
{
    return two_strings(r, pos, arg, ret, "endsWith", str_ends);
}

static bool fn_matches(ARGS)
{
    const char *why;
    for (int i = 0; i < 2; i++)
        if (arg[i].kind != CEL_STRING)
            return no_overload(r, pos, "matches", &arg[i]);
    struct regex *re = regex_compile(r->arena, arg[1].s, &why);
    if (!re && why == regex_no_memory)
        return cel_exhausted(r, pos, why);
    if (!re)
        return cel_fail(r, pos, "matches(): %s", why);
    return cel_charge(r, pos, KIB(32)) && cel_matches(r, pos, re, arg[0].s, ret);
}

/* ---- conversions ---- */

static bool fn_int(ARGS)
{
    int64_t v;
    switch (arg->kind) {
    case CEL_INT:
    case CEL_DURATION:
        return give(cel_int(arg->i), ret);
    case CEL_UINT:
        return arg->u <= INT64_MAX ? give(cel_int((int64_t)arg->u), ret)
                                   : out_of_range(r, pos, "int");
    case CEL_DOUBLE: /* the smallest int is refused, too, as its neighbours round to it */
        return arg->d > -0x1p63 && arg->d < 0x1p63 ? give(cel_int((int64_t)arg->d), ret)
                                                   : out_of_range(r, pos, "int");
    case CEL_STRING:
        return str_to_i64(arg->s, &v) ? give(cel_int(v), ret) : not_a(r, pos, "int", arg->s);
    case CEL_TIMESTAMP:
        return give(cel_int(arg->t.s), ret);
    default:
        return no_overload(r, pos, "int", arg);
    }
}

static bool fn_uint(ARGS)
{
    uint64_t v;
    switch (arg->kind) {
    case CEL_UINT:
        return give(*arg, ret);
    case CEL_INT:
        return arg->i >= 0 ? give(cel_uint((uint64_t)arg->i), ret) : out_of_range(r, pos, "uint");
    case CEL_DOUBLE:
        return arg->d >= 0 && arg->d < 0x1p64 ? give(cel_uint((uint64_t)arg->d), ret)
                                              : out_of_range(r, pos, "uint");
    case CEL_STRING:
        return str_to_u64(arg->s, &v) ? give(cel_uint(v), ret) : not_a(r, pos, "uint", arg->s);
    default:
        return no_overload(r, pos, "uint", arg);
    }
}

/* As strconv.ParseFloat, without its hexadecimal form and underscores. */
static bool parse_double(str s, double *ret)
{
    bool negative = s.n && s.p[0] == '-';
    str t = s.n && (s.p[0] == '-' || s.p[0] == '+') ? str_skip(s, 1) : s;
    double v;
    if (str_ieq(t, S("nan")) && t.n == s.n)
        v = NAN;
    else if (str_ieq(t, S("inf")) || str_ieq(t, S("infinity")))
        v = INFINITY;
    else if (!t.n || t.p[0] == '-' || !number_double(t, &v))
        return false;
    *ret = negative ? -v : v;
    return true;
}

static bool fn_double(ARGS)
{
    double v;
    switch (arg->kind) {
    case CEL_DOUBLE:
        return give(*arg, ret);
    case CEL_INT:
        return give(cel_double((double)arg->i), ret);
    case CEL_UINT:
        return give(cel_double((double)arg->u), ret);
    case CEL_STRING:
        return parse_double(arg->s, &v) ? give(cel_double(v), ret)
                                        : not_a(r, pos, "double", arg->s);
    default:
        return no_overload(r, pos, "double", arg);
    }
}

static bool fn_bool(ARGS)
{
    bool v;
    if (arg->kind == CEL_BOOL)
        return give(*arg, ret);
    if (arg->kind != CEL_STRING)
        return no_overload(r, pos, "bool", arg);
    return str_to_bool(arg->s, &v) ? give(cel_bool(v), ret) : not_a(r, pos, "bool", arg->s);
}

static bool fn_bytes(ARGS)
{
    if (arg->kind != CEL_STRING && arg->kind != CEL_BYTES)
        return no_overload(r, pos, "bytes", arg);
    return give((struct cel_value){ .kind = CEL_BYTES, .s = arg->s }, ret);
}

static bool is_utf8(str s)
{
    const char *p = s.p, *end = s.p + s.n;
    for (size_t n; p < end; p += n)
        if (!(n = utf8_len(p, end)))
            return false;
    return true;
}

static size_t print_double(double d, char *ret)
{
    if (isfinite(d))
        return number_print(d, NUMBER_G, ret);
    str text = isnan(d) ? S("NaN") : d < 0 ? S("-Inf") : S("+Inf");
    memcpy(ret, text.p, text.n);
    return text.n;
}

static bool string_of_bytes(ARGS)
{
    if (!cel_charge(r, pos, arg->s.n))
        return false;
    if (!is_utf8(arg->s))
        return cel_fail(r, pos, "invalid UTF-8 in bytes, cannot convert to string");
    return give(cel_string(arg->s), ret);
}

static bool fn_string(ARGS)
{
    char text[NUMBER_MAX]; /* CEL_TIME_MAX is the same */
    _Static_assert((int)NUMBER_MAX >= (int)CEL_TIME_MAX, "text must hold a time, too");
    str s;
    switch (arg->kind) {
    case CEL_STRING:
        return give(*arg, ret);
    case CEL_BYTES:
        return string_of_bytes(r, pos, arg, ret);
    case CEL_BOOL:
        return give(cel_string(arg->b ? S("true") : S("false")), ret);
    case CEL_INT:
        s = arena_printf(r->arena, "%lld", (long long)arg->i);
        break;
    case CEL_UINT:
        s = arena_printf(r->arena, "%llu", (unsigned long long)arg->u);
        break;
    case CEL_DOUBLE:
        s = arena_dup(r->arena, str_of(text, print_double(arg->d, text)));
        break;
    case CEL_TIMESTAMP:
        s = arena_dup(r->arena, str_of(text, cel_time_print(arg->t, text)));
        break;
    case CEL_DURATION:
        s = arena_dup(r->arena, str_of(text, cel_duration_print(arg->i, text)));
        break;
    default:
        return no_overload(r, pos, "string", arg);
    }
    return s.p ? give(cel_string(s), ret) : cel_exhausted(r, pos, cel_no_memory);
}

static bool fn_timestamp(ARGS)
{
    struct cel_value v = { .kind = CEL_TIMESTAMP };
    switch (arg->kind) {
    case CEL_TIMESTAMP:
        return give(*arg, ret);
    case CEL_INT:
        v.t.s = arg->i;
        return cel_time_valid(arg->i) ? give(v, ret) : out_of_range(r, pos, "a timestamp");
    case CEL_STRING:
        return cel_time_parse(arg->s, &v.t)
                   ? give(v, ret)
                   : not_a(r, pos, "timestamp such as 2026-01-02T03:04:05Z", arg->s);
    default:
        return no_overload(r, pos, "timestamp", arg);
    }
}

static bool fn_duration(ARGS)
{
    struct cel_value v = { .kind = CEL_DURATION };
    switch (arg->kind) {
    case CEL_DURATION:
        return give(*arg, ret);
    case CEL_INT:
        v.i = arg->i;
        return give(v, ret);
    case CEL_STRING:
        return duration_parse(arg->s, &v.i) ? give(v, ret)
                                            : not_a(r, pos, "duration such as 1h30m", arg->s);
    default:
        return no_overload(r, pos, "duration", arg);
    }
}

static bool fn_type(ARGS)
{
    return give(cel_type(str_c(cel_kind_name(arg->kind))), ret);
}

static bool fn_dyn(ARGS)
{
    return give(*arg, ret);
}

/* ---- parts of a time ---- */

static bool duration_part(struct cel_run *r, unsigned pos, const struct cel_value *arg,
                          enum cel_time_part part, struct cel_value *ret)
{
    static const int64_t unit[] = {
        [PART_HOURS] = 3600000000000,
        [PART_MINUTES] = 60000000000,
        [PART_SECONDS] = 1000000000,
        [PART_MILLISECONDS] = 1000000,
    };
    if (part < PART_HOURS)
        return cel_fail(r, pos, "no such overload: a duration has no calendar");
    int64_t v = arg->i / unit[part];
    return give(cel_int(part == PART_MILLISECONDS ? v % 1000 : v), ret);
}

static bool time_part(ARGS, enum cel_time_part part, str zone)
{
    int64_t v;
    if (arg->kind == CEL_DURATION)
        return duration_part(r, pos, arg, part, ret);
    if (arg->kind != CEL_TIMESTAMP)
        return no_overload(r, pos, "get…", arg);
    if (!cel_time_part(arg->t, zone, part, &v))
        return not_a(r, pos, "time zone known here: write UTC or an offset such as +02:00", zone);
    return give(cel_int(v), ret);
}

static bool time_part_in(ARGS, enum cel_time_part part)
{
    if (arg[0].kind != CEL_TIMESTAMP || arg[1].kind != CEL_STRING)
        return no_overload(r, pos, "get…", &arg[arg[0].kind == CEL_TIMESTAMP]);
    return time_part(r, pos, arg, ret, part, arg[1].s);
}

#define PART_FUNCTIONS(name, part)                                                                 \
    static bool fn_##name(ARGS)                                                                    \
    {                                                                                              \
        return time_part(r, pos, arg, ret, part, S("UTC"));                                        \
    }                                                                                              \
    static bool fn_##name##_in(ARGS)                                                               \
    {                                                                                              \
        return time_part_in(r, pos, arg, ret, part);                                               \
    }

PART_FUNCTIONS(year, PART_YEAR)
PART_FUNCTIONS(month, PART_MONTH)
PART_FUNCTIONS(day_of_month, PART_DAY_OF_MONTH)
PART_FUNCTIONS(date, PART_DATE)
PART_FUNCTIONS(day_of_week, PART_DAY_OF_WEEK)
PART_FUNCTIONS(day_of_year, PART_DAY_OF_YEAR)
PART_FUNCTIONS(hours, PART_HOURS)
PART_FUNCTIONS(minutes, PART_MINUTES)
PART_FUNCTIONS(seconds, PART_SECONDS)
PART_FUNCTIONS(milliseconds, PART_MILLISECONDS)

/* ---- the table ---- */

#define PART_ROWS(name, fn)                                                                        \
    { name, true, 1, fn_##fn },                                                                    \
    {                                                                                              \
        name, true, 2, fn_##fn##_in                                                                \
    }

static const struct cel_function functions[] = {
    { "size", false, 1, fn_size },
    { "size", true, 1, fn_size },
    { "contains", true, 2, fn_contains },
    { "startsWith", true, 2, fn_starts_with },
    { "endsWith", true, 2, fn_ends_with },
    { "matches", true, 2, fn_matches },
    { "matches", false, 2, fn_matches },
    { "int", false, 1, fn_int },
    { "uint", false, 1, fn_uint },
    { "double", false, 1, fn_double },
    { "bool", false, 1, fn_bool },
    { "bytes", false, 1, fn_bytes },
    { "string", false, 1, fn_string },
    { "timestamp", false, 1, fn_timestamp },
    { "duration", false, 1, fn_duration },
    { "type", false, 1, fn_type },
    { "dyn", false, 1, fn_dyn },
    PART_ROWS("getFullYear", year),
    PART_ROWS("getMonth", month),
    PART_ROWS("getDayOfMonth", day_of_month),
    PART_ROWS("getDate", date),
    PART_ROWS("getDayOfWeek", day_of_week),
    PART_ROWS("getDayOfYear", day_of_year),
    PART_ROWS("getHours", hours),
    PART_ROWS("getMinutes", minutes),
    PART_ROWS("getSeconds", seconds),
    PART_ROWS("getMilliseconds", milliseconds),
};

const struct cel_function *cel_function_find(str name, bool member, size_t n_args)
{
    for (size_t i = 0; i < COUNT(functions); i++)
        if (functions[i].member == member && functions[i].n_args == n_args &&
            str_eq(str_c(functions[i].name), name))
            return &functions[i];
    return NULL;
}

bool cel_function_exists(str name)
{
    for (size_t i = 0; i < COUNT(functions); i++)
        if (str_eq(str_c(functions[i].name), name))
            return true;
    return false;
}

const char *cel_function_suggest(str name)
{
    const char *best = "";
    size_t least = 4; /* a typing error is closer than that */
    for (size_t i = 0; i < COUNT(functions); i++) {
        size_t d = str_distance(str_c(functions[i].name), name);
        if (d < least) {
            least = d;
            best = functions[i].name;
        }
    }
    return best;
}
