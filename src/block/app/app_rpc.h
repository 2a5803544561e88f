/* app_rpc.h — one unary gRPC call of our app: for the callbacks of channel_grpc.c.
 * Owner:  what is answered lives in the arena that is given.
 * Thread: the call's fiber.
 * Failure: no whole answer came: -CODE with *err. The app's own refusal is none, it's the answer's
 * status. */
#pragma once

#include "block/app/app.h"
#include "block/core/words.h"

#include <protobuf-c/protobuf-c.h>

struct app_rpc {
    str path;
    const ProtobufCMessage *in; /* NULL = an empty one */
    struct http_headers metadata;
    size_t max_answer; /* bytes; more is RESOURCE_EXHAUSTED */
    size_t sent;       /* bytes of the message; set by the call */
    bool probe;        /* takes no slot */
};
struct app_rpc_answer {
    struct words_status status;
    str message;
    struct http_headers headers, trailers;
};

/* *ret_reached: the app may have got the call. It takes no place: the caller has one. */
CO int app_rpc_exchange(struct app *a, struct app_rpc *c, struct arena *arena,
                        struct app_rpc_answer *ret, bool *ret_reached, struct error *err) WUR;
/* The same in a place of its own, and counted. */
CO int app_rpc_ask(struct app *a, struct app_rpc *c, struct arena *arena,
                   struct app_rpc_answer *ret, struct error *err) WUR;
void app_rpc_count(const struct app_rpc *c, const struct app_rpc_answer *answer, uint64_t start_ns);

/* A copy without gRPC's own fields, and the connection's, which are no metadata of the app. */
int app_rpc_metadata(const struct http_headers *from, struct arena *a, struct http_headers *to) WUR;

/* What to say of a status that isn't OK, and of bytes that are no such message. */
int app_rpc_refused(const struct app_rpc_answer *a, struct error *err, const char *what);
int app_rpc_unreadable(struct error *err, const char *what);
int app_rpc_no_memory(struct error *err);
