/* Configuration: rows, several files on top of one another, defaults and checks. */
#include "base/hash.h"
#include "base/mem.h"
#include "component/resource_priv.h"
#include "component/suggest.h"
#include "format/envsubst.h"

#include <math.h>
#include <stdlib.h>

#define AT(type, field) offsetof(struct type, field)

struct config_raw {
    struct configuration c;
    struct config_metrics metric; /* the older name of the section; "metrics" is in c */
    const struct yaml_node *tracing;
    enum tri otel_secure;
    const struct yaml_node *acl, *spec, *wasm, *workflow;
    const char *file; /* the last one */
};

/* ---- rows ---- */

static const struct bind_row zipkin_rows[] = {
    { "endpointAddress", BIND_STR, AT(config_raw, c.tracing.zipkin) },
};
static const struct bind_table zipkin_table = { "zipkin", 0, zipkin_rows, COUNT(zipkin_rows) };
static const struct bind_row otel_rows[] = {
    { "protocol", BIND_STR, AT(config_raw, c.tracing.otel_protocol) },
    { "endpointAddress", BIND_STR, AT(config_raw, c.tracing.otel_endpoint) },
    { "isSecure", BIND_TRI, AT(config_raw, otel_secure) },
    { "headers", BIND_STRS, AT(config_raw, c.tracing.otel_headers) },
    { "timeout", BIND_DURATION, AT(config_raw, c.tracing.otel_timeout_ns) },
};
static const struct bind_table otel_table = { "otel", 0, otel_rows, COUNT(otel_rows) };
static const struct bind_row tracing_rows[] = {
    { NULL, BIND_SELF, AT(config_raw, tracing) },
    { "samplingRate", BIND_STR, AT(config_raw, c.tracing.rate_text) },
    { "stdout", BIND_BOOL, AT(config_raw, c.tracing.to_stdout) },
    { "zipkin", BIND_STRUCT, 0, &zipkin_table },
    { "otel", BIND_STRUCT, 0, &otel_table },
};
static const struct bind_table tracing_table = { "tracing", 0, tracing_rows, COUNT(tracing_rows) };

static const struct bind_row metric_label_rows[] = {
    { "name", BIND_STR, AT(config_metric_label, name) },
    { "regex", BIND_KVS, AT(config_metric_label, regex) },
};
static const struct bind_table metric_label_table = { "a label", sizeof(struct config_metric_label),
                                                      metric_label_rows, COUNT(metric_label_rows) };
static const struct bind_row metric_rule_rows[] = {
    { "name", BIND_STR, AT(config_metric_rule, name) },
    { "labels", BIND_LIST, AT(config_metric_rule, label), &metric_label_table },
};
static const struct bind_table metric_rule_table = { "a rule of metrics",
                                                     sizeof(struct config_metric_rule),
                                                     metric_rule_rows, COUNT(metric_rule_rows) };
static const struct bind_row metrics_http_rows[] = {
    { "increasedCardinality", BIND_TRI, AT(config_metrics, increased_cardinality) },
    { "pathMatching", BIND_STRS, AT(config_metrics, path_matching) },
    { "excludeVerbs", BIND_TRI, AT(config_metrics, exclude_verbs) },
};
static const struct bind_table metrics_http_table = { "http", 0, metrics_http_rows,
                                                      COUNT(metrics_http_rows) };
static const struct bind_row metrics_rows[] = {
    { "enabled", BIND_TRI, AT(config_metrics, enabled) },
    { "recordErrorCodes", BIND_TRI, AT(config_metrics, record_error_codes) },
    { "latencyDistributionBuckets", BIND_INTS, AT(config_metrics, latency_buckets) },
    { "http", BIND_STRUCT, 0, &metrics_http_table },
    { "rules", BIND_LIST, AT(config_metrics, rule), &metric_rule_table },
};
static const struct bind_table metrics_table = { "metrics", sizeof(struct config_metrics),
                                                 metrics_rows, COUNT(metrics_rows) };

static const struct bind_row handler_rows[] = {
    { "name", BIND_STR, AT(config_handler, name) },
    { "type", BIND_STR, AT(config_handler, type) },
    { "version", BIND_STR, AT(config_handler, version) },
    { "selector", BIND_SKIP },
};
static const struct bind_table handler_table = { "a handler", sizeof(struct config_handler),
                                                 handler_rows, COUNT(handler_rows) };
