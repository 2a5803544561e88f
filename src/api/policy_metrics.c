#include "api/policy_metrics.h"

#include "block/app/app.h"
#include "component/resource.h"
#include "policy/resiliency.h"
#include "telemetry/metrics.h"

#define LABELS                                                                                     \
    {                                                                                              \
        "name", "policy", "namespace", "flow_direction", "target", "status"                        \
    }

static struct metric_family used_total = {
    .name = "dapr_resiliency_count",
    .help = "Calls that ran under a policy.",
    .label = LABELS,
};
static struct metric_family activated_total = {
    .name = "dapr_resiliency_activations_total",
    .help = "Calls in which a policy had to act.",
    .label = LABELS,
};
static struct metric_family breaker_gauge = {
    .name = "dapr_resiliency_cb_state",
    .help = "Circuit breakers: 1 on the line of the state that was seen last, else 0.",
    .kind = METRIC_GAUGE,
    .label = LABELS,
};
static struct metric_family loaded_total = {
    .name = "dapr_resiliency_loaded",
    .help = "Resiliency resources that were loaded.",
    .label = { "name", "namespace" },
};

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void put(struct metric_family *f, const str *label, uint64_t value)
{
    if (value)
        metric_set(metric_cell(f, label), (int64_t)value);
}

enum { POLICY_LABEL = 1, STATUS_LABEL = 5 };

static void put_breaker(const struct policy *p, str *label)
{
    enum breaker_state now =
        (enum breaker_state)atomic_load_explicit(&p->stats.breaker_state, memory_order_relaxed);
    label[POLICY_LABEL] = S("circuitbreaker");
    for (int s = 0; s < BREAKER_STATES; s++) {
        label[STATUS_LABEL] = str_c(breaker_state_name((enum breaker_state)s));
        put(&used_total, label, load(&p->stats.breaker_used[s]));
        put(&activated_total, label, load(&p->stats.breaker_activated[s]));
        if (load(&p->stats.used[POLICY_BREAKER]))
            metric_set(metric_cell(&breaker_gauge, label), s == (int)now);
    }
}

static void put_policy(const struct resiliency *r, const struct policy *p)
{
    static const struct {
        enum policy_part part;
        str name;
    } simple[] = { { POLICY_TIMEOUT, S("timeout") }, { POLICY_RETRY, S("retry") } };
    if (resiliency_builtin(p->target) != BUILTIN_NONE)
        return; /* of no resource: the contract doesn't show it */
    bool inbound = p->flow == POLICY_INBOUND;
    str label[] = {
        resiliency_name(r), S(""), resiliency_namespace(r), inbound ? S("inbound") : S("outbound"),
        p->target,          S(""),
    };
    for (size_t i = 0; i < COUNT(simple); i++) {
        label[POLICY_LABEL] = simple[i].name;
        put(&used_total, label, load(&p->stats.used[simple[i].part]));
        put(&activated_total, label, load(&p->stats.activated[simple[i].part]));
    }
    if (p->has_breaker)
        put_breaker(p, label);
}

void policy_metrics(const struct blocks *b)
{
    if (b->app)
        admit_metrics(b->app->admit);
    if (!b->resiliency)
        return;
    for (size_t i = 0; b->resources && i < b->resources->n_resiliencies; i++) {
        const struct resiliency_spec *s = b->resources->resiliency[i];
        str label[] = { s->name, s->namespace_ };
        metric_set(metric_cell(&loaded_total, label), 1);
    }
    for (struct policy *p = NULL; (p = policy_each(b->resiliency, p));)
        put_policy(b->resiliency, p);
}
