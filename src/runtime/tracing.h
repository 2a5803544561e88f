/* tracing.h — what the Configuration and OpenTelemetry's environment ask of tracing, as one answer.
 * Owner:  everything lives in the caller's arena or in the resources.   Thread: any; pure.
 * Failure: -INVALID and what to write instead.
 * Precedence (facts 4.3, surprise 59): an endpoint of the file hides those of the environment;
 * headers and timeouts of the file hide the environment's; of the environment's own, the variable
 * for traces hides the general one. */
#pragma once

#include "component/config.h"
#include "telemetry/encode.h"

enum trace_protocol { TRACE_ZIPKIN, TRACE_OTLP_HTTP, TRACE_OTLP_GRPC };
enum { TRACE_TARGETS = 2 };

struct trace_target {
    enum trace_protocol protocol;
    bool secure;
    str ca_file; /* PEM; empty = the system's roots */
    str host, authority, path;
    const char *address; /* "host:port" */
    struct kvs headers;  /* lower-case names */
    uint64_t timeout_ns; /* of one try */
};
struct tracing {
    bool on;
    double rate;
    bool to_stdout;
    struct trace_target target[TRACE_TARGETS];
    size_t n_targets;
    struct trace_resource resource;
};

typedef str tracing_getenv(void *arg, str name); /* .p NULL = not set */
int tracing_read(const struct config_tracing *c, str app_id, tracing_getenv *env, void *arg,
                 struct arena *a, struct tracing *ret, struct error *err) WUR;
