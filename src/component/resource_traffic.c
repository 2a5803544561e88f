/* Traffic: the resource's rows into the plain structs of policy/traffic.h. What a route doesn't say
 * is as the spec around it has it; what that doesn't say is traffic_defaults(). */
#include "component/resource_priv.h"
#include "policy/zone.h"

#define AT(type, field) offsetof(struct type, field)

enum { ROUTES_MAX = 1000, PERCENT = 100, TIMES_MAX = 1000 };

/* ---- rows ---- */

struct rule { /* as it is written */
    str balance;
    struct traffic_key hash;
    int64_t bounded;
    struct traffic_sticky sticky;
    struct traffic_part *part;
    size_t n_parts;
    struct traffic_mirror mirror;
    bool hedge, elsewhere;
    int64_t hedge_budget, retry_budget, failures, slow_factor, panic;
    uint64_t hedge_after_ns, ejection_ns, max_ejection_ns, slow_start_ns;
    struct strs zones, regions;
    uint64_t ramp_ns;
    /* of a route */
    str path, method;
    /* of a spec */
    str *app;
    size_t n_apps;
    const struct yaml_node *routes, *at;
};

static const struct bind_row hash_rows[] = {
    { "header", BIND_STR, AT(rule, hash.header) },
    { "cookie", BIND_STR, AT(rule, hash.cookie) },
    { "query", BIND_STR, AT(rule, hash.query) },
    { "boundedLoad", BIND_INT, AT(rule, bounded) },
};
static const struct bind_table hash_table = { "hash", 0, hash_rows, COUNT(hash_rows) };
static const struct bind_row sticky_rows[] = {
    { "cookie", BIND_STR, AT(rule, sticky.cookie) },
    { "header", BIND_STR, AT(rule, sticky.header) },
    { "ttl", BIND_DURATION, AT(rule, sticky.ttl_ns) },
};
static const struct bind_table sticky_table = { "sticky", 0, sticky_rows, COUNT(sticky_rows) };
static const struct bind_row part_rows[] = {
    { "app", BIND_STR, AT(traffic_part, app) },
    { "weight", BIND_INT, AT(traffic_part, weight) },
};
static const struct bind_table part_table = { "a part of split", sizeof(struct traffic_part),
                                              part_rows, COUNT(part_rows) };
static const struct bind_row mirror_rows[] = {
    { "app", BIND_STR, AT(rule, mirror.app) },
    { "percent", BIND_INT, AT(rule, mirror.percent) },
    { "maxConcurrent", BIND_INT, AT(rule, mirror.max_concurrent) },
};
static const struct bind_table mirror_table = { "mirror", 0, mirror_rows, COUNT(mirror_rows) };
static const struct bind_row hedge_rows[] = {
    { "enabled", BIND_BOOL, AT(rule, hedge) },
    { "budget", BIND_INT, AT(rule, hedge_budget) },
    { "after", BIND_DURATION, AT(rule, hedge_after_ns) },
};
static const struct bind_table hedge_table = { "hedge", 0, hedge_rows, COUNT(hedge_rows) };
static const struct bind_row outlier_rows[] = {
    { "failures", BIND_INT, AT(rule, failures) },
    { "slowFactor", BIND_INT, AT(rule, slow_factor) },
    { "ejection", BIND_DURATION, AT(rule, ejection_ns) },
    { "maxEjection", BIND_DURATION, AT(rule, max_ejection_ns) },
    { "panic", BIND_INT, AT(rule, panic) },
};
static const struct bind_table outlier_table = { "outliers", 0, outlier_rows, COUNT(outlier_rows) };
static const struct bind_row retry_rows[] = {
    { "budget", BIND_INT, AT(rule, retry_budget) },
    { "elsewhere", BIND_BOOL, AT(rule, elsewhere) },
};
static const struct bind_table retry_table = { "retries", 0, retry_rows, COUNT(retry_rows) };

#define RULE_ROWS                                                                                  \
    { NULL, BIND_SELF, AT(rule, at) }, { "balance", BIND_STR, AT(rule, balance) },                 \
        { "hash", BIND_STRUCT, 0, &hash_table }, { "sticky", BIND_STRUCT, 0, &sticky_table },      \
        { "split", BIND_LIST, AT(rule, part), &part_table },                                       \
        { "mirror", BIND_STRUCT, 0, &mirror_table }, { "hedge", BIND_STRUCT, 0, &hedge_table },    \
        { "outliers", BIND_STRUCT, 0, &outlier_table },                                            \
        { "slowStart", BIND_DURATION, AT(rule, slow_start_ns) },                                   \
    {                                                                                              \
        "retries", BIND_STRUCT, 0, &retry_table                                                    \
    }

