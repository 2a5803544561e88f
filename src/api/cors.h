/* cors.h — Cross-Origin Resource Sharing by --allowed-origins; without that flag there is none.
 * Owner:  the wrapped exchange lives in the request's arena.   Thread: the exchange's fiber.
 * Failure: a request that can't be wrapped gets an answer without our headers. */
#pragma once

#include "http/server.h"

/* Answers a preflight: true, and that's all. Otherwise *x may be replaced by one whose answers name
 * the caller's origin. origins: comma-separated, "*" = all; NULL or "" = no CORS. It comes before
 * the token check (surprise 8). */
CO bool cors_handle(const char *origins, struct http_exchange **x) WUR;
