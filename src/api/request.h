/* request.h — what every HTTP handler of ours needs: the decoded parts of the path, metadata, small
 * replies. Owner:  everything lives in the exchange's arena.   Thread: the exchange's fiber. */
#pragma once

#include "api/api.h"
#include "api/errors.h"
#include "format/json.h"
#include "telemetry/trace.h"

enum { PATH_PARTS = 4 };

struct request {
    struct api *api;
    const struct api_config *config;
    struct blocks *b;
    struct http_exchange *x;
    struct arena *a;
    str path;             /* cleaned, still escaped */
    str part[PATH_PARTS]; /* what the pattern's {…} and * matched; unescaped by query rules
                             (surprise 3) */
    struct trace_context trace;
    str callee, callee_method; /* of a service invocation, as it was asked for; empty = none */
};

/* metadata.<key>=value of the query; the first of a key counts. */
int request_metadata(struct request *r, struct kvs *ret) WUR;
/* The body, at most config->max_body_bytes; over it the contract's reader fails (surprise 6). */
CO int request_body(struct request *r, str *ret, struct error *err) WUR;
/* The body as JSON; the error has ERR_MALFORMED_REQUEST and Go's words. */
CO int request_json(struct request *r, struct json *ret, struct error *err) WUR;
/* The member of a protobuf message's JSON form: "resourceId" or "resource_id"; null is absent. */
struct json request_field(struct json v, str camel, str snake);
/* Such a member's text or bytes (base64 of either alphabet, padded or not); absent: empty. -INVALID
 * says which member is wrong. */
int request_text(struct request *r, struct json v, str camel, str snake, str *ret,
                 struct error *err) WUR;
int request_base64(struct request *r, struct json v, str camel, str snake, str *ret,
                   struct error *err) WUR;
/* An object of strings into kvs; other scalars as they are written. */
int request_kvs(struct request *r, struct json v, struct kvs *ret) WUR;

CO void reply_empty(struct request *r, int status);
CO void reply_json(struct request *r, int status, str body);
/* The same from a buffer that may have grown past its limit: then an error. */
CO void reply_buf(struct request *r, int status, const struct buf *body);
CO void reply_text(struct request *r, int status, str body);

/* ---- handlers, one file each ---- */
typedef CO void route_fn(struct request *r);
route_fn state_get_route, state_save_route, state_delete_route, state_bulk_route,
    state_transact_route, state_query_route;
route_fn secret_get_route, secret_bulk_route;
route_fn publish_route, publish_bulk_route;
route_fn invoke_route, fallback_route;
route_fn metadata_get_route, metadata_put_route, shutdown_route, healthz_route, outbound_route,
    livez_route, readyz_route, startupz_route, feed_route, sleep_route, wake_route;
route_fn binding_route;
route_fn configuration_get_route, configuration_subscribe_route, configuration_unsubscribe_route;
route_fn lock_route, unlock_route;
route_fn subtle_get_key_route, subtle_encrypt_route, subtle_decrypt_route, subtle_wrap_route,
    subtle_unwrap_route, subtle_sign_route, subtle_verify_route, unimplemented_route;
route_fn chaos_list_route, chaos_add_route, chaos_remove_route;
route_fn crypto_encrypt_route, crypto_decrypt_route;
