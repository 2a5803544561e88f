#include "telemetry/http_labels.h"

#include "base/arena.h"

#include <stdatomic.h>

/* What stands between two slashes of a pattern, the more specific first. */
enum segment { LITERAL, WILDCARD, REST };

struct pattern {
    str text; /* the label */
    size_t n; /* segments; the first follows the leading slash */
    enum segment kind[HTTP_PATTERN_SEGMENTS];
    str literal[HTTP_PATTERN_SEGMENTS];
};

static struct {
    bool increased, exclude_verbs;
    struct arena arena;
    struct pattern *pattern;
    size_t n;
} labels = { .increased = true };

/* ---- patterns ---- */

static int refuse(struct error *err, str text, const char *why)
{
    return fail(err, INVALID, NULL, "metrics.http.pathMatching: \"" STR_FMT "\" %s",
                STR_ARG(str_take(text, 100)), why);
}

/* "{$}" matches the slash alone: an empty segment. */
static const char *read_segment(str s, bool last, enum segment *kind, str *literal)
{
    *literal = s;
    *kind = LITERAL;
    if (!s.n && !last)
        return "has an empty segment";
    if (!str_starts(s, S("{")))
        return str_find_c(s, '{') >= 0 || str_find_c(s, '}') >= 0
                   ? "has a {wildcard} that isn't a whole segment"
                   : NULL;
    if (!str_ends(s, S("}")))
        return "has a { without }";
    str name = str_take(str_skip(s, 1), s.n - 2);
    *kind = str_ends(name, S("...")) ? REST : WILDCARD;
    if (str_eq(name, S("$"))) {
        *kind = LITERAL;
        *literal = S("");
    } else if (!name.n || str_eq(name, S("...")))
        return "has a {wildcard} without a name";
    return !last && (*kind == REST || !literal->n) ? "has {…} before its end" : NULL;
}

/* A slash at the end matches whatever follows it. */
static int read_pattern(str text, struct pattern *ret, struct error *err)
{
    static const str GET = { "GET ", 4 };
    str rest = str_starts(text, GET) ? str_trim(str_skip(text, GET.n)) : text, segment;
    *ret = (struct pattern){ .text = text };
    if (!str_starts(rest, S("/")))
        return refuse(err, text, "doesn't begin with a slash");
    bool more = true;
    for (rest = str_skip(rest, 1); more;) {
        if (ret->n == HTTP_PATTERN_SEGMENTS)
            return refuse(err, text, "has too many segments");
        more = str_cut(rest, '/', &segment, &rest);
        const char *why = read_segment(segment, !more, &ret->kind[ret->n], &ret->literal[ret->n]);
        if (why)
            return refuse(err, text, why);
        if (!more && !segment.n) /* not "{$}" */
            ret->kind[ret->n] = REST;
        ret->n++;
    }
    return 0;
}

static bool matches(const struct pattern *p, str path)
{
    str rest = str_skip(path, 1), segment;
    bool more = true;
    for (size_t i = 0; i < p->n; i++) {
        if (!more)
            return false;
        if (p->kind[i] == REST)
            return true;
        more = str_cut(rest, '/', &segment, &rest);
        if (p->kind[i] == WILDCARD ? !segment.n : !str_eq(segment, p->literal[i]))
            return false;
    }
    return !more;
}

/* Of two that match one path: the one that says more at the first difference. */
static bool more_specific(const struct pattern *a, const struct pattern *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (a->kind[i] != b->kind[i])
            return a->kind[i] < b->kind[i];
    return false;
}

static const struct pattern *find(str path)
{
    const struct pattern *best = NULL;
    for (size_t i = 0; i < labels.n; i++) {
        const struct pattern *p = &labels.pattern[i];
        if (matches(p, path) && (!best || more_specific(p, best)))
            best = p;
    }
    return best;
}

/* ---- setting ---- */

/* The pattern itself, and the same behind the invoke API. */
static int add(str text, struct error *err)
{
    static const str INVOKE = { "/v1.0/invoke/{app_id}/method", 28 };
    str invoke[] = { INVOKE, text };
    str both[] = { arena_dup(&labels.arena, text), arena_join(&labels.arena, invoke, 2) };
    bool plain = str_starts(text, S("/"));
    for (size_t i = 0; i < (plain ? 2u : 1u); i++) {
        int r = both[i].p ? read_pattern(both[i], &labels.pattern[labels.n], err)
                          : fail(err, EXHAUSTED, NULL, "out of memory");
        if (r < 0)
            return r;
        labels.n++;
    }
    return 0;
}

int http_labels_setup(const struct http_labels *c, struct error *err)
{
    if (c->n_patterns > HTTP_PATTERNS_MAX)
        return fail(err, INVALID, NULL, "metrics.http.pathMatching: more than %d patterns",
                    HTTP_PATTERNS_MAX);
    arena_done(&labels.arena);
    arena_init(&labels.arena, MIB(4));
    labels.increased = c->increased_cardinality;
    labels.exclude_verbs = c->exclude_verbs;
    labels.n = 0;
    labels.pattern = arena_alloc(&labels.arena, 2 * c->n_patterns * sizeof *labels.pattern);
    int r = labels.pattern ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
    for (size_t i = 0; i < c->n_patterns && r >= 0; i++)
        r = add(c->pattern[i], err);
    return r;
}

/* ---- asking ---- */

bool http_labels_increased(void)
{
    return labels.increased;
}

str http_method_label(str method)
{
    return labels.exclude_verbs ? S("") : method; /* the label stays: surprise 61 */
}

/* What is the same in every app. */
static bool well_known(str path)
{
    static const str known[] = { S("/dapr/config"), S("/dapr/metrics"), S("/dapr/subscribe"),
                                 S("/healthz") };
    for (size_t i = 0; i < COUNT(known); i++)
        if (str_eq(path, known[i]))
            return true;
    return false;
}

str http_path_label(str path, bool keyed)
{
    if (labels.n) {
        const struct pattern *p = find(path);
        if (p)
            return p->text;
    }
    if (!labels.increased)
        return !labels.n && well_known(path) ? path : S("");
    if (!keyed)
        return path;
    size_t slashes = 0, n = 0; /* "/v1.0/state/<store>" */
    while (n < path.n && (path.p[n] != '/' || ++slashes < 4))
        n++;
    return str_take(path, n);
}