static const struct bind_row http_pipeline_rows[] = {
    { "handlers", BIND_LIST, AT(config_raw, c.http_pipeline), &handler_table },
};
static const struct bind_table http_pipeline_table = { "httpPipeline", 0, http_pipeline_rows, 1 };
static const struct bind_row app_pipeline_rows[] = {
    { "handlers", BIND_LIST, AT(config_raw, c.app_http_pipeline), &handler_table },
};
static const struct bind_table app_pipeline_table = { "appHttpPipeline", 0, app_pipeline_rows, 1 };

static const struct bind_row api_rule_rows[] = {
    { "name", BIND_STR, AT(config_api_rule, name) },
    { "version", BIND_STR, AT(config_api_rule, version) },
    { "protocol", BIND_STR, AT(config_api_rule, protocol) },
};
static const struct bind_table api_rule_table = { "a rule of api", sizeof(struct config_api_rule),
                                                  api_rule_rows, COUNT(api_rule_rows) };
static const struct bind_row api_rows[] = {
    { "allowed", BIND_LIST, AT(config_raw, c.api_allowed), &api_rule_table },
    { "denied", BIND_LIST, AT(config_raw, c.api_denied), &api_rule_table },
};
static const struct bind_table api_table = { "api", 0, api_rows, COUNT(api_rows) };

static const struct bind_row acl_operation_rows[] = {
    { "name", BIND_STR, AT(config_acl_operation, name) },
    { "httpVerb", BIND_STRS, AT(config_acl_operation, verbs) },
    { "action", BIND_STR, AT(config_acl_operation, action) },
};
static const struct bind_table acl_operation_table = { "an operation",
                                                       sizeof(struct config_acl_operation),
                                                       acl_operation_rows,
                                                       COUNT(acl_operation_rows) };
static const struct bind_row acl_policy_rows[] = {
    { NULL, BIND_SELF, AT(config_acl_policy, at) },
    { "appId", BIND_STR, AT(config_acl_policy, app_id) },
    { "trustDomain", BIND_STR, AT(config_acl_policy, trust_domain) },
    { "namespace", BIND_STR, AT(config_acl_policy, namespace_) },
    { "defaultAction", BIND_STR, AT(config_acl_policy, default_action) },
    { "operations", BIND_LIST, AT(config_acl_policy, operation), &acl_operation_table },
};
static const struct bind_table acl_policy_table = { "a policy of accessControl",
                                                    sizeof(struct config_acl_policy),
                                                    acl_policy_rows, COUNT(acl_policy_rows) };
static const struct bind_row acl_rows[] = {
    { NULL, BIND_SELF, AT(config_raw, acl) },
    { "defaultAction", BIND_STR, AT(config_raw, c.acl.default_action) },
    { "trustDomain", BIND_STR, AT(config_raw, c.acl.trust_domain) },
    { "policies", BIND_LIST, AT(config_raw, c.acl.policy), &acl_policy_table },
};
static const struct bind_table acl_table = { "accessControl", 0, acl_rows, COUNT(acl_rows) };

static const struct bind_row resolution_rows[] = {
    { "component", BIND_STR, AT(config_raw, c.resolver) },
    { "version", BIND_STR, AT(config_raw, c.resolver_version) },
    { "configuration", BIND_NODE, AT(config_raw, c.resolver_config) },
};
static const struct bind_table resolution_table = { "nameResolution", 0, resolution_rows,
                                                    COUNT(resolution_rows) };

static const struct bind_row secret_scope_rows[] = {
    { NULL, BIND_SELF, AT(config_secret_scope, at) },
    { "storeName", BIND_STR, AT(config_secret_scope, store) },
    { "defaultAccess", BIND_STR, AT(config_secret_scope, default_access) },
    { "allowedSecrets", BIND_STRS, AT(config_secret_scope, allowed) },
    { "deniedSecrets", BIND_STRS, AT(config_secret_scope, denied) },
};
static const struct bind_table secret_scope_table = { "a scope of secrets",
                                                      sizeof(struct config_secret_scope),
                                                      secret_scope_rows, COUNT(secret_scope_rows) };
static const struct bind_row secrets_rows[] = {
    { "scopes", BIND_LIST, AT(config_raw, c.secret_scope), &secret_scope_table },
};
static const struct bind_table secrets_table = { "secrets", 0, secrets_rows, COUNT(secrets_rows) };

static const struct bind_row feature_rows[] = {
    { NULL, BIND_SELF, AT(config_feature, at) },
    { "name", BIND_STR, AT(config_feature, name) },
    { "enabled", BIND_BOOL, AT(config_feature, enabled) },
};
static const struct bind_table feature_table = { "a feature", sizeof(struct config_feature),
                                                 feature_rows, COUNT(feature_rows) };
