#include "policy/resiliency.h"

#include "base/map.h"
#include "base/mem.h"
#include "policy/breakers.h"

#include <stdatomic.h>
#include <stdio.h>

/* The retries that Dapr has built in, unless a resource redefines them. */
enum { N_BUILTINS = 5, PROTECTED = 4, LABEL_MAX = 512 };

struct resiliency {
    const struct resiliency_spec **spec;
    size_t n_specs;
    struct named_retry builtin[N_BUILTINS];
    _Atomic(struct policy *)
        of_builtin[N_BUILTINS]; /* as in by_target, for calls to take no lock */
    pthread_mutex_t lock;       /* of all below */
    struct map by_target;       /* "app_x", "<inbound<Statestore_x" → struct policy */
    struct map breaker_sets;    /* target, without direction → struct breaker_table */
    struct policy *first, *last;
};

static struct named_retry constant(str name, int64_t retries)
{
    struct named_retry r = { name, retry_defaults() };
    r.policy.interval_ns = SEC(1);
    r.policy.max_retries = retries;
    return r;
}

static void fill_builtins(struct named_retry b[N_BUILTINS])
{
    b[0] = constant(S(BUILTIN_SERVICE_RETRIES), 3);
    b[1] = constant(S("DaprBuiltInActorRetries"), 3);
    b[2] = constant(S("DaprBuiltInActorReminderRetries"), 0);
    b[2].policy.exponential = true;
    b[3] = constant(S(BUILTIN_INIT_RETRIES), 3);
    b[3].policy.exponential = true;
    b[3].policy.max_interval_ns = SEC(1);
    b[3].policy.max_elapsed_ns = SEC(10);
    b[PROTECTED] = constant(S("DaprBuiltInActorNotFoundRetries"), 5);
}

/* N_BUILTINS: none is called so. */
static size_t find_builtin(const struct named_retry b[N_BUILTINS], str name)
{
    size_t i = 0;
    while (i < N_BUILTINS && !str_eq(b[i].name, name))
        i++;
    return i;
}

enum builtin resiliency_builtin(str name)
{
    struct named_retry b[N_BUILTINS];
    fill_builtins(b);
    size_t i = find_builtin(b, name);
    return i == N_BUILTINS ? BUILTIN_NONE : i == PROTECTED ? BUILTIN_PROTECTED : BUILTIN_RETRY;
}

struct resiliency *resiliency_new(const struct resiliency_spec *const *spec, size_t n,
                                  struct error *err)
{
    struct resiliency *r = mem_zalloc(sizeof *r);
    const struct resiliency_spec **copy = mem_alloc(n * sizeof *copy);
    if (!r || !copy) {
        mem_free(r);
        mem_free(copy);
        (void)fail(err, EXHAUSTED, NULL, "out of memory for the resiliency policies");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        copy[i] = spec[i];
    r->spec = copy;
    r->n_specs = n;
    fill_builtins(r->builtin);
    pthread_mutex_init(&r->lock, NULL);
    map_init(&r->by_target, POLICY_TARGETS_MAX + 1);
    map_init(&r->breaker_sets, POLICY_TARGETS_MAX + 1);
    return r;
}

void resiliency_free(struct resiliency *r)
{
    if (!r)
        return;
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&r->breaker_sets, &at));) {
        breakers_done(e->value);
        mem_free(e->value);
    }
    for (struct policy *p = r->first, *next; p; p = next) {
        next = p->next;
        mem_free((void *)p->target.p);
        mem_free(p);
    }
    map_done(&r->breaker_sets);
    map_done(&r->by_target);
    pthread_mutex_destroy(&r->lock);
    mem_free(r->spec);
    mem_free(r);
}

str resiliency_name(const struct resiliency *r)
{
    return r->n_specs ? r->spec[r->n_specs - 1]->name : S("");
}

str resiliency_namespace(const struct resiliency *r)
{
    return r->n_specs ? r->spec[r->n_specs - 1]->namespace_ : S("");
}

/* ---- names to definitions; of several specs the last one that has the name counts ---- */

static const struct named_timeout *find_timeout(const struct resiliency *r, str name)
{
    for (size_t s = r->n_specs; s-- > 0;)
        for (size_t i = 0; i < r->spec[s]->n_timeout; i++)
            if (str_eq(r->spec[s]->timeout[i].name, name))
                return &r->spec[s]->timeout[i];
    return NULL;
}

