#include "policy/traffic.h"

#include "policy/balance.h"
#include "policy/budget.h"

const struct traffic_rule *traffic_defaults(void)
{
    static const struct traffic_rule rule = {
        .bounded_percent = 125,
        .hedge = { .percent = 5 },
        .outlier = OUTLIER_DEFAULTS,
        .retry_percent = BUDGET_PERCENT,
        .retry = true,
    };
    return &rule;
}

static bool names(const struct traffic_spec *s, str app)
{
    for (size_t i = 0; i < s->n_apps; i++)
        if (str_eq(s->app[i], app))
            return true;
    return false;
}

static const struct traffic_spec *find_spec(const struct traffic_spec *const *spec, size_t n,
                                            str app)
{
    for (size_t i = n; i-- > 0;)
        if (names(spec[i], app))
            return spec[i];
    for (size_t i = n; i-- > 0;)
        if (!spec[i]->n_apps)
            return spec[i];
    return NULL;
}

static bool fits(const struct traffic_route *r, str method, str path)
{
    if (r->method.n && !str_eq(r->method, method))
        return false;
    if (str_ends(r->path, S("*")))
        return str_starts(path, str_take(r->path, r->path.n - 1));
    return !r->path.n || str_eq(r->path, path);
}

const struct traffic_rule *traffic_find(const struct traffic_spec *const *spec, size_t n, str app,
                                        str method, str path)
{
    const struct traffic_spec *s = find_spec(spec, n, app);
    if (!s)
        return traffic_defaults();
    for (size_t i = 0; i < s->n_routes; i++)
        if (fits(&s->route[i], method, path))
            return &s->route[i].rule;
    return &s->rule;
}

str traffic_split(const struct traffic_rule *r, str app, uint64_t random)
{
    uint32_t weight[TRAFFIC_SPLITS];
    if (!r->n_parts)
        return app;
    for (size_t i = 0; i < r->n_parts; i++)
        weight[i] = (uint32_t)r->part[i].weight;
    return r->part[balance_weighted(weight, r->n_parts, random)].app;
}
