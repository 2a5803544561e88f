/* app.h — our own app: where it listens, how many calls at once, whether it is well. What it is
 * told is in channel.h. Owner:  the runtime; app_free() after the last call.   Thread: any worker.
 * Failure: -UNAVAILABLE the app can't be reached. Limits: those of admit.h (a place is
 * held until the answer's body is consumed). */
#pragma once

#include "block/app/admit.h"
#include "block/app/sleep.h"
#include "block/core/block.h"
#include "http/client.h"
#include "http/server.h"

#include <stdatomic.h>

struct app_config {
    const char *app_id;
    const char *host;        /* --app-channel-address */
    uint16_t port;           /* never 0: without a port there is no struct app */
    const char *protocol;    /* "http", "https", "h2c", "grpc", "grpcs" */
    size_t max_concurrency;  /* 0 = unlimited */
    size_t max_header_bytes; /* of a response */
    size_t max_body_bytes;   /* of a call that is one message; 0 = no limit but gRPC's */
    const char *token;       /* APP_API_TOKEN or NULL */
    /* An app in this process (libproa without a sidecar): called instead of a connection; port 0
     * then. */
    CO void (*handle)(void *arg, struct http_exchange *x);
    void *handle_arg;
};

struct channel;
struct retried;

/* What a gRPC app answered to ListInputBindings; worker 0. */
struct app_bindings {
    bool known;
    char **v;
    size_t n;
    struct arena arena;
};

struct app {
    struct app_config config;
    const struct channel *channel; /* by which it is told things: channel.h */
    struct blocks *blocks;         /* whose pipeline is around every call but probes; NULL = none */
    char address[128];
    struct tls_context *tls; /* of protocols that end in 's'; NULL = plain */
    struct http_client *client;
    struct admit *admit;     /* every call but probes comes in through it: app_enter() */
    struct sleep sleep;      /* before that: while it's asleep they wait */
    struct retried *retried; /* of which traces all tries are spent */
    struct app_bindings bindings;
    atomic_bool healthy; /* by app health checks; true when there are none */
};

int app_new(const struct app_config *config, struct app **ret, struct error *err) WUR;
void app_free(struct app *a); /* off the workers; NULL is fine */

/* The place of a call among those that the app works on: waits for it, or is turned away (admit.h).
 * Each place that is entered is left; result and status as in admit_leave(). */
CO int app_enter(struct app *a, struct admit_place *p, const struct admit_ask *ask,
                 struct error *err) WUR;
void app_leave(struct app *a, struct admit_place *p, int result, int status);

/* Into its answer to another sidecar: how busy it is, and that it's about to end; headers, or a
 * gRPC answer's trailers. Without memory the caller knows a little less. */
void app_tell_load(const struct app *a, struct http_headers *answer);
/* Into its answer to call, a failure: that calls of its own were tried again in vain (retried.h).
 * The call has been in the app since start_ns. */
void app_tell_retried(const struct app *a, const struct http_headers *call, uint64_t start_ns,
                      struct http_headers *answer);

/* A call of this trace, made for our app (NULL = there is none), has failed, and there is no
 * further try. */
void app_note_retried(struct app *a, const struct http_headers *call);

/* The code that the result of a callback carries: an app that speaks gRPC fails by one; else 0. */
int app_grpc_code(const struct app *a, int result);

/* Whether the port accepts a connection now, and where the protocol wants it, TLS. */
CO bool app_listening(struct app *a);