static const struct retry_policy *find_retry(const struct resiliency *r, str name)
{
    size_t builtin = find_builtin(r->builtin, name);
    for (size_t s = r->n_specs; s-- > 0 && builtin != PROTECTED;)
        for (size_t i = 0; i < r->spec[s]->n_retry; i++)
            if (str_eq(r->spec[s]->retry[i].name, name))
                return &r->spec[s]->retry[i].policy;
    return builtin < N_BUILTINS ? &r->builtin[builtin].policy : NULL;
}

static const struct breaker_config *find_breaker(const struct resiliency *r, str name)
{
    for (size_t s = r->n_specs; s-- > 0;)
        for (size_t i = 0; i < r->spec[s]->n_breaker; i++)
            if (str_eq(r->spec[s]->breaker[i].name, name))
                return &r->spec[s]->breaker[i].config;
    return NULL;
}

static const struct app_target *find_app(const struct resiliency *r, str id)
{
    for (size_t s = r->n_specs; s-- > 0;)
        for (size_t i = 0; i < r->spec[s]->n_app; i++)
            if (str_eq(r->spec[s]->app[i].name, id))
                return &r->spec[s]->app[i];
    return NULL;
}

static const struct component_target *find_component(const struct resiliency *r, str name)
{
    for (size_t s = r->n_specs; s-- > 0;)
        for (size_t i = 0; i < r->spec[s]->n_component; i++)
            if (str_eq(r->spec[s]->component[i].name, name))
                return &r->spec[s]->component[i];
    return NULL;
}

bool resiliency_has_app(const struct resiliency *r, str app_id)
{
    return find_app(r, app_id) != NULL;
}

/* ---- what applies to a target ---- */

struct effective {
    const struct named_timeout *timeout;
    const struct retry_policy *retry;
    const struct breaker_config *breaker;
    size_t max_breakers;
    bool budget;
};

static struct effective by_names(const struct resiliency *r, const struct policy_names *names)
{
    return (struct effective){
        .timeout = names->timeout.n ? find_timeout(r, names->timeout) : NULL,
        .retry = names->retry.n ? find_retry(r, names->retry) : NULL,
        .breaker = names->breaker.n ? find_breaker(r, names->breaker) : NULL,
    };
}

static void add_level(const struct resiliency *r, const char *level, struct effective *e)
{
    char name[LABEL_MAX];
    if (!r->n_specs)
        return;
    snprintf(name, sizeof name, "Default%sTimeoutPolicy", level);
    if (!e->timeout)
        e->timeout = find_timeout(r, str_c(name));
    snprintf(name, sizeof name, "Default%sRetryPolicy", level);
    if (!e->retry)
        e->retry = find_retry(r, str_c(name));
    snprintf(name, sizeof name, "Default%sCircuitBreakerPolicy", level);
    if (!e->breaker)
        e->breaker = find_breaker(r, str_c(name));
}

static struct effective of_app(const struct resiliency *r, str id)
{
    const struct app_target *t = find_app(r, id);
    struct effective e = { 0 };
    if (t) {
        e = by_names(r, &t->use);
        e.max_breakers = t->max_breakers;
    } else {
        add_level(r, "App", &e);
        add_level(r, "", &e);
    }
    if (!e.max_breakers)
        e.max_breakers = BREAKERS_PER_APP;
    e.budget = true;
    return e;
}

static struct effective of_component(const struct resiliency *r, str name, const char *type,
                                     enum policy_flow flow)
{
    const char *direction = flow == POLICY_INBOUND ? "Inbound" : "Outbound";
    const struct component_target *t = find_component(r, name);
    struct effective e = { 0 };
    if (t) {
        e = by_names(r, flow == POLICY_INBOUND ? &t->inbound : &t->outbound);
    } else {
        char level[LABEL_MAX];
        snprintf(level, sizeof level, "%sComponent%s", type, direction);
        add_level(r, level, &e);
        snprintf(level, sizeof level, "Component%s", direction);
        add_level(r, level, &e);
        add_level(r, "Component", &e);
        add_level(r, "", &e);
    }
    e.max_breakers = 1;
    e.budget = true;
    return e;
}

/* ---- the policies, made on first use; all under r->lock ---- */

