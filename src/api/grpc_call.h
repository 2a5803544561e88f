/* grpc_call.h — what every method of the gRPC API needs, and the row that describes one.
 * Owner:  everything decoded lives in the exchange's arena.   Thread: the exchange's fiber.
 * Failure: a handler fills *err; the dispatcher turns it into a status with details (facts 3.5).
 * Limits: a message is at most --max-body-size. */
#pragma once

#include "api/api.h"
#include "telemetry/trace.h"

#include <protobuf-c/protobuf-c.h>

struct grpc_method;
struct span;

struct grpc_call {
    struct api *api;
    const struct api_config *config;
    struct blocks *b;
    struct http_exchange *x;
    struct arena *a;
    const struct grpc_method *method;
    struct trace_context trace;
    struct span *span;           /* of the call; trace_grpc.h */
    enum code passed;            /* the status of an answer that was passed on */
    struct http_headers headers; /* initial metadata of the answer, such as metadata.<key> */
};

/* One request, one answer. in: never NULL. *ret_out: a message of method->out in c->a; NULL = an
 * empty one. */
typedef CO int grpc_unary_fn(struct grpc_call *c, const void *in, void **ret_out,
                             struct error *err);
/* Reads with grpc_read(), answers with grpc_write(); returning 0 ends the call with OK. A unary
 * handler runs under a pin of the catalog (block/core/catalog.h); a stream may live for days, so
 * that it pins for itself, and only while it uses a component. */
typedef CO int grpc_stream_fn(struct grpc_call *c, struct error *err);

struct grpc_method {
    str name;                    /* "GetState" */
    const char *group, *version; /* for api.allowed and api.denied; NULL: never refused */
    const ProtobufCMessageDescriptor *in, *out;
    grpc_unary_fn *unary; /* one of the two; neither: UNIMPLEMENTED, with .why */
    grpc_stream_fn *stream;
    const char *why; /* static */
};

const struct grpc_method *grpc_method_find(str name); /* of the service Dapr; NULL: no such */
const struct grpc_method *grpc_method_at(size_t i);   /* NULL past the end */
#define DAPR_SERVICE "dapr.proto.runtime.v1.Dapr"

/* Runs c->method, whoever asks for it. */
CO int grpc_run_method(struct grpc_call *c, struct error *err) WUR;
/* What to return where the arena is full. */
int grpc_no_memory(struct error *err);

/* An error that is told as an HTTP status: its code by the contract's table, ErrorInfo with status
 * and detail (facts 3.1). */
int grpc_http_error(struct error *err, int status, const char *text, const char *detail);

/* Streams. 1 = *ret_message is a message of method->in in the arena a, good until a is reset; 0 =
 * the client has half-closed; -INVALID bytes that are no such message. */
CO int grpc_read(struct grpc_call *c, struct arena *a, void **ret_message, struct error *err) WUR;
CO int grpc_write(struct grpc_call *c, const ProtobufCMessage *m, struct error *err) WUR;
/* Unary: answers now, where something is left to do afterwards. m NULL: an empty message. */
CO int grpc_reply(struct grpc_call *c, const ProtobufCMessage *m, struct error *err) WUR;

/* ---- the glue to protobuf-c ---- */

/* A message of that kind with its defaults; NULL: out of memory. */
void *pb_new(struct arena *a, const ProtobufCMessageDescriptor *d) WUR;
/* Decodes into the arena. -INTERNAL: no such message (the code that gRPC's own servers answer). */
int pb_decode(struct arena *a, const ProtobufCMessageDescriptor *d, str bytes, void **ret,
              struct error *err) WUR;
int pb_encode(struct arena *a, const ProtobufCMessage *m, str *ret) WUR;
/* A protobuf text field; NULL and "" are the same. */
str pb_str(const char *text);
str pb_bytes(ProtobufCBinaryData d);
ProtobufCBinaryData pb_data(str s);        /* borrowed */
char *pb_text(struct arena *a, str s) WUR; /* NUL-terminated copy; NULL: out of memory */
/* map<string, string>, which our .proto files write out as repeated StringEntry. */
struct Dapr__Proto__Runtime__V1__StringEntry;
int pb_kvs(struct arena *a, struct Dapr__Proto__Runtime__V1__StringEntry *const *v, size_t n,
           struct kvs *ret) WUR;
int pb_map(struct arena *a, struct kvs kvs, struct Dapr__Proto__Runtime__V1__StringEntry ***ret,
           size_t *ret_n) WUR;

/* ---- the handlers, one file a block ---- */

grpc_unary_fn state_get_rpc, state_bulk_rpc, state_save_rpc, state_delete_rpc,
    state_delete_bulk_rpc, state_transact_rpc, state_query_rpc;
grpc_unary_fn invoke_service_rpc;
grpc_unary_fn publish_rpc, publish_bulk_rpc;
grpc_unary_fn binding_rpc;
grpc_unary_fn secret_get_rpc, secret_bulk_rpc;
grpc_unary_fn metadata_get_rpc, metadata_set_rpc, shutdown_rpc;
grpc_unary_fn configuration_get_rpc, configuration_unsubscribe_rpc;
grpc_stream_fn configuration_subscribe_rpc;
grpc_unary_fn lock_try_rpc, unlock_rpc;
grpc_unary_fn subtle_get_key_rpc, subtle_encrypt_rpc, subtle_decrypt_rpc, subtle_wrap_rpc,
    subtle_unwrap_rpc, subtle_sign_rpc, subtle_verify_rpc;
grpc_stream_fn encrypt_rpc, decrypt_rpc;
grpc_stream_fn subscribe_rpc;
