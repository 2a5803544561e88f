/* config.h — the Configuration resource: what --config says, defaults filled in.
 * Owner:  the snapshot of resources that it is part of.
 * Thread: any; immutable.   Failure: faults are diagnostics of the snapshot. */
#pragma once

#include "component/bind.h"

struct config_tracing {
    bool present; /* the file has a tracing section */
    double rate;  /* samplingRate, 0 … 1; 0 switches tracing off */
    str rate_text;
    bool to_stdout;
    str zipkin;                       /* address; empty = none, as below */
    str otel_endpoint, otel_protocol; /* "http" or "grpc" */
    bool otel_secure;
    struct strs otel_headers; /* "key=value" */
    uint64_t otel_timeout_ns; /* 0 = default */
};

struct config_metric_label {
    str name;
    struct kvs regex; /* replacement → pattern */
};
struct config_metric_rule {
    str name;
    struct config_metric_label *label;
    size_t n_labels;
};

struct config_metrics {
    enum tri enabled, record_error_codes;
    struct ints latency_buckets; /* ms; none = the contract's */
    enum tri increased_cardinality;
    struct strs path_matching;
    enum tri exclude_verbs;
    struct config_metric_rule *rule;
    size_t n_rules;
};

struct config_handler {
    str name, type, version;
};
struct config_handlers {
    struct config_handler *v;
    size_t n;
};

struct config_api_rule {
    str name, version, protocol;
};
struct config_api_rules {
    struct config_api_rule *v;
    size_t n;
};

struct config_acl_operation {
    str name;
    struct strs verbs;
    str action; /* "allow", "deny" or empty */
    bool allow;
};
struct config_acl_policy {
    str app_id, trust_domain, namespace_;
    str default_action; /* may be empty: then the operations alone count */
    struct config_acl_operation *operation;
    size_t n_operations;
    const struct yaml_node *at;
};
struct config_acl {
    bool present;
    bool allow;       /* what happens when no policy matches */
    str trust_domain; /* "public" unless said otherwise */
    str default_action;
    struct config_acl_policy *policy;
    size_t n_policies;
};

struct config_secret_scope {
    str store, default_access; /* "allow", "deny" or empty = allow */
    struct strs allowed, denied;
    const struct yaml_node *at;
};

struct config_feature {
    str name;
    bool enabled;
    const struct yaml_node *at;
};

struct configuration {
    str name; /* metadata.name of the last file; empty without one */
    bool loaded;
    struct config_tracing tracing;
    struct config_metrics metrics;
    struct config_handlers http_pipeline, app_http_pipeline;
    struct config_api_rules api_allowed, api_denied;
    struct config_acl acl;
    str resolver, resolver_version;          /* nameResolution.component; empty = default */
    const struct yaml_node *resolver_config; /* NULL = none */
    struct config_secret_scope *secret_scope;
    size_t n_secret_scopes;
    struct config_feature *feature;
    size_t n_features;
    struct strs denied_components; /* "type" or "type/version" */
    enum tri log_api, log_obfuscate_urls, log_omit_health_checks;
};

/* A feature's switch; what is on by itself is on unless the file says otherwise. */
bool config_feature(const struct configuration *c, str name);
bool config_denies_component(const struct configuration *c, str type, str version);
/* By secrets.scopes: may the app read this key of this store? */
bool config_allows_secret(const struct configuration *c, str store, str key);
