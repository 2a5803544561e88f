#include "block/app/rates.h"

#include "base/clock.h"
#include "base/log.h"
#include "component/state.h"
#include "telemetry/metrics.h"

static const uint64_t AWAY_NS = SEC(1);
static const char SCOPE[] = "proa.overload";

static struct metric_family fallback_total = {
    .name = "proa_overload_rate_fallbacks_total",
    .help = "Calls that were counted by a rate limit here, since its store didn't answer.",
    .label = { "rate" },
};

/* "proa-rate||<app>||<name>||<key>": beside the states of the app, and none of them. */
static str bucket_of(const struct blocks *b, const struct overload_rate *rate, str key,
                     struct arena *a)
{
    str part[] = { S("proa-rate||"), str_c(b->app_id), S("||"), rate->name, S("||"), key };
    return arena_join(a, part, COUNT(part));
}

CO static int take_shared(struct blocks *b, const struct overload_rate *rate, str key,
                          uint64_t *ret_wait_ns, struct error *err)
{
    struct instance *i = catalog_get(b, KIND_STATE, rate->store);
    const struct state_ops *ops = i ? CONTAINER_OF(i->type, struct state_ops, t) : NULL;
    if (!ops || !ops->take)
        return fail(err, NOT_FOUND, NULL,
                    "state store " STR_FMT " isn't loaded, or can't share rate limits: state.redis "
                    "can",
                    STR_ARG(rate->store));
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(16));
    str bucket = bucket_of(b, rate, key, &a);
    if (!bucket.p)
        return fail(err, EXHAUSTED, NULL, "the key of the rate limit is too long");
    DEADLINE(RATES_WAIT_NS);
    return ops->take(i->self, bucket, rate->per_s, rate->burst, ret_wait_ns, err);
}

CO bool rates_take(struct rates *r, struct overload *o, const struct overload_rate *rate, str key,
                   uint64_t *ret_wait_ns)
{
    uint64_t now = clock_now_ns();
    if (!rate->store.n || !r->blocks)
        return overload_take(o, rate, key, now, ret_wait_ns);
    if (now >= atomic_load_explicit(&r->away_until_ns, memory_order_relaxed)) {
        struct error err = { 0 };
        int code = take_shared(r->blocks, rate, key, ret_wait_ns, &err);
        if (code >= 0)
            return *ret_wait_ns == 0;
        if (code == -CANCELLED)
            return true; /* the caller has gone: it learns so at the door */
        log_debug(SCOPE, "rate limit " STR_FMT " is counted here: %s", STR_ARG(rate->name),
                  err.text);
        atomic_store(&r->away_until_ns, clock_now_ns() + AWAY_NS);
    }
    metric_add(metric_cell(&fallback_total, &rate->name), 1);
    return overload_take(o, rate, key, clock_now_ns(), ret_wait_ns);
}
