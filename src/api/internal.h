/* internal.h — what both ways between sidecars, plain HTTP and gRPC, have in common: a call from
 * another service is counted, and is a span.
 * Owner:  the struct is the caller's frame, its texts live in the exchange's arena.
 * Thread: the exchange's fiber.   Failure: none; without memory the app isn't told the span. */
#pragma once

#include "block/core/block.h"
#include "http/message.h"
#include "telemetry/span.h"

struct internal_call {
    str caller; /* its app id; "" = it names none */
    struct span span;
};

/* A call that came in: req is what the app will get, target what it asks for. outer: the gRPC
 * metadata around it, which may hold the trace in its binary form; NULL = there is none. */
void internal_received(struct internal_call *c, const struct blocks *b, struct http_request *req,
                       str target, const struct http_headers *outer);
/* Its answer. */
void internal_answered(struct internal_call *c, int status);
