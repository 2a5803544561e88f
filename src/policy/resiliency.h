/* resiliency.h — from Resiliency resources to the policy of a target, and the breakers that targets
 * share.
 * Owner:  resiliency_new() keeps pointers into the specs: they must outlive it. Policies live as
 * long as it does.
 * Thread: any; look-ups take a short mutex: keep what they return where calls are many.
 * Limit: POLICY_TARGETS_MAX targets by default policies; further ones share one policy.
 * Failure: NULL = no policy applies (or no memory to hold one: then calls go unguarded). */
#pragma once

#include "policy/breaker.h"
#include "policy/budget.h"
#include "policy/retry.h"

#include <stdatomic.h>

enum { POLICY_TARGETS_MAX = 10000, BREAKERS_PER_APP = 100 };

/* ---- what one resource says ---- */

struct named_timeout {
    str name;
    uint64_t ns; /* 0 = none */
};
struct named_retry {
    str name;
    struct retry_policy policy;
};
struct named_breaker {
    str name;
    struct breaker_config config;
};
struct policy_names {
    str timeout, retry, breaker; /* .n == 0: none */
};
struct app_target {
    str name;
    struct policy_names use;
    size_t max_breakers; /* 0 = BREAKERS_PER_APP */
};
struct component_target {
    str name;
    struct policy_names inbound, outbound;
};

struct resiliency_spec {
    str name, namespace_;
    struct named_timeout *timeout;
    struct named_retry *retry;
    struct named_breaker *breaker;
    struct app_target *app;
    struct component_target *component;
    size_t n_timeout, n_retry, n_breaker, n_app, n_component;
};

enum builtin { BUILTIN_NONE, BUILTIN_RETRY, BUILTIN_PROTECTED };
/* Whether a retry policy's name is one of Dapr's own; a PROTECTED one can't be replaced. */
enum builtin resiliency_builtin(str retry_name);
#define BUILTIN_SERVICE_RETRIES "DaprBuiltInServiceRetries"
#define BUILTIN_INIT_RETRIES "DaprBuiltInInitializationRetries"

/* ---- the policies in force ---- */

enum policy_flow { POLICY_OUTBOUND, POLICY_INBOUND };
enum policy_part { POLICY_TIMEOUT, POLICY_RETRY, POLICY_BREAKER, POLICY_PARTS };

/* For the metrics dapr_resiliency_count and dapr_resiliency_activations_total. */
struct policy_stats {
    _Atomic uint64_t used[POLICY_PARTS], activated[POLICY_PARTS];
    _Atomic uint64_t breaker_used[BREAKER_STATES], breaker_activated[BREAKER_STATES];
    _Atomic int breaker_state; /* as last seen */
};

struct policy {
    uint64_t timeout_ns;              /* of one try; 0 = none */
    const struct retry_policy *retry; /* NULL = none */
    /* Of calls to components and endpoints: retries may add 20 %. Deliveries wait for their app, so
     * they have none, and calls to apps have one that is the app's: instances.h. */
    bool has_budget;
    struct budget budget;
    bool has_breaker;
    struct breaker_config breaker;
    enum policy_flow flow;
    str target; /* label: "app_orders", "Statestore_db"; NUL-terminated */
    struct policy_stats stats;
    struct breaker_table *breakers; /* by endpoint; the resiliency's */
    struct policy *next;            /* in order of creation */
};

struct resiliency;

/* Later specs win over earlier ones, name by name. Names that nobody defines are no policy. */
struct resiliency *resiliency_new(const struct resiliency_spec *const *spec, size_t n,
                                  struct error *err) WUR;
void resiliency_free(struct resiliency *r);
str resiliency_name(const struct resiliency *r);      /* label: of the last spec; "" without */
str resiliency_namespace(const struct resiliency *r); /* the same */

struct policy *policy_app(struct resiliency *r, str app_id);
/* type: "Statestore", "Pubsub", "Binding", "Secretstore", "Configuration", "Lock" … */
struct policy *policy_component(struct resiliency *r, str name, const char *type,
                                enum policy_flow flow);
/* One of the built-in retries, BUILTIN_SERVICE_RETRIES …; NULL for any other name. */
struct policy *policy_builtin(struct resiliency *r, const char *name);
/* Whether targets.apps names this id: it switches the built-in service retries off. */
bool resiliency_has_app(const struct resiliency *r, str app_id);
/* All policies handed out so far, for the metrics: NULL starts, NULL ends. */
struct policy *policy_each(struct resiliency *r, struct policy *before);

/* The breaker of an endpoint of p ("" for components), with a reference for the caller; NULL when p
 * has none. */
struct breaker *policy_breaker(struct policy *p, str endpoint, uint64_t now_ns) WUR;
