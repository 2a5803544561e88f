#include "block/core/observe.h"

#include "base/clock.h"

#include <stdio.h>

#define LABELS_OPERATION                                                                           \
    {                                                                                              \
        "component", "namespace", "operation", "success"                                           \
    }
#define LABELS_EGRESS                                                                              \
    {                                                                                              \
        "component", "namespace", "success", "topic"                                               \
    }

static struct metric_family count_of[OBSERVE_KINDS] = {
    { .name = "dapr_component_state_count",
      .help = "Operations on a state store.",
      .label = LABELS_OPERATION },
    { .name = "dapr_component_secret_count",
      .help = "Operations on a secret store.",
      .label = LABELS_OPERATION },
    { .name = "dapr_component_configuration_count",
      .help = "Operations on a configuration store.",
      .label = LABELS_OPERATION },
    { .name = "dapr_component_output_binding_count",
      .help = "Operations on an output binding.",
      .label = LABELS_OPERATION },
    { .name = "dapr_component_crypto_count",
      .help = "Operations with keys of a crypto provider.",
      .label = LABELS_OPERATION },
};
static struct metric_family latency_of[OBSERVE_KINDS] = {
    { .name = "dapr_component_state_latencies",
      .help = "Time of a state store operation, ms.",
      .kind = METRIC_HISTOGRAM,
      .label = LABELS_OPERATION,
      .buckets = &metric_latency_ms },
    { .name = "dapr_component_secret_latencies",
      .help = "Time of a secret store operation, ms.",
      .kind = METRIC_HISTOGRAM,
      .label = LABELS_OPERATION,
      .buckets = &metric_latency_ms },
    { .name = "dapr_component_configuration_latencies",
      .help = "Time of a configuration store operation, ms.",
      .kind = METRIC_HISTOGRAM,
      .label = LABELS_OPERATION,
      .buckets = &metric_latency_ms },
    { .name = "dapr_component_output_binding_latencies",
      .help = "Time of an output binding operation, ms.",
      .kind = METRIC_HISTOGRAM,
      .label = LABELS_OPERATION,
      .buckets = &metric_latency_ms },
    { .name = "dapr_component_crypto_latencies",
      .help = "Time of an operation of a crypto provider, ms.",
      .kind = METRIC_HISTOGRAM,
      .label = LABELS_OPERATION,
      .buckets = &metric_latency_ms },
};

static struct metric_family rpc_count = {
    .name = "dapr_grpc_io_client_completed_rpcs",
    .help = "gRPC calls to the app or a peer that ended.",
    .label = { "grpc_client_method", "grpc_client_status" },
};
static struct metric_family rpc_latency = {
    .name = "dapr_grpc_io_client_roundtrip_latency",
    .help = "Time of a gRPC call to the app or a peer, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "grpc_client_method", "grpc_client_status" },
};
static struct metric_family rpc_sent = {
    .name = "dapr_grpc_io_client_sent_bytes_per_rpc",
    .help = "Size of the messages of a call.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
    .label = { "grpc_client_method" },
};
static struct metric_family rpc_received = {
    .name = "dapr_grpc_io_client_received_bytes_per_rpc",
    .help = "Size of the messages of a call's answer.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
    .label = { "grpc_client_method" },
};

