/* trace.h — trace context from caller to callee: W3C Trace Context
 * (https://www.w3.org/TR/trace-context/), its binary form in gRPC's grpc-trace-bin, and W3C
 * Baggage. Owner:  slices are the request's.   Thread: any. Failure: a malformed traceparent or
 * grpc-trace-bin counts as none, a malformed tracestate is dropped. Limits: tracestate 512 bytes
 * and 32 members, baggage 8192 bytes. */
#pragma once

#include "base/arena.h"

enum {
    TRACEPARENT_LEN = 55,
    TRACE_BINARY_LEN = 29,
    TRACE_BINARY_TEXT = 39, /* as metadata: base64 without padding */
    TRACE_STATE_MAX = 512,
    TRACE_BAGGAGE_MAX = 8192,
};

struct trace_context {
    char parent[TRACEPARENT_LEN + 1]; /* "00-<32 hex>-<16 hex>-<2 hex>"; "" = none */
    str state;                        /* tracestate, borrowed; empty = none */
};

bool trace_parent_valid(str traceparent);
/* Takes over what the headers say. */
void trace_read(struct trace_context *t, str traceparent, str tracestate);
/* The same for gRPC metadata: grpc-trace-bin (base64) counts before traceparent. */
void trace_read_grpc(struct trace_context *t, str trace_bin, str traceparent, str tracestate);
/* "00-<32 hex>-…" → the 32 hex digits; empty without a context. */
str trace_id(const struct trace_context *t);
bool trace_sampled(const struct trace_context *t);

/* The binary form: version 0, then fields 0 (trace id), 1 (span id) and 2 (flags), each behind its
 * number. */
bool trace_from_binary(str binary, char ret_parent[TRACEPARENT_LEN + 1]);
/* What goes into grpc-trace-bin; empty without a context. */
str trace_binary_text(const struct trace_context *t, char to[TRACE_BINARY_TEXT + 1]);

/* key=value members, as the contract takes them: keys are tokens, neither key nor value is empty.
 */
bool trace_baggage_valid(str baggage);
