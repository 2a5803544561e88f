/* pipeline.h — HTTP middlewares around an exchange, for the API (httpPipeline) and the app
 * (appHttpPipeline). Owner:  the runtime builds them at start; immutable afterwards. Thread: any
 * worker.   Failure: a middleware answers by itself and doesn't go on. */
#pragma once

#include "block/core/block.h"
#include "http/server.h"

typedef CO void pipeline_end_fn(void *arg, struct http_exchange *x);

/* Runs x through the middlewares in order, then end(arg, x). An empty pipeline costs nothing. */
CO void pipeline_run(const struct pipeline *p, struct http_exchange *x, pipeline_end_fn *end,
                     void *arg);
