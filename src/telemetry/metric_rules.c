#include "telemetry/metric_rules.h"

#include "base/buf.h"
#include "format/regex.h"

struct compiled {
    str metric, label, replacement;
    struct regex *regex;
};

static struct {
    struct arena arena;
    struct compiled *rule;
    size_t n, scratch; /* bytes that the largest one needs */
} rules;
bool metric_rules_present;

static char normal(char c)
{
    return c == '/' || c == '.' ? '_' : c;
}

/* "http/server/latency", "dapr_http_server_latency" and so on are one metric. */
static bool names(str rule, str metric)
{
    static const str PREFIX = { "dapr_", 5 };
    rule = str_starts(rule, PREFIX) ? str_skip(rule, PREFIX.n) : rule;
    metric = str_starts(metric, PREFIX) ? str_skip(metric, PREFIX.n) : metric;
    for (size_t i = 0; i < rule.n && rule.n == metric.n; i++)
        if (normal(rule.p[i]) != metric.p[i])
            return false;
    return rule.n == metric.n;
}

static int compile(const struct metric_rule *r, struct compiled *ret, struct error *err)
{
    const char *why = NULL;
    *ret = (struct compiled){ arena_dup(&rules.arena, r->metric), arena_dup(&rules.arena, r->label),
                              arena_dup(&rules.arena, r->replacement), NULL };
    if (!ret->metric.p || !ret->label.p || !ret->replacement.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    ret->regex = regex_compile(&rules.arena, r->regex, &why);
    if (!ret->regex)
        return fail(err, why == regex_no_memory ? EXHAUSTED : INVALID, NULL,
                    "metrics.rules: the regex \"" STR_FMT "\" of " STR_FMT "/" STR_FMT ": %s",
                    STR_ARG(str_take(r->regex, 100)), STR_ARG(str_take(r->metric, 100)),
                    STR_ARG(str_take(r->label, 60)), why);
    size_t need = regex_scratch(ret->regex);
    rules.scratch = need > rules.scratch ? need : rules.scratch;
    return 0;
}

int metric_rules_setup(const struct metric_rule *rule, size_t n, struct error *err)
{
    if (n > METRIC_RULES_MAX)
        return fail(err, INVALID, NULL, "metrics.rules: more than %d expressions",
                    METRIC_RULES_MAX);
    arena_done(&rules.arena);
    arena_init(&rules.arena, MIB(16));
    rules.n = rules.scratch = 0;
    rules.rule = arena_alloc(&rules.arena, n * sizeof *rules.rule);
    int r = rules.rule ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
    for (size_t i = 0; i < n && r >= 0; i++) {
        r = compile(&rule[i], &rules.rule[i], err);
        rules.n += r >= 0;
    }
    metric_rules_present = rules.n > 0;
    return r;
}

static str rewrite(const struct compiled *c, str value, void *scratch, struct arena *a)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 4 * METRIC_VALUE_MAX);
    regex_replace(c->regex, str_take(value, METRIC_VALUE_MAX), c->replacement, scratch, &out);
    str copy = buf_ok(&out) ? arena_dup(a, buf_str(&out)) : (str){ 0 };
    return copy.p ? copy : value;
}

void metric_rules_apply(const char *metric, const char *const *label, str *value, size_t n,
                        struct arena *a)
{
    void *scratch = NULL;
    for (size_t i = 0; i < rules.n; i++) {
        const struct compiled *c = &rules.rule[i];
        if (!names(c->metric, str_c(metric)))
            continue;
        scratch = scratch ? scratch : arena_alloc(a, rules.scratch);
        for (size_t k = 0; scratch && k < n; k++)
            if (value[k].n && str_eq(c->label, str_c(label[k])))
                value[k] = rewrite(c, value[k], scratch, a);
    }
}