static const struct bind_row route_rows[] = {
    RULE_ROWS,
    { "path", BIND_STR, AT(rule, path) },
    { "method", BIND_STR, AT(rule, method) },
};
static const struct bind_table route_table = { "a route", sizeof(struct rule), route_rows,
                                               COUNT(route_rows) };
static const struct bind_row zones_rows[] = {
    { "order", BIND_STRS, AT(rule, zones) },
    { "regions", BIND_STRS, AT(rule, regions) },
    { "rampUp", BIND_DURATION, AT(rule, ramp_ns) },
};
static const struct bind_table zones_table = { "zones", 0, zones_rows, COUNT(zones_rows) };
static const struct bind_row spec_rows[] = {
    RULE_ROWS,
    { "zones", BIND_STRUCT, 0, &zones_table },
    { "apps", BIND_STRS, AT(rule, app) },
    { "routes", BIND_NODE, AT(rule, routes) },
};
static const struct bind_table spec_table = { "a Traffic's spec", sizeof(struct rule), spec_rows,
                                              COUNT(spec_rows) };

static struct rule rule_defaults(void)
{
    const struct traffic_rule *d = traffic_defaults();
    return (struct rule){
        .bounded = d->bounded_percent,
        .mirror = { .percent = PERCENT, .max_concurrent = 16 },
        .hedge_budget = d->hedge.percent,
        .elsewhere = d->retry,
        .retry_budget = d->retry_percent,
        .failures = d->outlier.failures,
        .slow_factor = d->outlier.slow_factor,
        .panic = d->outlier.panic_percent,
        .ejection_ns = d->outlier.eject_ns,
        .max_ejection_ns = d->outlier.eject_max_ns,
        .slow_start_ns = d->outlier.slow_start_ns,
    };
}

/* ---- checks ---- */

static void check_int(struct bind *b, const struct rule *r, const char *name, int64_t v,
                      int64_t min, int64_t max)
{
    if (v < min || v > max)
        bind_fail(b, r->at, "%s is %lld: it must be %lld … %lld", name, (long long)v,
                  (long long)min, (long long)max);
}

static enum traffic_balance to_balance(struct bind *b, const struct rule *r)
{
    static const str name[] = { S("leastLoaded"), S("roundRobin"), S("random") };
    for (size_t i = 0; i < COUNT(name); i++)
        if (str_ieq(r->balance, name[i]))
            return (enum traffic_balance)i;
    if (r->balance.n)
        bind_fail(b, bind_get(r->at, S("balance")),
                  "balance \"%.*s\" is none of leastLoaded, roundRobin, random",
                  (int)min_size(r->balance.n, 40), r->balance.p);
    return TRAFFIC_LEAST_LOADED;
}

static void check_split(struct bind *b, const struct rule *r)
{
    int64_t sum = 0;
    const struct yaml_node *at = bind_get(r->at, S("split"));
    if (r->n_parts > TRAFFIC_SPLITS)
        bind_fail(b, at, "split has %zu parts: at most %d", r->n_parts, TRAFFIC_SPLITS);
    for (size_t i = 0; i < r->n_parts; i++) {
        if (!r->part[i].app.n)
            bind_fail(b, at, "a part of split has no app");
        check_int(b, r, "a weight of split", r->part[i].weight, 0, 1000000);
        sum += r->part[i].weight;
    }
    if (r->n_parts && sum <= 0)
        bind_fail(b, at, "split: at least one part must have a weight");
}

