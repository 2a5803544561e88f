/* Instances come and go by what the sidecars tell (policy/scale.h), and by nothing else while the
 * app is being restarted. The rules are those of kind Scale, read again when a file changes. */
#include "cli/run_private.h"

#include "base/clock.h"
#include "component/resource.h"
#include "loop/watch.h"
#include "loop/worker.h"

#include <math.h>
#include <stdlib.h>

enum {
    TICK_MIN_MS = 100,
    TICK_MAX_MS = 1000,
    SETTLE_MS = 200,
    SLEEP_ASK_MS = 30000,
    ANSWER_MAX = 4096
};

/* ---- rules ---- */

static str environment(void *arg, str name)
{
    char key[128];
    (void)arg;
    snprintf(key, sizeof(key), STR_FMT, STR_ARG(name));
    const char *v = getenv(key);
    return v ? str_c(v) : (str){ 0 };
}

struct reading {
    const struct run_group *g;
    bool found, failed;
    struct scale_rule rule;
};

/* Reads files. What is wrong with them the sidecars tell, which read the same. */
static void read_rule(void *arg)
{
    struct reading *r = arg;
    struct error err = { 0 };
    struct resources *res = NULL;
    const struct resource_options opt = { .path = r->g->app->resources.v,
                                          .n_paths = r->g->app->resources.n,
                                          .app_id = str_c(r->g->app->id),
                                          .namespace_ = environment(NULL, S("NAMESPACE")),
                                          .getenv = environment };
    if (!opt.n_paths)
        return;
    if (resources_load(&opt, &res, &err) != 0) {
        r->failed = true;
        return;
    }
    for (size_t i = 0; i < res->diags.n; i++)
        r->failed |= res->diags.v[i].level != DIAG_WARN;
    r->found = res->scale;
    if (res->scale)
        r->rule = res->scale->rule;
    resources_unref(res);
}

static void take_rule(struct run_group *g, const struct reading *r)
{
    if (r->failed && !r->found)
        return; /* the old one stays: a slip in a file is no wish for another number */
    bool changed = r->found != g->has_rule || (r->found && !scale_rule_eq(&r->rule, &g->rule));
    g->has_rule = r->found;
    g->rule = r->rule;
    if (changed && g->run->started_told)
        run_say(g->run, "info", g->app->id, r->found ? "%s: %u to %u instances" : "%s isn't scaled",
                g->app->id, r->rule.min, r->rule.max);
}

void scale_prepare(struct run_group *g, struct run_app *app)
{
    struct reading r = { .g = g };
    read_rule(&r);
    take_rule(g, &r);
    app->scaled = g->has_rule;
}

unsigned scale_first(const struct run_group *g)
{
    unsigned n = plan_instances(g->app, g->run->plan_settings);
    unsigned min =
        g->rule.min ? g->rule.min : 1; /* the sidecar asks the app what it subscribes to */
    return n < min ? min : (n > g->rule.max ? g->rule.max : n);
}

CO static void read_rules(struct run *run)
{
    for (size_t i = 0; i < run->n_groups && !run->quit; i++) {
        struct reading r = { .g = &run->group[i] };
        if (blocking(read_rule, &r) == 0)
            take_rule(&run->group[i], &r);
    }
}

/* ---- one more, one less ---- */

static void grow(struct run_group *g, unsigned by)
{
    while (by-- && !g->run->stopping) {
        struct error err = { 0 };
        struct member *m = member_new(g, group_free_number(g), &err);
        if (m && member_begin(m, &err) != 0)
            member_remove(m);
        if (err.code) {
            run_say(g->run, "error", g->app->id, "%s: no further instance: %s", g->app->id,
                    err.text);
            return;
        }
    }
}

/* The highest number goes: so zones stay even, and the first one, whose ports the user may have
 * given, stays. */
static struct member *last_of(const struct run_group *g)
{
    struct member *last = NULL;
    for (size_t i = 0; i < g->run->n_members; i++) {
        struct member *m = g->run->member[i];
        if (m->group == g && !m->removing && (!last || m->plan->number > last->plan->number))
            last = m;
    }
    return last;
}

static void shrink(struct run_group *g, unsigned by)
{
    struct member *m;
    while (by-- && (m = last_of(g)))
        member_remove(m);
}

