/* Resiliency: the resource's rows into the plain structs of policy/resiliency.h. */
#include "component/resource_priv.h"
#include "component/suggest.h"
#include "format/cel.h"

#define AT(type, field) offsetof(struct type, field)

/* ---- rows ---- */

static const struct bind_row timeout_row = { "timeout", BIND_DURATION, AT(named_timeout, ns) };
static const struct bind_table timeout_table = {
    "a timeout", sizeof(struct named_timeout), NULL, 0, &timeout_row,
};

struct retry_spec {
    str name, policy, http, grpc;
    uint64_t interval_ns, max_interval_ns;
    int64_t max_retries;
    const struct yaml_node *at;
};
static const struct bind_row matching_rows[] = {
    { "httpStatusCodes", BIND_STR, AT(retry_spec, http) },
    { "gRPCStatusCodes", BIND_STR, AT(retry_spec, grpc) },
};
static const struct bind_table matching_table = { "matching", 0, matching_rows,
                                                  COUNT(matching_rows) };
static const struct bind_row retry_rows[] = {
    { NULL, BIND_SELF, AT(retry_spec, at) },
    { "policy", BIND_STR, AT(retry_spec, policy) },
    { "duration", BIND_DURATION, AT(retry_spec, interval_ns) },
    { "maxInterval", BIND_DURATION, AT(retry_spec, max_interval_ns) },
    { "maxRetries", BIND_INT, AT(retry_spec, max_retries) },
    { "matching", BIND_STRUCT, 0, &matching_table },
};
static const struct bind_table retry_table = { "a retry policy", sizeof(struct retry_spec),
                                               retry_rows, COUNT(retry_rows) };

struct breaker_spec {
    str name, trip;
    int64_t max_requests;
    uint64_t interval_ns, timeout_ns;
    const struct yaml_node *at;
};
static const struct bind_row breaker_rows[] = {
    { NULL, BIND_SELF, AT(breaker_spec, at) },
    { "maxRequests", BIND_INT, AT(breaker_spec, max_requests) },
    { "interval", BIND_DURATION, AT(breaker_spec, interval_ns) },
    { "timeout", BIND_DURATION, AT(breaker_spec, timeout_ns) },
    { "trip", BIND_STR, AT(breaker_spec, trip) },
};
static const struct bind_table breaker_table = { "a circuit breaker", sizeof(struct breaker_spec),
                                                 breaker_rows, COUNT(breaker_rows) };

struct app_spec {
    str name;
    struct policy_names use;
    int64_t max_breakers;
    const struct yaml_node *at;
};
static const struct bind_row app_rows[] = {
    { NULL, BIND_SELF, AT(app_spec, at) },
    { "timeout", BIND_STR, AT(app_spec, use.timeout) },
    { "retry", BIND_STR, AT(app_spec, use.retry) },
    { "circuitBreaker", BIND_STR, AT(app_spec, use.breaker) },
    { "circuitBreakerCacheSize", BIND_INT, AT(app_spec, max_breakers) },
};
static const struct bind_table app_table = { "a target app", sizeof(struct app_spec), app_rows,
                                             COUNT(app_rows) };

static const struct bind_row names_rows[] = {
    { "timeout", BIND_STR, AT(policy_names, timeout) },
    { "retry", BIND_STR, AT(policy_names, retry) },
    { "circuitBreaker", BIND_STR, AT(policy_names, breaker) },
};
static const struct bind_table names_table = { "a target's direction", sizeof(struct policy_names),
                                               names_rows, COUNT(names_rows) };
static const struct bind_row component_rows[] = {
    { "inbound", BIND_STRUCT, AT(component_target, inbound), &names_table },
    { "outbound", BIND_STRUCT, AT(component_target, outbound), &names_table },
};
static const struct bind_table component_table = { "a target component",
                                                   sizeof(struct component_target), component_rows,
                                                   COUNT(component_rows) };

struct spec { /* lists are pointer and count, as the binder fills them */
    struct named_timeout *timeout;
    size_t n_timeout;
    struct retry_spec *retry;
    size_t n_retry;
    struct breaker_spec *breaker;
    size_t n_breaker;
    struct app_spec *app;
    size_t n_app;
    struct component_target *component;
    size_t n_component;
};
static const struct bind_row policies_rows[] = {
    { "timeouts", BIND_MAP, AT(spec, timeout), &timeout_table },
    { "retries", BIND_MAP, AT(spec, retry), &retry_table },
    { "circuitBreakers", BIND_MAP, AT(spec, breaker), &breaker_table },
};
static const struct bind_table policies_table = { "policies", 0, policies_rows,
                                                  COUNT(policies_rows) };
