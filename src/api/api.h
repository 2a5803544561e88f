/* api.h — the HTTP edge: decodes requests, calls the blocks, encodes answers; decides nothing.
 * Owner:  the runtime.   Thread: each request in its fiber.
 * Failure: every refusal has the contract's errorCode; what matches no route is a service
 * invocation. */
#pragma once

#include "block/core/block.h"
#include "http/server.h"

struct api;
struct sidecar_info; /* metadata.h */

enum host_probe {
    PROBE_LIVE,    /* it works at all */
    PROBE_STARTED, /* what is waited for at the start has come: components, the app */
    PROBE_READY,   /* it takes calls: started, the app healthy, and not about to stop */
    PROBE_STAYS,   /* it isn't about to stop */
};

/* What the routes about the sidecar itself ask the runtime. */
struct api_host {
    void *arg;
    bool (*ready)(void *arg, struct error *err); /* healthz: everything, the app included */
    bool (*outbound_ready)(void *arg, struct error *err);               /* healthz/outbound */
    bool (*probe)(void *arg, enum host_probe probe, struct error *err); /* /proa/v1/…z */
    CO void (*shutdown)(void *arg, bool force);
    CO int (*describe)(void *arg, struct arena *a, struct sidecar_info *ret);
    int (*set_metadata)(void *arg, str key, str value);
    CO void (*write_feed)(void *arg, struct buf *out);
};

struct api_config {
    struct blocks *blocks;
    struct api_host host;
    const char *token;           /* DAPR_API_TOKEN or NULL */
    const char *allowed_origins; /* NULL or "" = no CORS */
    uint64_t max_body_bytes;     /* 0 = no limit */
    bool log_requests;           /* --enable-api-logging */
};

int api_new(const struct api_config *config, struct api **ret, struct error *err) WUR;
void api_free(struct api *a);

/* Handlers for http_server_config. */
CO void api_handle(void *api, struct http_exchange *x); /* the HTTP API */
CO void api_handle_public(void *api,
                          struct http_exchange *x); /* --dapr-public-port: health and metadata */
CO void api_handle_internal(void *api, struct http_exchange *x); /* between sidecars */
CO void api_handle_metrics(void *api, struct http_exchange *x);
/* The contract's gRPC service ServiceInvocation, for daprd and for a Proa that doesn't know us yet.
 */
CO void api_handle_grpc_internal(void *api, struct http_exchange *x);
/* The gRPC API port. */
CO void api_handle_grpc(void *api, struct http_exchange *x);
struct blocks *api_blocks(struct api *a);
const struct api_config *api_config_of(const struct api *a);