/* ---- to zero and back ---- */

static struct member *sleeper(const struct run_group *g)
{
    for (size_t i = 0; i < g->run->n_members; i++)
        if (g->run->member[i]->group == g && g->run->member[i]->app.sleep)
            return g->run->member[i];
    return NULL;
}

/* Nothing else changes the app meanwhile. */
static void change(struct run_group *g, const char *what, fiber_fn *fn)
{
    struct error err = { 0 };
    g->restarting = true;
    g->run->n_changing++;
    if (run_spawn(g->run, what, fn, g, &err) == 0)
        return;
    g->restarting = false; /* the next tick tries again */
    g->run->n_changing--;
}

static void change_over(struct run_group *g)
{
    struct run *run = g->run;
    g->restarting = false;
    run->n_changing--;
    waitq_wake_all(&run->changed, 0);
    wait_group_done(&run->helpers);
}

/* The last sidecar stays: it keeps the app's name and subscriptions. It lets nothing through to the
 * app any more and says when the app has nothing left to do; what comes from then on waits. */
CO static void fall_asleep(void *arg)
{
    struct run_group *g = arg;
    struct run *run = g->run;
    struct member *m = last_of(g);
    str body = { 0 };
    AUTO(arena_done) struct arena a;
    arena_init(&a, ANSWER_MAX * 4);
    int status = run_ask_with(run, m->plan->api, S("POST"), S("/proa/v1/sleep"), MS(SLEEP_ASK_MS),
                              &a, ANSWER_MAX, &body);
    if (status == 200 && !run->stopping && !m->stopping) {
        run_note(run, "info", g->app->id, "%s sleeps: its sidecar wakes it", m->plan->name);
        member_sleep(m);
    } else if (status == 404 || status == 405) {
        g->cant_sleep = true;
        run_say(run, "warn", g->app->id,
                "%s: its sidecar can't stand in for an app that sleeps: one instance stays",
                m->plan->name);
    }
    change_over(g);
}

/* It's told first that the app is coming, since the old one has ended. */
CO static void wake_up(void *arg)
{
    struct run_group *g = arg;
    struct run *run = g->run;
    struct member *m = sleeper(g);
    AUTO(arena_done) struct arena a;
    arena_init(&a, 4 * ANSWER_MAX);
    while (m && !run->stopping && !m->stopping) {
        str body;
        arena_reset(&a);
        int status = run_ask_with(run, m->plan->api, S("POST"), S("/proa/v1/wake"), MS(RUN_ASK_MS),
                                  &a, ANSWER_MAX, &body);
        if (status == 204)
            break;
        run_pause(run, MS(TICK_MIN_MS));
        m = sleeper(g); /* a sidecar that is new has woken the app already */
    }
    if (m)
        member_wake(m);
    change_over(g);
}

static void to_zero(struct run_group *g)
{
    struct member *m = last_of(g);
    if (m && m->healthy && m->app.exec && !g->cant_sleep && !sleeper(g))
        change(g, "sleep", fall_asleep);
}

/* ---- the tick ---- */

static void look(struct run_group *g, uint64_t now, struct scale_sample *ret)
{
    struct page_demand d;
    page_demand(g->run->page, g->app->id, now, &d);
    bool asleep = sleeper(g);
    unsigned n = group_size(g);
    *ret = (struct scale_sample){ .instances = asleep ? n - 1 : n,
                                  .ready = group_ready(g),
                                  .done = d.done_rps,
                                  .unmet = d.unmet };
    ret->value[SCALE_CONCURRENCY] = d.at_once;
    ret->value[SCALE_REQUESTS] = d.asked_rps;
    ret->value[SCALE_LATENCY] = d.p99_s;
    ret->value[SCALE_QUEUE_DEPTH] = d.depth;
    ret->value[SCALE_QUEUE_AGE] = d.oldest_s;
}

