/* grpc.h — gRPC's framing over server.h and client.h: 5-byte prefix, trailers, status, metadata,
 * deadline. Owner:  as the exchange or call.   Thread: one worker. Failure: a bad frame is
 * -INTERNAL, a message over the limit -EXHAUSTED (the peer gets that status). */
#pragma once

#include "http/client.h"
#include "http/server.h"

bool grpc_is_request(const struct http_request *req); /* POST with content-type application/grpc* */
/* "/package.Service/Method" → the two; false on another shape. */
bool grpc_split_path(str path, str *ret_service, str *ret_method);
/* The grpc-timeout header in ns; UINT64_MAX when absent; false when malformed. */
bool grpc_timeout(const struct http_headers *h, uint64_t *ret_ns);
bool grpc_timeout_parse(str text, uint64_t *ret_ns); /* "250m"; false when malformed */

/* What is left of the fiber's deadline, as a value of grpc-timeout; empty = no deadline, .p NULL =
 * out of memory. */
str grpc_timeout_left(struct arena *arena) WUR;

/* Server: 1 and the next message (good until the next call), 0 = the client has half-closed. */
CO int grpc_recv(struct http_exchange *x, size_t max, str *ret_message) WUR;
/* Starts the reply on first use; headers may be NULL. */
CO int grpc_send_headers(struct http_exchange *x, const struct http_headers *metadata) WUR;
CO int grpc_send(struct http_exchange *x, str message) WUR;
/* Ends with grpc-status and grpc-message (percent-encoded); details: serialized google.rpc.Status
 * or empty. */
CO int grpc_finish(struct http_exchange *x, enum code code, str message, str details,
                   const struct http_headers *trailers) WUR;

struct grpc_status {
    enum code code;
    str message, details; /* in the call's arena */
};

/* Client: a call to /service/method; metadata may be NULL. timeout_ns UINT64_MAX = none is sent. */
CO int grpc_call_start(struct http_client *c, const char *address, str authority, str path,
                       const struct http_headers *metadata, uint64_t timeout_ns,
                       struct http_call **ret, struct error *err) WUR;
/* The same to a server that must be peer_id (http_request.peer_id; empty = whoever answers). */
CO int grpc_call_start_to(struct http_client *c, const char *address, str peer_id, str path,
                          const struct http_headers *metadata, uint64_t timeout_ns,
                          struct http_call **ret, struct error *err) WUR;
CO int grpc_call_send(struct http_call *call, str message, bool last) WUR;
CO int grpc_call_recv(struct http_call *call, size_t max, str *ret_message)
    WUR; /* 1, 0 at the end */
/* The fields of an answer that has ended which say how: its trailers, or its head. */
const struct http_headers *grpc_call_trailers(struct http_call *call,
                                              const struct http_response *res);
/* After the end: the status from the trailers (or a trailers-only head, or by HTTP status without
 * one). */
CO int grpc_call_status(struct http_call *call, struct grpc_status *ret) WUR;