static const struct bind_row targets_rows[] = {
    { "apps", BIND_MAP, AT(spec, app), &app_table },
    { "components", BIND_MAP, AT(spec, component), &component_table },
    { "actors", BIND_SKIP }, /* there are no actors here */
};
static const struct bind_table targets_table = { "targets", 0, targets_rows, COUNT(targets_rows) };
static const struct bind_row spec_rows[] = {
    { "policies", BIND_STRUCT, 0, &policies_table },
    { "targets", BIND_STRUCT, 0, &targets_table },
};
static const struct bind_table spec_table = { "a Resiliency's spec", sizeof(struct spec), spec_rows,
                                              COUNT(spec_rows) };

/* ---- checks, and into the structs of policy ---- */

static void *array(struct bind *b, size_t n, size_t size)
{
    void *p = arena_zalloc(b->arena, (n + 1) * size);
    if (!p)
        bind_no_memory(b, NULL);
    return p;
}

static void guard_builtin(struct bind *b, const struct retry_spec *s, struct retry_policy *p)
{
    enum builtin kind = resiliency_builtin(s->name);
    if (kind == BUILTIN_PROTECTED)
        bind_warn(b, s->at, "%.*s can't be redefined: the built-in policy stays", (int)s->name.n,
                  s->name.p);
    if (kind != BUILTIN_RETRY || p->max_retries >= 3)
        return;
    bind_warn(b, s->at, "%.*s needs at least 3 retries: maxRetries is set to 3", (int)s->name.n,
              s->name.p);
    p->max_retries = 3;
}

static struct retry_policy to_retry(struct bind *b, const struct retry_spec *s)
{
    struct retry_policy p = retry_defaults();
    struct error err = { 0 };
    int name = (int)min_size(s->name.n, 100);
    if (s->policy.n && !str_ieq(s->policy, S("constant")) && !str_ieq(s->policy, S("exponential")))
        bind_fail(b, s->at, "retry \"%.*s\": policy \"%.*s\" is neither constant nor exponential",
                  name, s->name.p, (int)min_size(s->policy.n, 40), s->policy.p);
    p.exponential = str_ieq(s->policy, S("exponential"));
    if (!yaml_is_null(bind_get(s->at, S("duration"))))
        p.interval_ns = s->interval_ns;
    if (!yaml_is_null(bind_get(s->at, S("maxInterval"))))
        p.max_interval_ns = s->max_interval_ns;
    if (!yaml_is_null(bind_get(s->at, S("maxRetries"))))
        p.max_retries = s->max_retries;
    int r = retry_match_parse(b->arena, s->http, s->grpc, &p.match, &err);
    if (r == -EXHAUSTED)
        bind_no_memory(b, s->at);
    else if (r < 0) {
        const struct yaml_node *at = bind_get(s->at, S("matching"));
        bind_fail(b, at ? at : s->at, "retry \"%.*s\": matching: %s", name, s->name.p, err.text);
    }
    guard_builtin(b, s, &p);
    return p;
}

static struct breaker_config to_breaker(struct bind *b, const struct breaker_spec *s)
{
    struct breaker_config c = { .interval_ns = s->interval_ns, .timeout_ns = s->timeout_ns };
    struct error err = { 0 };
    struct cel_program *trip = NULL;
    int name = (int)min_size(s->name.n, 100);
    if (s->max_requests < 0 || s->max_requests > UINT32_MAX)
        bind_fail(b, s->at, "circuit breaker \"%.*s\": maxRequests must be 0 … 4294967295", name,
                  s->name.p);
    c.max_requests = (uint32_t)s->max_requests;
    int r = s->trip.n ? cel_compile(b->arena, s->trip, &trip, &err) : 0;
    if (r == -EXHAUSTED)
        bind_no_memory(b, s->at);
    else if (r < 0) {
        const struct yaml_node *at = bind_get(s->at, S("trip"));
        bind_fail(b, at ? at : s->at, "circuit breaker \"%.*s\": trip %s", name, s->name.p,
                  err.text);
    }
    c.trip = trip;
    return c;
}

