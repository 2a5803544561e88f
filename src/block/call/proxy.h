/* proxy.h — what passing a gRPC call of any service on means: to our own app, or to another app's
 * sidecar, with its policies (facts 3.6).
 * Owner:  the caller's frame.   Thread: the exchange's fiber, any worker.
 * Failure: negative with *err: the caller of the exchange has not been answered. 0 = it has, be it
 * with the callee's own failure. Limits: max_message a message; nothing is gathered, but for the
 * one message that a policy with retries may send again. */
#pragma once

#include "block/core/block.h"
#include "http/server.h"

struct proxy_call {
    struct blocks *b;
    struct http_exchange *x; /* HTTP/2 */
    str path;                /* "/package.Service/Method", as the callee gets it */
    size_t max_message;
    bool stream;      /* dapr-stream: true: the policies are for the start of the call alone */
    enum code status; /* out: what was passed on */
};

/* "orders" or "orders.prod" of dapr-app-id, to ours or another's. */
CO int proxy_to(struct proxy_call *p, str app_id, struct error *err) WUR;
/* The last leg. */
CO int proxy_to_app(struct proxy_call *p, struct error *err) WUR;
bool proxy_is_own(const struct blocks *b, str app_id);
