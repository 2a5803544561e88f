/* encode.h — spans as collectors take them: OTLP (protobuf) and Zipkin v2 (JSON).
 * Owner:  the caller's buffer.   Thread: any; pure.
 * Failure: that of the buffer (buf_ok()). Bytes that aren't UTF-8 become U+FFFD. */
#pragma once

#include "base/buf.h"
#include "telemetry/span.h"

struct trace_attribute {
    str key, value;
};
struct trace_resource { /* who made the spans */
    str service;        /* service.name */
    const struct trace_attribute *attribute;
    size_t n; /* besides service.name */
};

/* opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest. */
void encode_otlp(struct buf *out, const struct trace_resource *r, const struct span_block *spans);
/* A JSON array for POST /api/v2/spans. */
void encode_zipkin(struct buf *out, const struct trace_resource *r, const struct span_block *spans);