static const struct bind_row components_rows[] = {
    { "deny", BIND_STRS, AT(config_raw, c.denied_components) },
};
static const struct bind_table components_table = { "components", 0, components_rows,
                                                    COUNT(components_rows) };
static const struct bind_row api_logging_rows[] = {
    { "enabled", BIND_TRI, AT(config_raw, c.log_api) },
    { "obfuscateURLs", BIND_TRI, AT(config_raw, c.log_obfuscate_urls) },
    { "omitHealthChecks", BIND_TRI, AT(config_raw, c.log_omit_health_checks) },
};
static const struct bind_table api_logging_table = { "apiLogging", 0, api_logging_rows,
                                                     COUNT(api_logging_rows) };
static const struct bind_row logging_rows[] = {
    { "apiLogging", BIND_STRUCT, 0, &api_logging_table },
};
static const struct bind_table logging_table = { "logging", 0, logging_rows, COUNT(logging_rows) };

static const struct bind_row spec_rows[] = {
    { NULL, BIND_SELF, AT(config_raw, spec) },
    { "tracing", BIND_STRUCT, 0, &tracing_table },
    { "metric", BIND_STRUCT, AT(config_raw, metric), &metrics_table },
    { "metrics", BIND_STRUCT, AT(config_raw, c.metrics), &metrics_table },
    { "httpPipeline", BIND_STRUCT, 0, &http_pipeline_table },
    { "appHttpPipeline", BIND_STRUCT, 0, &app_pipeline_table },
    { "api", BIND_STRUCT, 0, &api_table },
    { "accessControl", BIND_STRUCT, 0, &acl_table },
    { "nameResolution", BIND_STRUCT, 0, &resolution_table },
    { "secrets", BIND_STRUCT, 0, &secrets_table },
    { "features", BIND_LIST, AT(config_raw, c.feature), &feature_table },
    { "components", BIND_STRUCT, 0, &components_table },
    { "logging", BIND_STRUCT, 0, &logging_table },
    { "mtls", BIND_SKIP }, /* of the control plane: a sidecar has its flag --enable-mtls */
    { "wasm", BIND_NODE, AT(config_raw, wasm) },
    { "workflow", BIND_NODE, AT(config_raw, workflow) },
};
static const struct bind_table spec_table = { "a Configuration's spec", sizeof(struct config_raw),
                                              spec_rows, COUNT(spec_rows) };

/* ---- one file ---- */

static str no_env(void *arg, str name)
{
    return (str){ 0 };
}

static bool is_configuration(const struct yaml_node *n)
{
    str kind = yaml_text(bind_get(n, S("kind")), S("Configuration"));
    return n && n->type == YAML_MAP && str_eq(kind, S("Configuration"));
}

static void load_config_document(struct loader *l, const struct yaml_source *src)
{
    struct resources *r = l->r;
    struct error err = { 0 };
    const struct yaml_node *n = NULL;
    int code = yaml_parse(&r->arena, src, &n, &err);
    if (code < 0) {
        l->exhausted |= code == -EXHAUSTED && r->arena.used >= r->arena.max;
        loader_fatal(l, NULL, NULL, "error loading configuration: %s", err.text);
        return;
    }
    if (!n)
        return;
    struct bind b = { &r->arena, &r->diags, src->file, DIAG_ERROR };
    if (!is_configuration(n)) {
        bind_warn(&b, n, "the document is no Configuration: it is ignored");
        return;
    }
    l->raw->file = src->file;
    l->raw->c.loaded = true;
    l->raw->c.name = yaml_text(bind_get(bind_get(n, S("metadata")), S("name")), S(""));
    bind_map(&b, &spec_table, bind_get(n, S("spec")), l->raw);
    if (b.failed)
        loader_fatal(l, src->file, n, "error loading configuration: %s is faulty: see the errors",
                     src->file);
}

static bool need_raw(struct loader *l)
{
    if (!l->raw && !(l->raw = arena_zalloc(&l->r->arena, sizeof *l->raw)))
        l->exhausted = true;
    return l->raw != NULL;
}

void load_config_text(struct loader *l, const char *file, str text)
{
    AUTO(buf_done) struct buf expanded;
    buf_init(&expanded, YAML_SIZE_MAX);
    envsubst(text, l->opt->getenv ? l->opt->getenv : no_env, l->opt->arg, &expanded);
    if (!buf_ok(&expanded)) {
        loader_fatal(l, file, NULL, "error loading configuration: %s is too large", file);
        return;
    }
    l->r->rest_hash += hash_bytes(buf_str(&expanded));
    struct yaml_split split = yaml_split(buf_str(&expanded), file);
    struct yaml_source src;
    while (need_raw(l) && !l->exhausted && yaml_split_next(&split, &src))
        load_config_document(l, &src);
}

