/* grpc_watch.h — what is counted and told of each call of the gRPC API (facts 7, 3.1).
 * Owner:  none.   Thread: the call's fiber.
 * Failure: none. Limit: methods past METRIC_CELLS are counted as "_overflow". */
#pragma once

#include "api/grpc_call.h"

void grpc_measure(const struct grpc_call *c, enum code code, uint64_t start_ns);
/* --enable-api-logging */
void grpc_log(const struct grpc_call *c, enum code code, uint64_t start_ns);
