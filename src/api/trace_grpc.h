/* trace_grpc.h — the span of a call of the gRPC API, as trace_http.h has it for HTTP: parent from
 * grpc-trace-bin or traceparent, context to whoever is called next and back in the metadata.
 * Owner:  the span is the caller's frame.   Thread: the exchange's fiber.
 * Failure: malformed baggage is INVALID_ARGUMENT, a span that can't be kept is dropped. */
#pragma once

#include "api/grpc_call.h"
#include "telemetry/span.h"

/* c->trace becomes the call's context, in any case; with tracing on it is a span's. */
int trace_grpc_begin(struct grpc_call *c, struct span *s, struct error *err) WUR;
/* What a request says: store, topic, callee. Before the method is called. */
void trace_grpc_tell(const struct grpc_call *c, const void *in);
void trace_grpc_end(const struct grpc_call *c, struct span *s, const struct error *err);
