/* frames.h — the messages between sidecars (facts 3.4) as the house's requests, headers and slices.
 * Owner:  everything decoded lives in the given arena; packed frames go to a buf.
 * Thread: any.   Limits: FRAME_MAX bytes of body in a frame, FRAME_MESSAGE_MAX a message.
 * Failure: -INVALID when the bytes aren't what they should be, -EXHAUSTED past a limit. */
#pragma once

#include "base/buf.h"
#include "http/message.h"

enum { FRAME_MAX = 2048, FRAME_MESSAGE_MAX = 8 << 20 };
#define INTERNAL_SERVICE "dapr.proto.internals.v1.ServiceInvocation"

struct frame_request {
    bool has_request;
    str verb, method, query, content_type;
    int64_t content_length; /* -1: not said */
    struct http_headers headers;
    bool has_payload;
    str data;
    uint64_t seq;
};
struct frame_response {
    bool has_response;
    int status; /* HTTP status: gRPC codes have been mapped */
    str content_type, message;
    struct http_headers headers, trailers;
    bool has_payload;
    str data;
    uint64_t seq;
};

/* One message of CallLocalStream. req NULL: only the payload; data .p NULL: no payload. */
int frame_pack_request(const struct http_request *req, str data, uint64_t seq, struct arena *a,
                       struct buf *out) WUR;
int frame_pack_response(int status, const struct http_headers *headers, str data, uint64_t seq,
                        struct arena *a, struct buf *out) WUR;
int frame_unpack_request(str message, struct arena *a, struct frame_request *ret) WUR;
int frame_unpack_response(str message, struct arena *a, struct frame_response *ret) WUR;
/* The unary CallLocal: request and response with their bodies. */
int frame_unpack_unary(str message, struct arena *a, struct frame_request *ret) WUR;
int frame_pack_unary(int status, const struct http_headers *headers, str body, struct arena *a,
                     struct buf *out) WUR;
