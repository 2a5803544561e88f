/* export.h — sends spans that have ended to Zipkin, an OpenTelemetry collector, the log.
 * Owner:  the runtime; export_start() to export_stop().
 * Thread: a fiber of worker 0; start and stop from a thread that is no worker.
 * Failure: a batch that a collector doesn't take is tried again for 30 s, then given up: counted in
 * proa_trace_spans_total and told in the log. Requests never wait for any of this.
 * Limits: batches of 512 spans; while one is under way SPANS_MAX others wait, then new ones are
 * dropped. */
#pragma once

#include "base/error.h"
#include "runtime/tracing.h"

struct exporter;

/* settings are borrowed until the stop. */
int export_start(const struct tracing *settings, struct exporter **ret, struct error *err) WUR;
/* Sends what has ended until now, for at most grace_ns, and frees; NULL is fine. */
void export_stop(struct exporter *e, uint64_t grace_ns);