static struct metric_family egress_count = {
    .name = "dapr_component_pubsub_egress_count",
    .help = "Messages published.",
    .label = LABELS_EGRESS,
};
static struct metric_family egress_latency = {
    .name = "dapr_component_pubsub_egress_latencies",
    .help = "Time of a publish, ms.",
    .kind = METRIC_HISTOGRAM,
    .label = LABELS_EGRESS,
    .buckets = &metric_latency_ms,
};
static struct metric_family egress_bulk_count = {
    .name = "dapr_component_pubsub_egress_bulk_count",
    .help = "Bulk publishes.",
    .label = LABELS_EGRESS,
};
static struct metric_family egress_bulk_latency = {
    .name = "dapr_component_pubsub_egress_bulk_latencies",
    .help = "Time of a bulk publish, ms.",
    .kind = METRIC_HISTOGRAM,
    .label = LABELS_EGRESS,
    .buckets = &metric_latency_ms,
};
static struct metric_family ingress_count = {
    .name = "dapr_component_pubsub_ingress_count",
    .help = "Messages that came to the app.",
    .label = { "component", "namespace", "process_status", "status", "topic" },
};
static struct metric_family ingress_latency = {
    .name = "dapr_component_pubsub_ingress_latencies",
    .help = "Time the app took for a message, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "component", "namespace", "process_status", "status", "topic" },
};
static struct metric_family ingress_bulk_count = {
    .name = "dapr_component_pubsub_ingress_bulk_count",
    .help = "Bulk messages that came to the app.",
    .label = { "component", "namespace", "process_status", "topic" },
};
static struct metric_family ingress_bulk_events = {
    .name = "dapr_component_pubsub_ingress_bulk_event_count",
    .help = "Bulk messages, once for each way in which any of their events ended.",
    .label = { "component", "namespace", "process_status", "topic" },
};
static struct metric_family ingress_bulk_latency = {
    .name = "dapr_component_pubsub_ingress_bulk_latencies",
    .help = "Time the app took for a bulk message, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "component", "namespace", "process_status", "topic" },
};
static struct metric_family input_count = {
    .name = "dapr_component_input_binding_count",
    .help = "Events of an input binding.",
    .label = { "component", "namespace", "success" },
};
static struct metric_family input_latency = {
    .name = "dapr_component_input_binding_latencies",
    .help = "Time of an input binding event, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "component", "namespace", "success" },
};

static str truth(bool v)
{
    return v ? S("true") : S("false");
}

static double ms_since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) / 1e6;
}

static struct feed_edge *edge_of(enum observed what, const struct blocks *b, const char *component)
{
    char to[256];
    if (what == OBSERVE_STATE)
        snprintf(to, sizeof to, "store:%s@%s", component, b->app_id);
    else
        snprintf(to, sizeof to, "%s:%s", what == OBSERVE_BINDING ? "binding" : "store", component);
    return feed_edge(str_c(b->app_id), str_c(to),
                     what == OBSERVE_STATE ? FEED_STATE : FEED_BINDING);
}

static void find_cells(struct observer *o, enum observed what, const struct blocks *b,
                       const char *component, const char *operation, bool success)
{
    str labels[] = { str_c(component), str_c(b->namespace_), str_c(operation), truth(success) };
    atomic_store_explicit(&o->latency[success], metric_cell(&latency_of[what], labels),
                          memory_order_relaxed);
    if (what == OBSERVE_STATE || what == OBSERVE_BINDING)
        atomic_store_explicit(&o->edge, edge_of(what, b, component), memory_order_relaxed);
    /* The count comes last: whoever sees it sees the others. */
    atomic_store_explicit(&o->count[success], metric_cell(&count_of[what], labels),
                          memory_order_release);
}

void observe(struct observer *o, enum observed what, const struct blocks *b, const char *component,
             const char *operation, uint64_t start_ns, enum outcome outcome)
{
    bool success = outcome == OUTCOME_OK;
    struct metric_cell *count = atomic_load_explicit(&o->count[success], memory_order_acquire);
    if (UNLIKELY(!count)) {
        find_cells(o, what, b, component, operation, success);
        count = atomic_load_explicit(&o->count[success], memory_order_acquire);
    }
    uint64_t took = clock_now_ns() - start_ns;
    metric_add(count, 1);
    metric_observe(&latency_of[what], o->latency[success], (double)took / 1e6);
    struct feed_edge *edge = atomic_load_explicit(&o->edge, memory_order_relaxed);
    if (edge)
        feed_record(edge, took, outcome == OUTCOME_FAILED);
}

/* "topic:<pubsub>/<topic>", cut to what an edge's name may hold. */
static str topic_id(char to[256], str pubsub, str topic)
{
    const str part[] = { S("topic:"), str_take(pubsub, 100), S("/"), str_take(topic, 140) };
    size_t n = 0;
    for (size_t i = 0; i < COUNT(part); i++) {
        if (part[i].n)
            memcpy(to + n, part[i].p, part[i].n);
        n += part[i].n;
    }
    return str_of(to, n);
}

