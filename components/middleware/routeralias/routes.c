#include "routes.h"

/* ---- compiling ---- */

static int refuse(struct error *err, str pattern, const char *why)
{
    return fail(err, INVALID, NULL, "route '" STR_FMT "': %s", STR_ARG(str_take(pattern, 200)),
                why);
}

static size_t count_of(str s, char c)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == c;
    return n;
}

static const char *check_variable(const struct route *r, str name)
{
    if (name.n == 0)
        return "a variable needs a name: {name}";
    if (str_find_c(name, ':') >= 0)
        return "regular expressions in variables are not supported: use {name} alone";
    if (r->n_vars == ROUTE_VARS_MAX)
        return "more than 16 variables";
    for (size_t i = 0; i < r->n_segments; i++)
        for (size_t k = 0; k < r->segment[i].n; k++)
            if (str_eq(r->segment[i].part[k].name, name))
                return "two variables have the same name";
    return NULL;
}

/* "x{a}y{b}" → parts ("x", a), ("y", b), ("", none). Returns what is wrong, or NULL. */
static const char *compile_segment(struct arena *a, struct route *r, str text,
                                   struct route_segment *out)
{
    out->part = arena_zalloc(a, (count_of(text, '{') + 1) * sizeof *out->part);
    if (!out->part)
        return "out of memory";
    for (;;) {
        struct route_part *part = &out->part[out->n];
        str literal, rest, name;
        bool variable = str_cut(text, '{', &literal, &rest);
        if (str_find_c(literal, '}') >= 0)
            return "a '}' without '{'";
        if (out->n > 0 && variable && literal.n == 0)
            return "two variables need text between them";
        part->literal = literal;
        out->n++;
        if (!variable)
            return NULL;
        if (!str_cut(rest, '}', &name, &text) || str_find_c(name, '{') >= 0)
            return "a '{' without '}'";
        const char *wrong = check_variable(r, name);
        if (wrong)
            return wrong;
        part->name = name;
        r->n_vars++;
    }
}

int route_compile(struct arena *a, str pattern, str target, struct route *ret, struct error *err)
{
    struct route r = { .pattern = arena_dup(a, pattern), .target = arena_dup(a, target) };
    if (!r.pattern.p || !r.target.p)
        return fail(err, EXHAUSTED, NULL, "out of memory for the routes");
    if (!str_starts(pattern, S("/")))
        return refuse(err, pattern, "a pattern must begin with '/'");
    if (!str_starts(target, S("/")))
        return refuse(err, pattern, "its target must begin with '/'");
    r.segment = arena_zalloc(a, count_of(pattern, '/') * sizeof *r.segment);
    if (!r.segment)
        return fail(err, EXHAUSTED, NULL, "out of memory for the routes");
    str rest = str_skip(r.pattern, 1), text;
    bool more = true;
    while (more) {
        more = str_cut(rest, '/', &text, &rest);
        struct route_segment *s = &r.segment[r.n_segments++];
        const char *wrong = compile_segment(a, &r, text, s);
        if (wrong)
            return refuse(err, pattern, wrong);
    }
    *ret = r;
    return 0;
}

/* ---- matching ---- */

static ptrdiff_t find_last(str s, str needle)
{
    for (size_t i = s.n + 1 - needle.n; needle.n <= s.n && i-- > 0;)
        if (memcmp(s.p + i, needle.p, needle.n) == 0)
            return (ptrdiff_t)i;
    return -1;
}

/* From the right, each literal is taken where it stands last. That makes every variable from the
 * left as long as it can be, which is what a greedy regular expression does, without trying twice.
 */
static bool match_segment(const struct route_segment *seg, str text, struct route_var *vars)
{
    const struct route_part *last = &seg->part[seg->n - 1];
    if (seg->n == 1)
        return str_eq(text, last->literal);
    if (!str_starts(text, seg->part[0].literal))
        return false;
    text = str_skip(text, seg->part[0].literal.n);
    if (!str_ends(text, last->literal))
        return false;
    text.n -= last->literal.n;
    for (size_t i = seg->n - 1; i-- > 0;) {
        str head =
            str_take(text, text.n ? text.n - 1 : 0); /* the variable takes one byte at least */
        ptrdiff_t at = i == 0 ? 0 : find_last(head, seg->part[i].literal);
        size_t literal = i == 0 ? 0 : seg->part[i].literal.n;
        if (at < 0 || text.n == 0)
            return false;
        vars[i] = (struct route_var){ seg->part[i].name, str_skip(text, (size_t)at + literal) };
        text = str_take(text, (size_t)at);
    }
    return true;
}

static bool match_route(const struct route *r, str path, struct route_var *vars)
{
    if (!str_starts(path, S("/")) || count_of(path, '/') != r->n_segments)
        return false;
    str rest = str_skip(path, 1), text;
    for (size_t i = 0; i < r->n_segments; i++) {
        (void)str_cut(rest, '/', &text, &rest);
        if (!match_segment(&r->segment[i], text, vars))
            return false;
        vars += r->segment[i].n - 1;
    }
    return true;
}

const struct route *route_match(const struct route_table *t, str path, struct route_var *vars)
{
    for (size_t i = 0; i < t->n; i++)
        if (match_route(&t->v[i], path, vars))
            return &t->v[i];
    return NULL;
}
