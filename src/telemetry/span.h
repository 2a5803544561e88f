/* span.h — spans: whether a trace is sampled, what a span carries, and the queue to whoever exports
 * them. Owner:  a struct span is its caller's frame; what it records sits in a block of its own,
 * which goes to the exporter at the end. Thread: any; a span belongs to one fiber. Ending one takes
 * no lock and never waits. Failure: a span without a block (out of memory, or SPANS_MAX in progress
 * and waiting) is counted as dropped, its context goes on all the same. Limits: below; what doesn't
 * fit is cut, further attributes are counted. Cost: with tracing off one branch; not sampled, an id
 * and no memory. */
#pragma once

#include "telemetry/trace.h"

#include <stdatomic.h>

enum {
    SPANS_MAX = 8192, /* blocks, in progress and waiting for the exporter */
    SPAN_ATTRS = 24,  /* attributes of one span */
    SPAN_TEXT = 2048, /* bytes of name, keys, values, status and tracestate together */
    SPAN_VALUE = 512, /* bytes of one value or of the name */
};
enum span_kind { /* the numbers of OTLP */
                 SPAN_INTERNAL = 1,
                 SPAN_SERVER,
                 SPAN_CLIENT,
                 SPAN_PRODUCER,
                 SPAN_CONSUMER,
};
enum span_status { SPAN_UNSET, SPAN_OK, SPAN_ERROR };

/* ---- the tracer: one for the process ---- */

struct tracer_config {
    bool on;     /* spans get ids, contexts go on with them */
    double rate; /* share of the traces that begin here which are sampled, 0 … 1 */
    bool record; /* somebody exports: sampled spans are kept */
};
/* At start, and again when the runtime is rebuilt. */
void tracer_setup(const struct tracer_config *config);
extern atomic_bool tracer_enabled; /* for tracer_on() */
static inline bool tracer_on(void)
{
    return atomic_load_explicit(&tracer_enabled, memory_order_relaxed);
}
enum { TRACER_TEXT = 256 };
/* OpenTelemetry's description of the sampler, as the log shows it. */
void tracer_describe(double rate, char ret[TRACER_TEXT]);

/* ---- a span ---- */

struct span_block;
struct span {
    struct trace_context context; /* of this span: what callees get */
    struct span_block *block;     /* NULL = nothing is recorded */
};

/* A child of parent (by its ids and its decision), or the first of a new trace when there is none.
 * With tracing off the parent's context goes on unchanged. */
void span_start(struct span *s, const struct trace_context *parent, enum span_kind kind);
static inline bool span_recorded(const struct span *s)
{
    return s->block != NULL;
}
/* All of these do nothing when the span isn't recorded; texts are copied. */
void span_name(struct span *s, const str *part, size_t n); /* joined; the last call counts */
void span_attr(struct span *s, str key, str value);        /* an empty value is left out */
void span_attr_joined(struct span *s, str key, const str *part, size_t n);
void span_fail(struct span *s, str why); /* status ERROR */
/* The status by the contract's rule for HTTP: 400 and above is an error. */
void span_http_status(struct span *s, int status);
void span_end(struct span *s); /* once; the context stays good */

/* ---- for the exporter ---- */

struct span_slice {
    uint16_t at, n;
};
struct span_block {
    struct span_block *next;
    uint8_t trace_id[16], id[8], parent[8];
    bool has_parent;
    enum span_kind kind;
    enum span_status status;
    uint64_t start_ns, end_ns; /* wall clock */
    uint64_t began_ns;         /* monotonic */
    struct span_slice name, state, why;
    uint16_t n_attrs, dropped_attrs, used;
    struct span_slice key[SPAN_ATTRS], value[SPAN_ATTRS];
    char text[SPAN_TEXT];
};
static inline str span_text(const struct span_block *b, struct span_slice s)
{
    return str_of(b->text + s.at, s.n);
}

/* What has ended since the last call, the oldest first; span_release() frees the list. */
struct span_block *span_take(void);
void span_release(struct span_block *list);
/* Counts spans for proa_trace_spans_total: handed to a collector, or given up. */
void span_exported(size_t n, bool ok);