static void count_egress(struct metric_family *count, struct metric_family *latency,
                         const struct blocks *b, str pubsub, str topic, uint64_t start_ns,
                         bool success)
{
    char id[256];
    str labels[] = { pubsub, str_c(b->namespace_), truth(success), topic };
    uint64_t took = clock_now_ns() - start_ns, hash = metric_hash(labels, COUNT(labels));
    metric_add(metric_cell_hashed(count, labels, hash), 1);
    metric_observe(latency, metric_cell_hashed(latency, labels, hash), (double)took / 1e6);
    feed_record(feed_edge(str_c(b->app_id), topic_id(id, pubsub, topic), FEED_PUBLISH), took,
                !success);
}

void observe_egress(const struct blocks *b, str pubsub, str topic, uint64_t start_ns, bool success)
{
    count_egress(&egress_count, &egress_latency, b, pubsub, topic, start_ns, success);
}

void observe_egress_bulk(const struct blocks *b, str pubsub, str topic, uint64_t start_ns,
                         bool success)
{
    count_egress(&egress_bulk_count, &egress_bulk_latency, b, pubsub, topic, start_ns, success);
}

void observe_ingress(const struct blocks *b, str pubsub, str topic, const char *process_status,
                     const char *status, uint64_t start_ns)
{
    str labels[] = { pubsub, str_c(b->namespace_), str_c(process_status), str_c(status), topic };
    metric_add(metric_cell(&ingress_count, labels), 1);
    metric_observe(&ingress_latency, metric_cell(&ingress_latency, labels), ms_since(start_ns));
    char id[256];
    feed_record(feed_edge(topic_id(id, pubsub, topic), str_c(b->app_id), FEED_DELIVER),
                clock_now_ns() - start_ns, !str_eq(str_c(process_status), S("success")));
}

void observe_ingress_bulk(const struct blocks *b, str topic, size_t succeeded, size_t failed,
                          uint64_t start_ns)
{
    /* The component label is this literal text in the contract: surprise 76. */
    str labels[] = { S("pubsubName"), str_c(b->namespace_), failed ? S("retry") : S("success"),
                     topic };
    metric_add(metric_cell(&ingress_bulk_count, labels), 1);
    metric_observe(&ingress_bulk_latency, metric_cell(&ingress_bulk_latency, labels),
                   ms_since(start_ns));
    /* Counts recordings, not events: surprise 76 again. */
    if (failed)
        metric_add(metric_cell(&ingress_bulk_events, labels), 1);
    labels[2] = S("success");
    if (succeeded)
        metric_add(metric_cell(&ingress_bulk_events, labels), 1);
}

void observe_input(const struct blocks *b, const char *binding, uint64_t start_ns, bool success)
{
    str labels[] = { str_c(binding), str_c(b->namespace_), truth(success) };
    metric_add(metric_cell(&input_count, labels), 1);
    metric_observe(&input_latency, metric_cell(&input_latency, labels), ms_since(start_ns));
    char from[256];
    snprintf(from, sizeof from, "binding:%s", binding);
    feed_record(feed_edge(str_c(from), str_c(b->app_id), FEED_BINDING), clock_now_ns() - start_ns,
                !success);
}

void observe_rpc(str method, enum code code, uint64_t sent, uint64_t received, uint64_t start_ns)
{
    str label[] = { method, str_c(code_go_name(code)) };
    metric_add(metric_cell(&rpc_count, label), 1);
    metric_observe(&rpc_latency, metric_cell(&rpc_latency, label), ms_since(start_ns));
    metric_observe(&rpc_sent, metric_cell(&rpc_sent, label), (double)sent);
    metric_observe(&rpc_received, metric_cell(&rpc_received, label), (double)received);
}

void observe_call(str from, str to, uint64_t start_ns, bool failed)
{
    feed_record(feed_edge(from, to, FEED_INVOKE), clock_now_ns() - start_ns, failed);
}
