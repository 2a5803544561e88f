/* grpc_health.h — gRPC's health checking protocol (grpc.health.v1) on the API port.
 * Owner:  none.   Thread: the exchange's fiber.
 * Failure: a service that nobody knows: NOT_FOUND (Check), SERVICE_UNKNOWN (Watch). A Watch ends
 * with UNAVAILABLE when the sidecar is about to stop.
 *
 * Names: "" and the API's own service, and proa.ready: as /proa/v1/readyz; proa.started, proa.live:
 * as startupz and livez. */
#pragma once

#include "api/grpc_call.h"

/* Asked of us, and not, by dapr-app-id, of an app. */
bool health_serves(const struct grpc_call *c);
CO int health_run(struct grpc_call *c, struct error *err) WUR;
