/* observe.h — counts and times what the blocks do, for the metrics endpoint and the live page.
 * Owner:  an observer sits in its instance and remembers its cells, so that the hot path looks
 * nothing up. Thread: any (two threads may find the same cell at once: they find the same one).
 * Failure: none. */
#pragma once

#include "block/core/block.h"
#include "telemetry/feed.h"
#include "telemetry/metrics.h"

enum observed {
    OBSERVE_STATE,
    OBSERVE_SECRET,
    OBSERVE_CONFIGURATION,
    OBSERVE_BINDING,
    OBSERVE_CRYPTO,
    OBSERVE_KINDS
};

struct observer {
    struct metric_cell *_Atomic count[2], *_Atomic latency[2]; /* [success] */
    struct feed_edge *_Atomic edge;
};

/* A refusal (a stale ETag) is no success in the contract's metrics, but no error of the store on
 * the page. */
enum outcome { OUTCOME_FAILED, OUTCOME_OK, OUTCOME_REFUSED };

/* One component operation that began at start_ns (clock_now_ns()). operation: "get", "set" … */
void observe(struct observer *o, enum observed what, const struct blocks *b, const char *component,
             const char *operation, uint64_t start_ns, enum outcome outcome);

/* Publishes: dapr_component_pubsub_egress_*. */
void observe_egress(const struct blocks *b, str pubsub, str topic, uint64_t start_ns, bool success);
void observe_egress_bulk(const struct blocks *b, str pubsub, str topic, uint64_t start_ns,
                         bool success);
/* Deliveries: dapr_component_pubsub_ingress_*. process_status "success", "retry", "drop"; status as
 * the app said. */
void observe_ingress(const struct blocks *b, str pubsub, str topic, const char *process_status,
                     const char *status, uint64_t start_ns);
/* succeeded, failed: how many of its events. */
void observe_ingress_bulk(const struct blocks *b, str topic, size_t succeeded, size_t failed,
                          uint64_t start_ns);
/* Events of an input binding. */
void observe_input(const struct blocks *b, const char *binding, uint64_t start_ns, bool success);
/* gRPC calls of ours, to the app or passed on to a peer: dapr_grpc_io_client_*. sent, received:
 * bytes of the messages. */
void observe_rpc(str method, enum code code, uint64_t sent, uint64_t received, uint64_t start_ns);
/* Calls from one service to another, as the page shows them. */
void observe_call(str from, str to, uint64_t start_ns, bool failed);
