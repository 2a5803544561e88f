/* headers.h — what Proa's sidecars, and the callers who want to, say in headers of ours: HTTP's, or
 * gRPC metadata. A daprd between two of us passes them on.
 * Owner, thread, failure: none; these are names. */
#pragma once

/* ---- along a chain of calls: app/context.h ---- */

/* How important the work is: critical, high, normal, low or background. */
#define PRIORITY_HEADER "proa-priority"
/* What is left of the deadline, in the words of grpc-timeout: "250m". */
#define TIMEOUT_HEADER "proa-timeout"

/* ---- on an answer; where gRPC is proxied, among its trailers ---- */

/* On a refusal: limit, queue, deadline, priority or rate. */
#define SHED_HEADER "proa-shed"
/* Between sidecars: how much of what the app can do is in use, 0 … 1000. */
#define LOAD_HEADER "proa-load"
/* Its sidecar is about to stop: no further call goes there. */
#define DRAINING_HEADER "proa-draining"
/* On a failure (gRPC: among the trailers): calls that were made for this one have been tried again
 * in vain, or turned away; trying it again makes things worse (app/retried.h). */
#define RETRIED_HEADER "proa-retried"

/* ---- between sidecars, where one calls the other in plain HTTP ---- */

/* On the internal port: which app the call is for. */
#define DIRECT_HEADER "proa-direct"
/* With status 503: nothing has reached the app, so another instance may be asked at once. */
#define UNDELIVERED_HEADER "proa-undelivered"
