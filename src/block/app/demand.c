#include "block/app/demand.h"

#include "block/app/app.h"
#include "block/core/catalog.h"
#include "component/pubsub.h"
#include "telemetry/metrics.h"

static struct metric_family at_once = {
    .name = "proa_scale_concurrency",
    .help = "Calls and events in the app or waiting for it.",
    .kind = METRIC_GAUGE,
};
static struct metric_family asked = {
    .name = "proa_scale_requests_total",
    .help = "Calls and events for the app, those that were turned away too.",
};
static struct metric_family done = {
    .name = "proa_scale_done_total",
    .help = "Calls and events that were let in to the app.",
};
static struct metric_family unmet = {
    .name = "proa_scale_waiting",
    .help = "Calls and events that wait in front of the app.",
    .kind = METRIC_GAUGE,
};
static struct metric_family depth = {
    .name = "proa_scale_queue_depth",
    .help = "Events that wait in the app's subscriptions.",
    .kind = METRIC_GAUGE,
    .label = { "component", "topic" },
};
static struct metric_family oldest = {
    .name = "proa_scale_queue_age_milliseconds",
    .help = "Age of the oldest of them.",
    .kind = METRIC_GAUGE,
    .label = { "component", "topic" },
};

static void put_app(struct app *a)
{
    struct admit_demand d;
    admit_demand(a->admit, &d);
    uint64_t waiting = d.waiting + atomic_load(&a->sleep.waiting);
    metric_set(metric_cell(&at_once, NULL), (int64_t)(d.inside + waiting));
    metric_set(metric_cell(&unmet, NULL), (int64_t)waiting);
    metric_set(metric_cell(&asked, NULL), (int64_t)(d.admitted + d.shed));
    metric_set(metric_cell(&done, NULL), (int64_t)d.admitted);
}

CO static void put_queues(const struct blocks *b, const struct instance *i)
{
    const struct pubsub_ops *o = CONTAINER_OF(i->type, struct pubsub_ops, t);
    struct pubsub_stats *s = NULL;
    size_t n = 0;
    AUTO(arena_done) struct arena a;
    arena_init(&a, MIB(4));
    if (!o->stats || o->stats(i->self, &a, &s, &n) < 0)
        return;
    for (size_t k = 0; k < n; k++) {
        if (!str_eq(s[k].consumer, str_c(b->app_id)))
            continue;
        str label[] = { str_c(i->name), s[k].topic };
        metric_set(metric_cell(&depth, label), (int64_t)s[k].depth);
        metric_set(metric_cell(&oldest, label), (int64_t)(s[k].oldest_ns / MS(1)));
    }
}

CO void demand_metrics(struct blocks *b)
{
    if (!b->app)
        return;
    put_app(b->app);
    AUTO(catalog_unpinp) struct catalog *c = catalog_pin(b);
    struct instance *i;
    for (size_t at = 0; (i = catalog_next(c, KIND_PUBSUB, &at));)
        put_queues(b, i);
}
