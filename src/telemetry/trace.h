/* trace.h — W3C Trace Context (https://www.w3.org/TR/trace-context/), carried from caller to
 * callee. Owner:  slices are the request's.   Thread: any.   Failure: a malformed traceparent
 * counts as none. */
#pragma once

#include "base/arena.h"

enum { TRACEPARENT_LEN = 55 };

struct trace_context {
    char parent[TRACEPARENT_LEN + 1]; /* "00-<32 hex>-<16 hex>-<2 hex>"; "" = none */
    str state;                        /* tracestate, borrowed; empty = none */
};

bool trace_parent_valid(str traceparent);
/* Takes over what the headers say; state longer than 512 bytes is dropped. */
void trace_read(struct trace_context *t, str traceparent, str tracestate);
/* "00-<32 hex>-…" → the 32 hex digits; empty without a context. */
str trace_id(const struct trace_context *t);
