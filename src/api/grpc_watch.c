#include "api/grpc_watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "component/config.h"
#include "component/resource.h"
#include "telemetry/metrics.h"

#include <stdio.h>

static struct metric_family completed = {
    .name = "dapr_grpc_io_server_completed_rpcs",
    .help = "Calls of the gRPC API that have ended.",
    .label = { "grpc_server_method", "grpc_server_status" },
};
static struct metric_family latency = {
    .name = "dapr_grpc_io_server_server_latency",
    .help = "Time of a call of the gRPC API, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "grpc_server_method", "grpc_server_status" },
};
static struct metric_family received = {
    .name = "dapr_grpc_io_server_received_bytes_per_rpc",
    .help = "Size of the messages of a call.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
    .label = { "grpc_server_method" },
};
static struct metric_family sent = {
    .name = "dapr_grpc_io_server_sent_bytes_per_rpc",
    .help = "Size of the messages of a call's answer.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
    .label = { "grpc_server_method" },
};

void grpc_measure(const struct grpc_call *c, enum code code, uint64_t start_ns)
{
    const struct http_exchange *x = c->x;
    str label[] = { x->req.path, str_c(code_go_name(code)) };
    uint64_t hash = metric_hash(label, 2), method = metric_hash(label, 1);
    metric_add(metric_cell_hashed(&completed, label, hash), 1);
    metric_observe(&latency, metric_cell_hashed(&latency, label, hash),
                   (double)(clock_now_ns() - start_ns) / 1e6);
    metric_observe(&received, metric_cell_hashed(&received, label, method), (double)x->bytes_in);
    metric_observe(&sent, metric_cell_hashed(&sent, label, method), (double)x->bytes_out);
}

void grpc_log(const struct grpc_call *c, enum code code, uint64_t start_ns)
{
    if (!c->config->log_requests)
        return;
    char method[300], agent[200], number[16], took[32];
    snprintf(method, sizeof method, STR_FMT, STR_ARG(str_take(c->x->req.path, 290)));
    snprintf(agent, sizeof agent, STR_FMT,
             STR_ARG(str_take(http_headers_get(&c->x->req.headers, S("user-agent")), 190)));
    snprintf(number, sizeof number, "%d", (int)code);
    snprintf(took, sizeof took, "%llu", (unsigned long long)((clock_now_ns() - start_ns) / MS(1)));
    const char *fields[] = { "method", method,     "useragent", agent, "code",
                             number,   "duration", took,        NULL };
    log_fields(LOG_INFO, "dapr.runtime.grpc.api-info", fields, "gRPC API Called");
}
