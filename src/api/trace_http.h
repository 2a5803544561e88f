/* trace_http.h — the span of a request to the HTTP API: its parent from the caller, its context to
 * whoever is called next and back in the answer.
 * Owner:  the span is the caller's frame.   Thread: the exchange's fiber.
 * Failure: malformed baggage is answered with 400, a span that can't be kept is dropped. */
#pragma once

#include "api/routes.h"
#include "telemetry/span.h"

/* With tracing on and not for health: starts the span; r->trace becomes its context, and r->x an
 * exchange whose answer names it. False: the request has been answered. */
CO bool trace_http_begin(struct request *r, struct span *s) WUR;
/* route as it was found in the end; NULL = the fallback. */
void trace_http_end(const struct request *r, const struct route *route, struct span *s);
