/* invoke.h — what calling a service means: our own app, another app's sidecar, or an HTTP endpoint.
 * Owner:  the invoker belongs to the runtime.
 * Thread: the exchange's fiber, any worker.
 * Failure: *err has ERR_DIRECT_INVOKE; nothing has been answered yet then. An answer that broke off
 * on its way back has been aborted and is reported as 0 with x->started. */
#pragma once

#include "block/app/app.h"
#include "block/call/resolve.h"
#include "block/call/zones.h"
#include "block/core/block.h"
#include "http/server.h"

struct invoker {
    struct http_client *direct; /* HTTP/1.1 to Proa peers */
    struct http_client *grpc;   /* HTTP/2 to daprd peers */
    bool secure;                /* both speak TLS, and peers must prove who they are */
    struct outside *outside;    /* absolute URLs */
    struct instances instances;
    struct zoning *zoning; /* NULL: zones play no part */
    struct resolve_cache *resolved;
    str host_address; /* for Forwarded */
    char hostname[64];
};

struct invoker_tls { /* contexts for workloads (tls_options.spiffe), each with a reference taken */
    struct tls_context *h1, *h2;
};
/* conn_idle_ns: how long a connection to a peer is kept without a call; 0 = 3 min. tls NULL:
 * sidecars speak plainly. */
int invoker_new(const char *host_address, uint64_t conn_idle_ns, const struct invoker_tls *tls,
                struct invoker **ret, struct error *err) WUR;
/* From now on calls prefer instances of this zone ("" = unknown): before the first one. */
int invoker_place(struct invoker *i, const char *zone, const char *region, struct error *err) WUR;
void invoker_free(struct invoker *i); /* off the workers */

struct invoke_target {
    str app_id;     /* or the name of an HTTPEndpoint */
    str namespace_; /* empty = ours */
    str url;        /* "https://host:port" instead of an app id */
    str method;     /* path at the target, decoded once and cleaned, no slash in front */
    bool grpc;      /* the exchange is a gRPC call in the words of words.h */
};

/* What the sidecar of an app must be called in its certificate, "/ns/<namespace>/<app id>", where
 * sidecars speak TLS; else empty. namespace_ empty = ours. Into the arena; .p NULL: out of memory.
 */
str invoke_peer_id(const struct blocks *b, str app_id, str namespace_, struct arena *a) WUR;
/* Passes x on to the target and its answer back. */
CO int invoke(struct blocks *b, const struct invoke_target *t, struct http_exchange *x,
              struct error *err) WUR;
/* The last leg: to our own app. target: as in the request line, escaped, with query. -UNAVAILABLE
 * means that nothing has reached the app. */
CO int invoke_app(struct blocks *b, struct http_exchange *x, str target, struct error *err) WUR;
