/* What the instances table shows: the page's feed, and metrics. */
#include "block/call/instances.h"
#include "telemetry/metrics.h"

#include <stdio.h>

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

static str state_of(const struct peer *p, uint64_t now_ns)
{
    enum outlier_state state = outlier_state(&traffic_defaults()->outlier, &p->health, now_ns);
    switch (state) {
    case OUTLIER_EJECTED:
    case OUTLIER_PROBE_DUE:
        return S("ejected");
    case OUTLIER_SLOW_START:
    case OUTLIER_IN:
        break;
    }
    return peer_is_draining(p, now_ns)   ? S("draining")
           : state == OUTLIER_SLOW_START ? S("slow-start")
                                         : S("ok");
}

/* ---- the feed ---- */

static void put_u64(struct json_w *w, str key, uint64_t v)
{
    json_w_key(w, key);
    json_w_u64(w, v);
}

static void write_peer(struct json_w *w, const struct peer *p, uint64_t now_ns)
{
    json_w_object(w);
    json_w_kv(w, S("app"), p->up->app_id);
    json_w_kv(w, S("address"), str_c(p->address));
    json_w_kv(w, S("zone"), str_c(p->zone));
    json_w_kv(w, S("state"), state_of(p, now_ns));
    put_u64(w, S("inflight"), GET(p->in_flight));
    json_w_key(w, S("latency_ms"));
    json_w_double(w, (double)(GET(p->latency_ns) / 1000) / 1000);
    put_u64(w, S("load"), GET(p->load));
    put_u64(w, S("calls"), GET(p->calls));
    put_u64(w, S("failed"), GET(p->failed));
    put_u64(w, S("ejections"), GET(p->ejections));
    json_w_object_end(w);
}

static void each(struct instances *t, struct json_w *w, uint64_t now_ns,
                 void (*fn)(struct json_w *w, const struct peer *p, uint64_t now_ns))
{
    struct map_entry *e;
    pthread_mutex_lock(&t->lock);
    for (size_t at = 0; (e = map_next(&t->by_key, &at));) {
        const struct upstream *u = e->value;
        for (size_t i = 0; i < u->n_peers; i++)
            fn(w, u->peer[i], now_ns);
    }
    pthread_mutex_unlock(&t->lock);
}

void instances_write(struct instances *t, struct json_w *w, uint64_t now_ns)
{
    json_w_key(w, S("instances"));
    json_w_array(w);
    each(t, w, now_ns, write_peer);
    json_w_array_end(w);
}

static void write_breaker(struct json_w *w, const struct peer *p, uint64_t now_ns)
{
    enum outlier_state state = outlier_state(&traffic_defaults()->outlier, &p->health, now_ns);
    if (state != OUTLIER_EJECTED && state != OUTLIER_PROBE_DUE)
        return;
    char target[128];
    snprintf(target, sizeof target, "%.*s@%s", (int)min_size(p->up->app_id.n, 60), p->up->app_id.p,
             p->address);
    json_w_object(w);
    json_w_kv(w, S("target"), str_c(target));
    json_w_kv(w, S("state"), state == OUTLIER_EJECTED ? S("open") : S("half-open"));
    json_w_object_end(w);
}

void instances_write_breakers(struct instances *t, struct json_w *w, uint64_t now_ns)
{
    each(t, w, now_ns, write_breaker);
}

/* ---- metrics ---- */

#define OF_INSTANCE                                                                                \
    {                                                                                              \
        "dst_app_id", "address"                                                                    \
    }

enum { CALLS, FAILED, EJECTIONS, IN_FLIGHT, EJECTED, OF_PEERS };
static struct metric_family of_peer[OF_PEERS] = {
    [CALLS] = { .name = "proa_traffic_instance_calls_total",
                .help = "Calls to each instance of another app.",
                .label = OF_INSTANCE },
    [FAILED] = { .name = "proa_traffic_instance_failures_total",
                 .help = "Of these, those that failed: by status 5xx, or without an answer.",
                 .label = OF_INSTANCE },
    [EJECTIONS] = { .name = "proa_traffic_instance_ejections_total",
                    .help = "How often the instance was ejected as an outlier.",
                    .label = OF_INSTANCE },
    [IN_FLIGHT] = { .name = "proa_traffic_instance_in_flight",
                    .help = "Calls that are under way at the instance.",
                    .kind = METRIC_GAUGE,
                    .label = OF_INSTANCE },
    [EJECTED] = { .name = "proa_traffic_instance_ejected",
                  .help = "1 while the instance is ejected.",
                  .kind = METRIC_GAUGE,
                  .label = OF_INSTANCE },
};

static struct metric_family retries = {
    .name = "proa_traffic_retries_total",
    .help = "Calls that were sent to another instance at once: nothing had been sent (unsent), the "
            "connection broke (broken), it was shed (shed); or weren't, for want of budget "
            "(refused).",
    .label = { "dst_app_id", "reason" },
};
static struct metric_family copies = {
    .name = "proa_traffic_copies_total",
    .help = "Copies of calls: hedges, those that won, mirrors, and mirrors over the limit.",
    .label = { "dst_app_id", "kind" },
};
static struct metric_family panic = {
    .name = "proa_traffic_panic",
    .help = "1 while so few instances are available that ejection is ignored.",
    .kind = METRIC_GAUGE,
    .label = { "dst_app_id" },
};

static void show_peer(const struct peer *p)
{
    const int64_t value[OF_PEERS] = {
        [CALLS] = (int64_t)GET(p->calls),         [FAILED] = (int64_t)GET(p->failed),
        [EJECTIONS] = (int64_t)GET(p->ejections), [IN_FLIGHT] = (int64_t)GET(p->in_flight),
        [EJECTED] = GET(p->health.until_ns) != 0,
    };
    str label[] = { p->up->app_id, str_c(p->address) };
    for (size_t i = 0; i < OF_PEERS; i++)
        metric_set(metric_cell(&of_peer[i], label), value[i]);
}

static void show_upstream(const struct upstream *u)
{
    static const struct {
        struct metric_family *family;
        str value;
    } row[TRAFFIC_STATS] = {
        [STAT_RETRY_UNSENT] = { &retries, S("unsent") },
        [STAT_RETRY_BROKEN] = { &retries, S("broken") },
        [STAT_RETRY_SHED] = { &retries, S("shed") },
        [STAT_RETRY_REFUSED] = { &retries, S("refused") },
        [STAT_RETRY_MARKED] = { &retries, S("marked") },
        [STAT_HEDGE] = { &copies, S("hedge") },
        [STAT_HEDGE_WON] = { &copies, S("hedge-won") },
        [STAT_MIRROR] = { &copies, S("mirror") },
        [STAT_MIRROR_DROPPED] = { &copies, S("mirror-dropped") },
    };
    for (size_t i = 0; i < TRAFFIC_STATS; i++) {
        str label[] = { u->app_id, row[i].value };
        if (GET(u->stat[i]))
            metric_set(metric_cell(row[i].family, label), (int64_t)GET(u->stat[i]));
    }
    metric_set(metric_cell(&panic, &u->app_id), GET(u->panic));
}

void instances_metrics(struct instances *t)
{
    struct map_entry *e;
    pthread_mutex_lock(&t->lock);
    for (size_t at = 0; (e = map_next(&t->by_key, &at));) {
        const struct upstream *u = e->value;
        show_upstream(u);
        for (size_t i = 0; i < u->n_peers; i++)
            show_peer(u->peer[i]);
    }
    pthread_mutex_unlock(&t->lock);
}