static void fill(struct bind *b, const struct spec *s, struct resiliency_spec *r)
{
    r->timeout = s->timeout;
    r->n_timeout = s->n_timeout;
    r->component = s->component;
    r->n_component = s->n_component;
    r->retry = array(b, s->n_retry, sizeof *r->retry);
    r->breaker = array(b, s->n_breaker, sizeof *r->breaker);
    r->app = array(b, s->n_app, sizeof *r->app);
    if (!r->retry || !r->breaker || !r->app)
        return;
    for (size_t i = 0; i < s->n_retry; i++)
        r->retry[r->n_retry++] =
            (struct named_retry){ s->retry[i].name, to_retry(b, &s->retry[i]) };
    for (size_t i = 0; i < s->n_breaker; i++)
        r->breaker[r->n_breaker++] =
            (struct named_breaker){ s->breaker[i].name, to_breaker(b, &s->breaker[i]) };
    for (size_t i = 0; i < s->n_app; i++) {
        const struct app_spec *app = &s->app[i];
        if (app->max_breakers < 0 || app->max_breakers > 1000000)
            bind_fail(b, app->at, "circuitBreakerCacheSize must be 0 … 1000000");
        r->app[r->n_app++] = (struct app_target){ app->name, app->use, (size_t)app->max_breakers };
    }
}

/* The line that Dapr's users look for, after what is wrong in detail. */
static void say_rejected(struct loader *l, struct document *d, size_t n_before)
{
    const struct diags *diags = &l->r->diags;
    const char *first = "see above";
    for (size_t i = diags->n; i-- > n_before;)
        if (diags->v[i].level == DIAG_ERROR)
            first = diags->v[i].text;
    diag_add(&l->r->diags, DIAG_ERROR, d->head.file, d->node->line, d->node->column,
             "Could not read resiliency policy %.*s: %s", (int)d->head.name.n, d->head.name.p,
             first);
}

void load_resiliency(struct loader *l, struct document *d)
{
    if (!resource_in_scope(&d->head, l->opt->app_id))
        return;
    size_t n_before = l->r->diags.n;
    struct spec spec = { 0 };
    struct resiliency_spec *r = arena_zalloc(&l->r->arena, sizeof *r);
    if (!r) {
        l->exhausted = true;
        return;
    }
    r->name = d->head.name;
    r->namespace_ = d->head.namespace_;
    bind_map(&d->bind, &spec_table, d->spec, &spec);
    fill(&d->bind, &spec, r);
    if (d->bind.failed) {
        say_rejected(l, d, n_before);
        return;
    }
    struct resiliency_spec **slot = vec_push(l, &l->resiliency, sizeof *slot);
    if (slot)
        *slot = r;
}

/* ---- names that nobody defines ---- */

enum which { A_TIMEOUT, A_RETRY, A_BREAKER };
static const char *const which_name[] = { "timeout", "retry", "circuit breaker" };

static bool defined_in(const struct resiliency_spec *r, enum which which, struct suggest *near)
{
    size_t n = which == A_TIMEOUT ? r->n_timeout : which == A_RETRY ? r->n_retry : r->n_breaker;
    for (size_t i = 0; i < n; i++) {
        str name = which == A_TIMEOUT ? r->timeout[i].name
                   : which == A_RETRY ? r->retry[i].name
                                      : r->breaker[i].name;
        if (str_eq(name, near->word))
            return true;
        suggest_offer(near, name);
    }
    return false;
}

static void check_one(struct loader *l, const struct resiliency_spec *r, str target,
                      enum which which, str name)
{
    char hint[SUGGEST_MAX];
    struct suggest near = { .word = name };
    bool found = !name.n || (which == A_RETRY && resiliency_builtin(name) != BUILTIN_NONE);
    struct resiliency_spec **all = l->resiliency.v;
    for (size_t i = 0; i < l->resiliency.n && !found; i++)
        found = defined_in(all[i], which, &near);
    if (!found)
        diag_add(&l->r->diags, DIAG_WARN, NULL, 0, 0,
                 "Resiliency %.*s: target \"%.*s\" names %s \"%.*s\", which no policy defines%s",
                 (int)r->name.n, r->name.p, (int)min_size(target.n, 100), target.p,
                 which_name[which], (int)min_size(name.n, 100), name.p, suggest_text(&near, hint));
}

static void check_names(struct loader *l, const struct resiliency_spec *r, str target,
                        const struct policy_names *names)
{
    check_one(l, r, target, A_TIMEOUT, names->timeout);
    check_one(l, r, target, A_RETRY, names->retry);
    check_one(l, r, target, A_BREAKER, names->breaker);
}

void check_policy_names(struct loader *l)
{
    struct resiliency_spec **all = l->resiliency.v;
    for (size_t i = 0; i < l->resiliency.n; i++) {
        const struct resiliency_spec *r = all[i];
        for (size_t k = 0; k < r->n_app; k++)
            check_names(l, r, r->app[k].name, &r->app[k].use);
        for (size_t k = 0; k < r->n_component; k++) {
            check_names(l, r, r->component[k].name, &r->component[k].inbound);
            check_names(l, r, r->component[k].name, &r->component[k].outbound);
        }
    }
}
