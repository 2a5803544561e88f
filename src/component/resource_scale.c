/* Scale: the resource's rows into the plain struct of policy/scale.h. */
#include "component/resource_priv.h"

#include "format/duration.h"
#include "format/number.h"

enum { INSTANCES_MAX = 10000 };

struct target { /* as it is written */
    str type, target;
    const struct yaml_node *at;
};

struct spec {
    int64_t min, max;
    struct target *metric;
    size_t n_metrics;
    uint64_t stable_ns, panic_ns, down_delay_ns, zero_grace_ns;
    const struct yaml_node *at;
};

#define AT(type, field) offsetof(struct type, field)
static const struct bind_row target_rows[] = {
    { NULL, BIND_SELF, AT(target, at) },
    { "type", BIND_STR, AT(target, type) },
    { "target", BIND_STR, AT(target, target) },
};
static const struct bind_table target_table = { "a metric", sizeof(struct target), target_rows,
                                                COUNT(target_rows) };
static const struct bind_row spec_rows[] = {
    { NULL, BIND_SELF, AT(spec, at) },
    { "min", BIND_INT, AT(spec, min) },
    { "max", BIND_INT, AT(spec, max) },
    { "metrics", BIND_LIST, AT(spec, metric), &target_table },
    { "stableWindow", BIND_DURATION, AT(spec, stable_ns) },
    { "panicWindow", BIND_DURATION, AT(spec, panic_ns) },
    { "scaleDownDelay", BIND_DURATION, AT(spec, down_delay_ns) },
    { "zeroGrace", BIND_DURATION, AT(spec, zero_grace_ns) },
};
static const struct bind_table spec_table = { "a Scale's spec", sizeof(struct spec), spec_rows,
                                              COUNT(spec_rows) };
#undef AT

static bool find_metric(str name, enum scale_metric *ret)
{
    for (size_t i = 0; i < SCALE_METRICS; i++) {
        if (!str_ieq(name, str_c(scale_metric_name((enum scale_metric)i))))
            continue;
        *ret = (enum scale_metric)i;
        return true;
    }
    return false;
}

static void to_row(struct bind *b, const struct target *t, struct scale_rule *rule)
{
    struct scale_row row;
    int64_t ns;
    if (!find_metric(t->type, &row.metric)) {
        bind_fail(
            b, t->at,
            "type \"%.*s\" is none of concurrency, requestRate, latency, queueDepth, queueAge",
            (int)min_size(t->type.n, 40), t->type.p);
        return;
    }
    const char *name = scale_metric_name(row.metric);
    bool is_time = row.metric == SCALE_LATENCY || row.metric == SCALE_QUEUE_AGE;
    bool good = is_time ? duration_parse(t->target, &ns) : number_double(t->target, &row.target);
    if (is_time && good)
        row.target = (double)ns / 1e9;
    if (!good || !(row.target > 0) || row.target > 1e12) {
        bind_fail(b, t->at, "%s: target \"%.*s\" is not %s", name, (int)min_size(t->target.n, 40),
                  t->target.p,
                  is_time ? "a duration over 0, such as 250ms"
                          : "a number over 0: for one instance");
        return;
    }
    for (size_t i = 0; i < rule->n_rows; i++)
        if (rule->row[i].metric == row.metric) {
            bind_fail(b, t->at, "%s is there twice", name);
            return;
        }
    rule->row[rule->n_rows++] = row;
}

static void check(struct bind *b, const struct spec *s)
{
    if (s->min < 0 || s->max < 1 || s->min > s->max || s->max > INSTANCES_MAX)
        bind_fail(b, s->at, "min is %lld and max %lld: 0 <= min <= max, and max is 1 ... %d",
                  (long long)s->min, (long long)s->max, INSTANCES_MAX);
    if (!s->panic_ns || s->panic_ns > s->stable_ns)
        bind_fail(b, s->at, "panicWindow must be over 0 and at most stableWindow");
    if (s->stable_ns > s->panic_ns * SCALE_WINDOWS ||
        s->down_delay_ns > s->panic_ns * SCALE_WINDOWS)
        bind_fail(b, s->at,
                  "stableWindow and scaleDownDelay can be at most %d times the panicWindow",
                  SCALE_WINDOWS);
}

void load_scale(struct loader *l, struct document *d)
{
    if (!resource_in_scope(&d->head, l->opt->app_id))
        return;
    struct bind *b = &d->bind;
    struct scale_spec *s = arena_zalloc(&l->r->arena, sizeof *s);
    if (!s) {
        l->exhausted = true;
        return;
    }
    struct scale_rule rule;
    scale_rule_defaults(&rule);
    struct spec in = { .min = rule.min,
                       .max = rule.max,
                       .stable_ns = rule.stable_ns,
                       .panic_ns = rule.panic_ns,
                       .down_delay_ns = rule.down_delay_ns,
                       .zero_grace_ns = rule.zero_grace_ns,
                       .at = d->node };
    bind_map(b, &spec_table, d->spec, &in);
    check(b, &in);
    rule.n_rows = in.n_metrics ? 0 : rule.n_rows;
    for (size_t i = 0; i < in.n_metrics; i++)
        to_row(b, &in.metric[i], &rule);
    if (l->r->scale)
        bind_fail(b, d->node,
                  "another Scale, \"%.*s\", is there for this app: scopes tell them apart",
                  (int)l->r->scale->name.n, l->r->scale->name.p);
    if (b->failed)
        return;
    rule.min = (unsigned)in.min;
    rule.max = (unsigned)in.max;
    rule.stable_ns = in.stable_ns;
    rule.panic_ns = in.panic_ns;
    rule.down_delay_ns = in.down_delay_ns;
    rule.zero_grace_ns = in.zero_grace_ns;
    *s = (struct scale_spec){ d->head.name, rule };
    l->r->scale = s;
}