static void tell(struct run_group *g, unsigned from)
{
    const struct scale_decision *d = &g->decision;
    const struct scale_row *row = &g->rule.row[d->row];
    if (isfinite(d->value))
        run_note(g->run, "info", g->app->id, "%s: %u → %u instances (%s: %s %.3g, target %.3g)",
                 g->app->id, from, d->desired, scale_reason_name(d->reason),
                 scale_metric_name(row->metric), d->value, row->target);
    else
        run_note(g->run, "info", g->app->id, "%s: %u → %u instances (%s)", g->app->id, from,
                 d->desired, scale_reason_name(d->reason));
}

static void scale_group(struct run_group *g, uint64_t now)
{
    struct scale_sample x;
    struct member *asleep = sleeper(g);
    look(g, now, &x);
    scale_decide(&g->scale, &g->rule, &x, now, &g->decision);
    unsigned desired = g->decision.desired, n = x.instances;
    if (desired == n || g->restarting || g->run->stopping)
        return;
    if (desired || !g->cant_sleep)
        tell(g, n);
    if (asleep && desired) {
        change(g, "wake", wake_up);
        n++;
    }
    if (desired > n)
        grow(g, desired - n);
    else if (desired)
        shrink(g, n - desired);
    else if (n > 1)
        shrink(g, n - 1);
    else
        to_zero(g);
}

static uint64_t tick_of(const struct run_group *g)
{
    uint64_t ns = sleeper(g) ? 0 : g->rule.panic_ns / SCALE_FINE;
    uint64_t least = MS(TICK_MIN_MS), most = min_u64(ns, MS(TICK_MAX_MS));
    return most > least ? most : least;
}

static void show(struct run *run)
{
    struct page_scale v[PAGE_SCALES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < run->n_groups && n < PAGE_SCALES_MAX; i++) {
        const struct run_group *g = &run->group[i];
        if (!g->has_rule)
            continue;
        const struct scale_row *row = &g->rule.row[g->decision.row];
        v[n++] = (struct page_scale){
            .app = g->app->id,
            .metric = scale_metric_name(row->metric),
            .reason = scale_reason_name(g->decision.reason),
            .instances = group_size(g) - (sleeper(g) ? 1 : 0),
            .desired = g->scale.width_ns ? g->decision.desired : group_size(g),
            .min = g->rule.min,
            .max = g->rule.max,
            .value = g->decision.value,
            .target = row->target,
        };
    }
    page_set_scale(run->page, v, n);
}

/* Nothing is decided before all that the run begins with is up, or is late. */
CO static void scale_fiber(void *arg)
{
    struct run *run = arg;
    while (!run->quit) {
        uint64_t pause = MS(TICK_MAX_MS), now = clock_now_ns();
        for (size_t i = 0; i < run->n_groups && run->started_told; i++) {
            struct run_group *g = &run->group[i];
            if (!g->has_rule)
                continue;
            scale_group(g, now);
            pause = min_u64(pause, tick_of(g));
        }
        show(run);
        run_pause(run, pause);
    }
    wait_group_done(&run->helpers);
}

/* ---- files that change ---- */

static size_t folders(const struct run *run, const char *ret[WATCH_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < run->n_groups; i++) {
        const struct option_list *paths = &run->group[i].app->resources;
        for (size_t k = 0; k < paths->n && n < WATCH_MAX; k++) {
            bool known = false;
            for (size_t j = 0; j < n; j++)
                known |= strcmp(ret[j], paths->v[k]) == 0;
            if (!known)
                ret[n++] = paths->v[k];
        }
    }
    return n;
}

/* Without it, a change waits for the next start. */
CO static void follow_files(void *arg)
{
    struct run *run = arg;
    const char *folder[WATCH_MAX];
    size_t n = folders(run, folder);
    struct watch *w = NULL;
    struct error err = { 0 };
    run->follower = fiber_self();
    if (n && watch_open(folder, n, &w, &err) != 0)
        run_note(run, "warn", NULL, "changes of Scale aren't followed: %s", err.text);
    while (w && !run->quit && watch_next(w) == 0) {
        run_pause(run, MS(SETTLE_MS)); /* an editor writes more than once */
        read_rules(run);
    }
    run->follower = NULL;
    watch_close(w);
    wait_group_done(&run->helpers);
}

int scale_start(struct run *run, struct error *err)
{
    int r = run_spawn(run, "scale", scale_fiber, run, err);
    return r ? r : run_spawn(run, "follow", follow_files, run, err);
}
