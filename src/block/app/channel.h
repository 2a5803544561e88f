/* channel.h — what our own app is told, in the words of its protocol: one const table a family of
 * protocols (HTTP: http, https, h2c; gRPC: grpc, grpcs). What an answer means for a message, an
 * event or a caller is decided by the block that asks.
 * Owner:  answers live in the arena that is given.   Thread: the caller's fiber, any worker.
 * Failure: negative: the call failed, *err says how; a refusal of the app is an answer where the
 * table has a place for it. Limits: CHANNEL_ANSWER_MAX bytes an answer; --app-max-concurrency calls
 * at once, probes not among them. */
#pragma once

#include "block/app/app.h"
#include "component/pubsub.h"
#include "component/resource.h"
#include "format/cloudevent.h"
#include "telemetry/trace.h"

enum { CHANNEL_ANSWER_MAX = 4 << 20 };

/* ---- messages ---- */

enum event_verdict {
    EVENT_SUCCESS,
    EVENT_RETRY,
    EVENT_DROP,
    EVENT_IGNORED, /* the app has no place for it: acknowledged, and no dead letter (surprise 28) */
};

struct app_event { /* one message, to one route */
    str path, topic, pubsub;
    const struct pubsub_message *m;
    str body;                    /* the cloud event's text */
    const struct cloudevent *ce; /* the same, read */
    struct trace_context trace;  /* goes along in headers or metadata; may be none */
};

struct app_bulk_entry {
    str id;
    const struct pubsub_message *m;
    const struct cloudevent *ce;
    enum event_verdict verdict; /* out: what the app said; RETRY when it said nothing */
};
struct app_bulk { /* several messages, to one route */
    str path, topic, pubsub;
    bool raw; /* entries are bytes, not cloud events */
    struct app_bulk_entry *entry;
    size_t n;
};

/* ---- what it subscribes to ---- */

struct app_subscription {
    str pubsub, topic, dead_letter;
    struct kvs metadata;
    struct route_rule *rules; /* not compiled yet */
    size_t n_rules;
    bool bulk;
    int64_t bulk_max, bulk_await_ms;
    const char *wrong; /* why this one can't be read; NULL = it could */
};
struct app_subscriptions {
    struct app_subscription *v;
    size_t n;
    const char *refused; /* why there is no list at all, for the log; NULL = there is */
};

/* ---- bindings ---- */

struct app_binding_event {
    str name, path; /* of the binding; path: "/" + its route or name */
    const struct binding_event *e;
    struct trace_context trace; /* goes along in headers or metadata; may be none */
};
struct app_binding_answer {
    str data;
    str store;                 /* where .states go; empty = nowhere */
    struct state_write *state; /* keys without prefix */
    size_t n_states;
    str *to; /* output bindings that get .data */
    size_t n_to;
    bool parallel;
};

struct channel {
    /* A call of a service: x goes to the app and its answer back. target: as in a request line.
     * -UNAVAILABLE: nothing has reached the app. place is the call's, which the caller has entered.
     */
    CO int (*invoke)(struct app *a, struct admit_place *place, struct http_exchange *x, str target,
                     struct error *err);
    /* *ret_http: the HTTP status that a failure carries, else 0; likewise below. */
    CO int (*event)(struct app *a, const struct app_event *e, struct arena *arena,
                    enum event_verdict *ret, int *ret_http, struct error *err);
    CO int (*bulk)(struct app *a, struct app_bulk *bulk, struct arena *arena, int *ret_http,
                   struct error *err);
    CO int (*subscriptions)(struct app *a, struct arena *arena, struct app_subscriptions *ret,
                            struct error *err);
    CO bool (*wants_binding)(struct app *a, str name, str path);
    CO int (*binding)(struct app *a, const struct app_binding_event *e, struct arena *arena,
                      struct app_binding_answer *ret, int *ret_http, struct error *err);
    /* One changed key: body is the whole update. */
    CO int (*configuration)(struct app *a, str store, str key, str body, struct arena *arena,
                            int *ret_http, struct error *err);
    CO int (*probe)(struct app *a, str path, struct error *err);
    /* Asks the app for its settings, which serve nothing yet; NULL: it isn't asked. */
    CO int (*config)(struct app *a, struct error *err);
};

extern const struct channel channel_http, channel_grpc;
