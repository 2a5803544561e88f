#include "base/clock.h"
#include "base/log.h"
#include "block/app/channel.h"
#include "block/binding.h"
#include "runtime/private.h"

static const uint64_t RETRY_FIRST = MS(500), RETRY_MAX = SEC(60), JOIN = SEC(5);
static const uint64_t LISTEN_LOOK_FIRST = MS(10), LISTEN_LOOK_MAX = MS(100);

/* ---- deliveries run while the app is healthy ---- */

static bool asks(const struct options *o, const char *endpoint)
{
    for (size_t i = 0; i < o->disable_init_endpoints.n; i++)
        if (str_ieq(str_c(o->disable_init_endpoints.v[i]), str_c(endpoint)))
            return false;
    return true;
}

CO static void ask_config(struct runtime *r)
{
    if (!r->app->channel->config)
        return;
    if (!asks(r->options, "config")) {
        log_info(RUNTIME_SCOPE, "Skipping programmatic dapr configuration loading");
        return;
    }
    struct error err = { 0 };
    DEADLINE(SEC(5));
    if (r->app->channel->config(r->app, &err) < 0)
        log_warn(RUNTIME_SCOPE, "failed to load application configuration: %s", err.text);
}

CO static void discover(struct runtime *r)
{
    ask_config(r);
    struct error err = { 0 };
    r->blocks.ask_app = asks(r->options, "subscribe");
    if (!r->blocks.ask_app)
        log_info(RUNTIME_SCOPE, "Skipping programmatic subscription loading");
    if (subscriptions_discover(&r->blocks, &r->subscriptions, &err) < 0)
        log_error(RUNTIME_SCOPE, "%s", err.text);
    if (r->live != r->resources) /* the files have changed since the start */
        subscriptions_update(&r->blocks, &r->subscriptions, r->live);
    atomic_store(&r->discovered, true);
}

/* A broker that isn't there yet: again and again, with growing pauses. */
CO static void retry_missing(void *runtime)
{
    struct runtime *r = runtime;
    uint64_t pause = RETRY_FIRST;
    while (r->missing && fiber_sleep(pause) == 0 && fiber_mutex_lock(&r->deliveries) == 0) {
        life_refresh_deliveries(r);
        fiber_mutex_unlock(&r->deliveries);
        pause = min_u64(pause * 2, RETRY_MAX);
    }
    r->retrier = NULL;
}

CO void life_refresh_deliveries(struct runtime *r)
{
    if (!r->deliveries_running)
        return;
    r->missing = subscriptions_start(&r->blocks, &r->subscriptions);
    bindings_start(&r->blocks, (uint64_t)r->options->binding_options_timeout);
    if (r->missing && !r->retrier)
        r->retrier = fiber_spawn("retry", retry_missing, r);
}

CO static void stop_deliveries(struct runtime *r)
{
    if (!r->deliveries_running)
        return;
    r->deliveries_running = false;
    if (r->retrier)
        fiber_cancel(r->retrier); /* it sleeps, or waits for the lock that we hold */
    while (r->retrier)
        fiber_yield();
    bindings_stop(&r->blocks);
    subscriptions_stop(&r->subscriptions);
}

CO static void start_deliveries(struct runtime *r)
{
    if (fiber_mutex_lock(&r->deliveries) < 0)
        return;
    if (!atomic_exchange(&r->app_was_ready, true))
        discover(r);
    if (!r->deliveries_over) {
        atomic_store(&r->blocks.draining, false);
        r->deliveries_running = true;
        life_refresh_deliveries(r);
    }
    if (r->deliveries_over) /* since we began */
        stop_deliveries(r);
    fiber_mutex_unlock(&r->deliveries);
}

CO void life_stop_deliveries(struct runtime *r)
{
    SHIELD();
    if (r->deliveries_running)
        atomic_store(&r->blocks.draining, true); /* who waits for a retry lets the lock go */
    (void)fiber_mutex_lock(&r->deliveries);
    stop_deliveries(r);
    fiber_mutex_unlock(&r->deliveries);
}

/* ---- waiting for the app ---- */

