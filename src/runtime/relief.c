/* Whether an app that has too much to do gets more instances: how many its Scale allows is in the
 * resources, how many there are in the registry where callers find them. The door lets calls wait
 * for those that come (policy/relief.h). */
#include "base/clock.h"
#include "runtime/private.h"
#include "telemetry/metrics.h"

enum { COUNTED_MAX = 256, ARENA_MAX = 256 << 10 };
/* The registry is asked like by a caller: more often while calls wait. */
static const uint64_t LOOK = MS(250), KEEP = SEC(3), ASK = SEC(2);
/* From the decision to a registration, beside what the app itself takes. */
static const uint64_t STARTING = SEC(3), PATIENCE_MAX = SEC(30);

static struct metric_family room = {
    .name = "proa_scale_room",
    .help = "Instances that the app's Scale allows beyond those there are.",
    .kind = METRIC_GAUGE,
};

/* The app's instances, this one too; 0 = the registry doesn't say. */
CO static unsigned count(struct runtime *r)
{
    const struct instance *i = r->blocks.resolver;
    const struct resolver_ops *ops = runtime_resolver(r);
    struct error err = { 0 };
    size_t n = 0;
    AUTO(arena_done) struct arena a;
    arena_init(&a, ARENA_MAX);
    struct registration *found = arena_alloc(&a, COUNTED_MAX * sizeof *found);
    DEADLINE(ASK);
    int code = ops && found
                   ? ops->resolve(i->self, str_c(r->options->app_id), str_c(r->blocks.namespace_),
                                  &a, found, COUNTED_MAX, &n, &err)
                   : -UNAVAILABLE;
    return code < 0 ? 0 : (unsigned)n;
}

/* Many start at once when there is much to do, so that each takes longer than this one did. */
static uint64_t patience(const struct runtime *r, const struct scale_rule *rule)
{
    return min_u64(rule->panic_ns + 2 * r->app_start_ns + STARTING, PATIENCE_MAX);
}

static bool calls_wait(const struct runtime *r)
{
    struct admit_demand d;
    admit_demand(r->app->admit, &d);
    return d.waiting > 0;
}

/* What is known is told; unscaled is what an app is whose Scale has gone. */
static void tell(struct runtime *r, unsigned instances)
{
    const struct scale_spec *s = r->live->scale;
    struct relief_facts facts = { .instances = instances };
    if (s) {
        facts.max = s->rule.max;
        facts.patience_ns = patience(r, &s->rule);
    }
    admit_relief(r->app->admit, &facts);
    metric_set(metric_cell(&room, NULL), facts.max > instances ? facts.max - instances : 0);
}

CO void relief_main(void *runtime)
{
    struct runtime *r = runtime;
    unsigned instances = 1;
    uint64_t asked_ns = 0;
    r->reliever = fiber_self();
    while (!atomic_load(&r->leaving) && fiber_sleep(r->live->scale ? LOOK : KEEP) == 0) {
        uint64_t now = clock_now_ns();
        if (r->live->scale && (calls_wait(r) || now - asked_ns >= KEEP)) {
            unsigned found = count(r);
            instances = found ? found : instances; /* who doesn't know says nothing new */
            asked_ns = now;
        }
        tell(r, instances);
    }
    r->reliever = NULL;
    atomic_store(&r->relief_done, true);
}