static void check(struct bind *b, const struct rule *r)
{
    check_int(b, r, "outliers.failures (0 = none is ejected)", r->failures, 0, TIMES_MAX);
    check_int(b, r, "outliers.slowFactor (0 = latency doesn't count)", r->slow_factor, 0,
              TIMES_MAX);
    check_int(b, r, "outliers.panic, percent", r->panic, 0, PERCENT);
    check_int(b, r, "retries.budget, percent", r->retry_budget, 0, PERCENT);
    check_int(b, r, "hedge.budget, percent", r->hedge_budget, 0, 10);
    check_int(b, r, "mirror.percent", r->mirror.percent, 0, PERCENT);
    check_int(b, r, "mirror.maxConcurrent", r->mirror.max_concurrent, 1, TIMES_MAX);
    check_split(b, r);
    if (r->bounded && r->bounded <= PERCENT)
        bind_fail(b, r->at,
                  "hash.boundedLoad is %lld: percent of the mean load, over 100 "
                  "(0 = not bounded)",
                  (long long)r->bounded);
    if (r->sticky.cookie.n && r->sticky.header.n)
        bind_fail(b, r->at, "sticky has a cookie and a header: give one of them");
    if (r->zones.n > ZONE_ORDER_MAX || r->regions.n > ZONE_ORDER_MAX)
        bind_fail(b, bind_get(r->at, S("zones")), "zones: order and regions have at most %d names",
                  ZONE_ORDER_MAX);
    if (!r->ejection_ns || r->ejection_ns > r->max_ejection_ns)
        bind_fail(b, r->at, "outliers.ejection must be over 0 and at most maxEjection");
}

static struct traffic_rule to_rule(struct bind *b, const struct rule *r)
{
    check(b, r);
    return (struct traffic_rule){
        .balance = to_balance(b, r),
        .hash = r->hash,
        .bounded_percent = r->bounded,
        .sticky = r->sticky,
        .part = r->part,
        .n_parts = r->n_parts,
        .mirror = r->mirror,
        .hedge = { r->hedge, (uint32_t)r->hedge_budget, r->hedge_after_ns },
        .outlier = { .failures = (uint32_t)r->failures,
                     .slow_factor = (uint32_t)r->slow_factor,
                     .eject_ns = r->ejection_ns,
                     .eject_max_ns = r->max_ejection_ns,
                     .slow_start_ns = r->slow_start_ns,
                     .panic_percent = (uint32_t)r->panic },
        .retry_percent = (uint32_t)r->retry_budget,
        .retry = r->elsewhere,
        .zone = r->zones.v,
        .n_zones = r->zones.n,
        .region = r->regions.v,
        .n_regions = r->regions.n,
        .zone_ramp_ns = r->ramp_ns,
    };
}

/* ---- routes ---- */

static void bind_route(struct bind *b, const struct rule *around, const struct yaml_node *n,
                       struct traffic_route *ret)
{
    struct rule r = *around;
    bind_map(b, &route_table, n, &r);
    if (!r.path.n && !r.method.n)
        bind_fail(b, n, "a route needs a path (such as /orders or /orders/*) or a method");
    if (r.path.n && r.path.p[0] != '/')
        bind_fail(b, n, "path \"%.*s\" must begin with a slash", (int)min_size(r.path.n, 60),
                  r.path.p);
    *ret = (struct traffic_route){ r.path, r.method, to_rule(b, &r) };
}

static void bind_routes(struct bind *b, const struct rule *around, struct traffic_spec *ret)
{
    const struct yaml_node *n = around->routes;
    if (yaml_is_null(n))
        return;
    if (n->type != YAML_SEQ || n->n > ROUTES_MAX) {
        bind_fail(b, n, "routes must be a list of at most %d", ROUTES_MAX);
        return;
    }
    struct traffic_route *route = arena_zalloc(b->arena, (n->n + 1) * sizeof *route);
    if (!route) {
        bind_no_memory(b, n);
        return;
    }
    for (size_t i = 0; i < n->n; i++)
        bind_route(b, around, n->item[i], &route[i]);
    ret->route = route;
    ret->n_routes = n->n;
}

void load_traffic(struct loader *l, struct document *d)
{
    if (!resource_in_scope(&d->head, l->opt->app_id))
        return;
    struct traffic_spec *s = arena_zalloc(&l->r->arena, sizeof *s);
    if (!s) {
        l->exhausted = true;
        return;
    }
    struct rule r = rule_defaults();
    r.at = d->node;
    bind_map(&d->bind, &spec_table, d->spec, &r);
    s->name = d->head.name;
    s->app = r.app;
    s->n_apps = r.n_apps;
    s->rule = to_rule(&d->bind, &r);
    bind_routes(&d->bind, &r, s);
    struct traffic_spec **slot = d->bind.failed ? NULL : vec_push(l, &l->traffic, sizeof *slot);
    if (slot)
        *slot = s;
}
