/* grpc_proxy.h — calls of services that aren't ours, passed on: which app, and whether it may.
 * Owner:  the exchange's.   Thread: the exchange's fiber.
 * Failure: negative with *err: nothing has been answered. */
#pragma once

#include "block/core/block.h"
#include "http/server.h"

/* From the API port: to whom metadata dapr-app-id names. max_message: bytes; *ret_code: the status
 * that was passed on. */
CO int grpc_proxy(struct blocks *b, struct http_exchange *x, size_t max_message,
                  enum code *ret_code, struct error *err) WUR;
/* From the internal port: another sidecar has passed it on to our app. */
CO int grpc_proxy_internal(struct blocks *b, struct http_exchange *x, size_t max_message,
                           struct error *err) WUR;