CO static int wait_for_app(struct runtime *r)
{
    log_info(RUNTIME_SCOPE, "waiting for application to listen on port %u",
             (unsigned)r->options->app_port);
    if (!app_listening(r->app)) {
        log_info(RUNTIME_SCOPE,
                 "application protocol: %s. waiting on port %u.  This will block until the app is "
                 "listening "
                 "on that port.",
                 r->options->app_protocol, (unsigned)r->options->app_port);
        uint64_t pause = LISTEN_LOOK_FIRST;
        do {
            int code = fiber_sleep(pause);
            if (code < 0)
                return code;
            pause = min_u64(pause + pause / 4, LISTEN_LOOK_MAX);
        } while (!app_listening(r->app));
    }
    log_info(RUNTIME_SCOPE, "application discovered on port %u", (unsigned)r->options->app_port);
    return 0;
}

/* Callers find us from now on: what they ask for can be done. */
CO static void join(struct runtime *r)
{
    const struct instance *i = r->blocks.resolver;
    const struct resolver_ops *ops = runtime_resolver(r);
    struct error err = { 0 };
    DEADLINE(JOIN);
    if (ops && ops->join && ops->join(i->self, &err) < 0 && !fiber_cancelled())
        log_error(RUNTIME_SCOPE, "other sidecars may not find this one: %s", err.text);
}

static void now_ready(struct runtime *r)
{
    atomic_store(&r->ready, true);
    log_info(RUNTIME_SCOPE, "dapr initialized. Status: Running. Init Elapsed %llums",
             (unsigned long long)((clock_now_ns() - r->start_ns) / MS(1)));
}

/* ---- health ---- */

CO static bool probe(struct runtime *r, struct error *err)
{
    DEADLINE(MS((uint64_t)r->options->health_timeout_ms));
    return r->app->channel->probe(r->app, str_c(r->options->health_path), err) >= 0;
}

/* Failures add up; a success below the threshold doesn't take them back (surprise 55). */
CO static void follow_health(struct runtime *r)
{
    int64_t failures = r->options->health_threshold;
    bool joined = false;
    atomic_store(&r->app->healthy, false);
    for (;;) {
        struct error err = { 0 };
        if (sleep_is_asleep(&r->app->sleep)) { /* whoever waits for it wakes it */
            if (fiber_sleep(SEC((uint64_t)r->options->health_interval_s)) < 0)
                return;
            continue;
        }
        bool ok = probe(r, &err), healthy = atomic_load(&r->app->healthy);
        if (fiber_cancelled())
            return;
        if (ok && !healthy) {
            failures = 0;
            atomic_store(&r->app->healthy, true);
            log_info(RUNTIME_SCOPE, "App entered healthy status");
            feed_event("info", "app is healthy");
            if (!joined)
                join(r);
            joined = true;
            start_deliveries(r);
        } else if (!ok && ++failures == r->options->health_threshold) {
            atomic_store(&r->app->healthy, false);
            log_warn(RUNTIME_SCOPE, "App entered un-healthy status: %s", err.text);
            feed_event("warn", "app is unhealthy: %s", err.text);
            life_stop_deliveries(r);
        }
        if (fiber_sleep(SEC((uint64_t)r->options->health_interval_s)) < 0)
            return;
    }
}

CO static void live(struct runtime *r)
{
    if (!r->app) {
        join(r);
        now_ready(r);
        return;
    }
    if (!r->inside.handle && wait_for_app(r) < 0)
        return;
    r->app_start_ns = clock_now_ns() - r->start_ns;
    sleep_started(&r->app->sleep);
    if (r->options->health_check && !r->inside.handle) {
        now_ready(r);
        follow_health(r);
        return;
    }
    join(r);
    start_deliveries(r);
    now_ready(r);
}

CO void life_main(void *runtime)
{
    struct runtime *r = runtime;
    struct error err = { 0 };
    r->life = fiber_self();
    if (outboxes_start(&r->blocks, &r->outboxes, &err) < 0) /* with an app or without */
        log_error(RUNTIME_SCOPE, "no outbox is read: %s", err.text);
    if (!atomic_load(&r->stopping))
        live(r);
    r->life = NULL;
    atomic_store(&r->life_done, true);
}
