#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "format/json.h"
#include "runtime/private.h"
#include "telemetry/http_labels.h"
#include "telemetry/metric_rules.h"
#include "telemetry/metrics.h"
#include "telemetry/span.h"

/* What the Configuration asks of metrics and traces. */

/* ---- metrics ---- */

static int set_rules(struct runtime *r, const struct config_metrics *m, struct error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_rules; i++)
        for (size_t k = 0; k < m->rule[i].n_labels; k++)
            n += m->rule[i].label[k].regex.n;
    struct metric_rule *rule = arena_alloc(&r->arena, n * sizeof *rule);
    if (!rule)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    n = 0;
    for (size_t i = 0; i < m->n_rules; i++)
        for (size_t k = 0; k < m->rule[i].n_labels; k++) {
            const struct config_metric_label *l = &m->rule[i].label[k];
            for (size_t x = 0; x < l->regex.n; x++) /* replacement: regex */
                rule[n++] = (struct metric_rule){ m->rule[i].name, l->name, l->regex.v[x].value,
                                                  l->regex.v[x].key };
        }
    return metric_rules_setup(rule, n, err);
}

/* Tools look for increasedCardinality in it (facts 9.3). */
static void log_metrics(const struct config_metrics *m)
{
    struct json_w w;
    AUTO(buf_done) struct buf out;
    buf_init(&out, KIB(64));
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    json_w_key(&w, S("enabled"));
    json_w_bool(&w, m->enabled != TRI_NO);
    json_w_key(&w, S("recordErrorCodes"));
    json_w_bool(&w, m->record_error_codes == TRI_YES);
    json_w_key(&w, S("http"));
    json_w_object(&w);
    json_w_key(&w, S("increasedCardinality"));
    json_w_bool(&w, m->increased_cardinality != TRI_NO);
    json_w_key(&w, S("excludeVerbs"));
    json_w_bool(&w, m->exclude_verbs == TRI_YES);
    json_w_key(&w, S("pathMatching"));
    json_w_array(&w);
    for (size_t i = 0; i < m->path_matching.n; i++)
        json_w_str(&w, m->path_matching.v[i]);
    json_w_array_end(&w);
    json_w_object_end(&w);
    json_w_key(&w, S("rules"));
    json_w_u64(&w, m->n_rules);
    json_w_object_end(&w);
    log_info(RUNTIME_SCOPE, "metric spec: " STR_FMT, STR_ARG(buf_str(&out)));
}

static int start_metrics(struct runtime *r, struct error *err)
{
    const struct config_metrics *m = &r->resources->config.metrics;
    struct http_labels labels = {
        .increased_cardinality = m->increased_cardinality != TRI_NO,
        .exclude_verbs = m->exclude_verbs == TRI_YES,
        .pattern = m->path_matching.v,
        .n_patterns = m->path_matching.n,
    };
    if (m->latency_buckets.n &&
        !metrics_latency_buckets(m->latency_buckets.v, m->latency_buckets.n))
        log_warn(RUNTIME_SCOPE,
                 "Configuration: metric.latencyDistributionBuckets has no effect: at most %d, and "
                 "they can't change while the process runs",
                 METRIC_BUCKETS);
    log_metrics(m);
    int code = http_labels_setup(&labels, err);
    return code < 0 ? code : set_rules(r, m, err);
}

/* ---- traces ---- */

/* Spans are on before anything is served, and go on to be sent until everything has ended. */
static int start_tracing(struct runtime *r, struct error *err)
{
    struct tracing *t = &r->tracing;
    char sampler[TRACER_TEXT];
    int code = tracing_read(&r->resources->config.tracing, str_c(r->options->app_id), host_getenv,
                            NULL, &r->arena, t, err);
    if (code < 0)
        return code;
    tracer_describe(t->rate, sampler);
    log_info(RUNTIME_SCOPE, "Dapr trace sampler initialized: %s", sampler);
    bool record = t->on && (t->n_targets || t->to_stdout);
    if (record)
        code = export_start(t, &r->exporter, err);
    tracer_setup(&(struct tracer_config){ .on = t->on, .rate = t->rate, .record = record });
    return code;
}

int telemetry_start(struct runtime *r, struct error *err)
{
    int code = start_metrics(r, err);
    return code < 0 ? code : start_tracing(r, err);
}

void telemetry_stop(struct runtime *r, uint64_t until)
{
    static const uint64_t LONGEST = SEC(5);
    uint64_t now = clock_now_ns();
    export_stop(TAKE(r->exporter), until > now ? min_u64(until - now, LONGEST) : 0);
    tracer_setup(&(struct tracer_config){ 0 });
}