/* ---- after all files ---- */

static void override_tri(enum tri *into, enum tri older)
{
    if (*into == TRI_UNSET)
        *into = older;
}

/* "metrics" wins over "metric", field by field. */
static void merge_metrics(struct config_metrics *m, const struct config_metrics *older)
{
    override_tri(&m->enabled, older->enabled);
    override_tri(&m->record_error_codes, older->record_error_codes);
    override_tri(&m->increased_cardinality, older->increased_cardinality);
    override_tri(&m->exclude_verbs, older->exclude_verbs);
    if (!m->latency_buckets.v)
        m->latency_buckets = older->latency_buckets;
    if (!m->path_matching.v)
        m->path_matching = older->path_matching;
    if (!m->rule) {
        m->rule = older->rule;
        m->n_rules = older->n_rules;
    }
}

static bool parse_rate(str text, double *ret)
{
    char z[64], *end;
    text = str_trim(text);
    if (!text.n || text.n >= sizeof z)
        return false;
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    double rate = strtod(z, &end);
    if (*end || isnan(rate) || rate < 0)
        return false;
    *ret = rate > 1 ? 1 : rate;
    return true;
}

static void finish_tracing(struct bind *b, struct config_raw *raw)
{
    struct config_tracing *t = &raw->c.tracing;
    t->present = raw->tracing != NULL;
    t->otel_secure = tri_or(raw->otel_secure, true);
    t->rate = 0.0001;
    if (t->rate_text.n && !parse_rate(t->rate_text, &t->rate))
        bind_warn(b, bind_get(raw->tracing, S("samplingRate")),
                  "samplingRate \"%.*s\" is not a number in 0 … 1: 0.0001 is used",
                  (int)min_size(t->rate_text.n, 40), t->rate_text.p);
    if (!t->otel_protocol.n)
        t->otel_protocol = S("grpc");
    if (!str_eq(t->otel_protocol, S("http")) && !str_eq(t->otel_protocol, S("grpc")))
        bind_fail(b, bind_get(raw->tracing, S("otel")),
                  "otel.protocol \"%.*s\" is neither http nor grpc",
                  (int)min_size(t->otel_protocol.n, 40), t->otel_protocol.p);
}

static bool parse_action(struct bind *b, const struct yaml_node *at, str text, bool def)
{
    if (text.n && !str_ieq(text, S("allow")) && !str_ieq(text, S("deny")))
        bind_fail(b, at, "accessControl: action \"%.*s\" is neither allow nor deny",
                  (int)min_size(text.n, 40), text.p);
    return text.n ? str_ieq(text, S("allow")) : def;
}

static void check_acl_policy(struct bind *b, struct config_acl_policy *p)
{
    if (!p->app_id.n || !p->trust_domain.n || !p->namespace_.n)
        bind_fail(b, p->at,
                  "accessControl: a policy needs appId, trustDomain and namespace (appId \"%.*s\")",
                  (int)min_size(p->app_id.n, 100), p->app_id.p);
    (void)parse_action(b, p->at, p->default_action, false);
    for (size_t i = 0; i < p->n_operations; i++)
        p->operation[i].allow = parse_action(b, p->at, p->operation[i].action, false);
}

static void finish_acl(struct bind *b, struct config_raw *raw)
{
    struct config_acl *acl = &raw->c.acl;
    acl->present = raw->acl != NULL;
    if (!acl->trust_domain.n)
        acl->trust_domain = S("public");
    if (acl->n_policies && !acl->default_action.n)
        bind_warn(b, raw->acl, "accessControl has policies but no defaultAction: deny is used");
    acl->allow = parse_action(b, raw->acl, acl->default_action, !acl->n_policies);
    for (size_t i = 0; i < acl->n_policies; i++)
        check_acl_policy(b, &acl->policy[i]);
}

static void check_secret_scopes(struct bind *b, const struct configuration *c)
{
    for (size_t i = 0; i < c->n_secret_scopes; i++) {
        const struct config_secret_scope *s = &c->secret_scope[i];
        for (size_t k = 0; k < i; k++)
            if (str_eq(c->secret_scope[k].store, s->store))
                bind_fail(b, s->at, "secrets.scopes: storeName \"%.*s\" is there twice",
                          (int)min_size(s->store.n, 100), s->store.p);
        if (s->default_access.n && !str_ieq(s->default_access, S("allow")) &&
            !str_ieq(s->default_access, S("deny")))
            bind_fail(b, s->at, "secrets.scopes: defaultAccess \"%.*s\" is neither allow nor deny",
                      (int)min_size(s->default_access.n, 40), s->default_access.p);
    }
}