static struct breaker_table *breaker_set(struct resiliency *r, str target, size_t max)
{
    struct breaker_table *t = map_get(&r->breaker_sets, target);
    if (t)
        return t;
    t = mem_alloc(sizeof *t);
    if (!t)
        return NULL;
    breakers_init(t, max);
    if (map_put(&r->breaker_sets, target, t, NULL) < 0) {
        breakers_done(t);
        mem_free(t);
        return NULL;
    }
    return t;
}

static struct policy *new_policy(struct resiliency *r, str key, str target,
                                 const struct effective *e, enum policy_flow flow)
{
    struct breaker_table *breakers = NULL;
    if (e->breaker && !(breakers = breaker_set(r, target, e->max_breakers)))
        return NULL;
    struct policy *p = mem_zalloc(sizeof *p);
    char *label = mem_dup(target.p, target.n);
    if (!p || !label || map_put(&r->by_target, key, p, NULL) < 0) {
        mem_free(p);
        mem_free(label);
        return NULL;
    }
    p->timeout_ns = e->timeout ? e->timeout->ns : 0;
    p->retry = e->retry;
    p->has_breaker = e->breaker != NULL;
    if (e->breaker)
        p->breaker = *e->breaker;
    p->flow = flow;
    p->has_budget = p->retry && flow == POLICY_OUTBOUND && e->budget;
    if (p->has_budget)
        budget_init(&p->budget, &(struct budget_config){ 0 });
    p->target = str_of(label, target.n);
    p->breakers = breakers;
    *(r->last ? &r->last->next : &r->first) = p;
    r->last = p;
    return p;
}

static struct policy *get_policy(struct resiliency *r, str target, const struct effective *e,
                                 enum policy_flow flow)
{
    if (!e->retry && !e->breaker && !(e->timeout && e->timeout->ns))
        return NULL;
    char text[2 * LABEL_MAX];
    int n = snprintf(text, sizeof text, "%c%.*s", flow == POLICY_INBOUND ? '<' : '>', (int)target.n,
                     target.p);
    str key = str_of(text, (size_t)n);
    pthread_mutex_lock(&r->lock);
    struct policy *p = map_get(&r->by_target, key);
    if (!p && map_count(&r->by_target) >= POLICY_TARGETS_MAX) { /* all others share one */
        key.n = 1;
        target = S("other");
        p = map_get(&r->by_target, key);
    }
    if (!p)
        p = new_policy(r, key, target, e, flow);
    pthread_mutex_unlock(&r->lock);
    return p;
}

struct policy *policy_app(struct resiliency *r, str app_id)
{
    char target[LABEL_MAX + 8];
    struct effective e = of_app(r, app_id);
    snprintf(target, sizeof target, "app_%.*s", (int)min_size(app_id.n, LABEL_MAX), app_id.p);
    return get_policy(r, str_c(target), &e, POLICY_OUTBOUND);
}

struct policy *policy_component(struct resiliency *r, str name, const char *type,
                                enum policy_flow flow)
{
    char target[LABEL_MAX + 32];
    struct effective e = of_component(r, name, type, flow);
    snprintf(target, sizeof target, "%.20s_%.*s", type, (int)min_size(name.n, LABEL_MAX), name.p);
    return get_policy(r, str_c(target), &e, flow);
}

struct policy *policy_builtin(struct resiliency *r, const char *name)
{
    size_t i = find_builtin(r->builtin, str_c(name));
    if (i == N_BUILTINS)
        return NULL;
    struct policy *p = atomic_load_explicit(&r->of_builtin[i], memory_order_acquire);
    if (p)
        return p;
    struct effective e = { .retry = find_retry(r, str_c(name)) };
    p = get_policy(r, str_c(name), &e, POLICY_OUTBOUND);
    atomic_store_explicit(&r->of_builtin[i], p, memory_order_release);
    return p;
}

struct policy *policy_each(struct resiliency *r, struct policy *before)
{
    pthread_mutex_lock(&r->lock);
    struct policy *p = before ? before->next : r->first;
    pthread_mutex_unlock(&r->lock);
    return p;
}

struct breaker *policy_breaker(struct policy *p, str endpoint, uint64_t now_ns)
{
    if (!p->has_breaker)
        return NULL;
    return breakers_get(p->breakers, endpoint, &p->breaker, now_ns);
}