static const struct {
    const char *name;
    bool on; /* when the file doesn't say */
} known_feature[] = {
    { "HotReload", true },
    { "WorkflowsRemoteActivityReminder", true },
    { "ActorStateTTL", false },
    { "WorkflowsClusteredDeployment", false },
    { "WorkflowHistorySigning", false },
    { "WorkflowsFastPath", false },
};

static void check_features(struct bind *b, const struct configuration *c)
{
    for (size_t i = 0; i < c->n_features; i++) {
        char hint[SUGGEST_MAX];
        struct suggest near = { .word = c->feature[i].name };
        bool known = false;
        for (size_t k = 0; k < COUNT(known_feature); k++) {
            known |= str_eq(c->feature[i].name, str_c(known_feature[k].name));
            suggest_offer(&near, str_c(known_feature[k].name));
        }
        if (!known)
            bind_warn(b, c->feature[i].at, "feature \"%.*s\" isn't known here%s: it has no effect",
                      (int)min_size(near.word.n, 60), near.word.p, suggest_text(&near, hint));
    }
}

/* What belongs to parts that aren't here is told, so that nobody relies on it. */
static void tell_absent(struct bind *b, const struct config_raw *raw)
{
    if (raw->wasm)
        bind_warn(b, raw->wasm, "wasm: there is no WebAssembly here: it has no effect");
    if (raw->workflow)
        bind_warn(b, raw->workflow, "workflow: there are no workflows here: it has no effect");
}

static void check_buckets(struct bind *b, const struct config_raw *raw)
{
    const struct ints *list = &raw->c.metrics.latency_buckets;
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i] <= 0 || (i && list->v[i] <= list->v[i - 1])) {
            bind_fail(b, raw->spec,
                      "latencyDistributionBuckets must be whole milliseconds in "
                      "rising order");
            return;
        }
}

void finish_config(struct loader *l)
{
    if (!need_raw(l))
        return;
    struct config_raw *raw = l->raw;
    struct bind b = { &l->r->arena, &l->r->diags, raw->file, DIAG_ERROR };
    merge_metrics(&raw->c.metrics, &raw->metric);
    override_tri(&raw->c.metrics.enabled, TRI_YES);
    override_tri(&raw->c.metrics.increased_cardinality, TRI_YES);
    finish_tracing(&b, raw);
    finish_acl(&b, raw);
    check_secret_scopes(&b, &raw->c);
    check_features(&b, &raw->c);
    check_buckets(&b, raw);
    tell_absent(&b, raw);
    if (b.failed)
        loader_fatal(l, NULL, NULL, "error loading configuration: %s is faulty: see the errors",
                     raw->file);
    l->r->config = raw->c;
}

/* ---- what others ask ---- */

bool config_feature(const struct configuration *c, str name)
{
    bool on = false;
    for (size_t i = 0; i < COUNT(known_feature); i++)
        if (str_eq(str_c(known_feature[i].name), name))
            on = known_feature[i].on;
    for (size_t i = 0; i < c->n_features; i++)
        if (str_eq(c->feature[i].name, name))
            on = c->feature[i].enabled;
    return on;
}

bool config_denies_component(const struct configuration *c, str type, str version)
{
    if (c->denied_components.n && (!type.n || !version.n))
        return true;
    for (size_t i = 0; i < c->denied_components.n; i++) {
        str rule_type, rule_version;
        bool both = str_cut(c->denied_components.v[i], '/', &rule_type, &rule_version);
        if (str_ieq(rule_type, type) && (!both || str_ieq(rule_version, version)))
            return true;
    }
    return false;
}

static bool holds(struct strs list, str s)
{
    for (size_t i = 0; i < list.n; i++)
        if (str_eq(list.v[i], s))
            return true;
    return false;
}

bool config_allows_secret(const struct configuration *c, str store, str key)
{
    for (size_t i = 0; i < c->n_secret_scopes; i++) {
        const struct config_secret_scope *s = &c->secret_scope[i];
        if (!str_eq(s->store, store))
            continue;
        if (s->allowed.n)
            return holds(s->allowed, key);
        return !holds(s->denied, key) && !str_ieq(s->default_access, S("deny"));
    }
    return true;
}
