/* frames.h — the messages between sidecars (facts 3.4) as the house's requests, headers and slices.
 * Owner:  everything decoded lives in the given arena; packed frames go to a buf.
 * Thread: any.   Limits: FRAME_MAX bytes of body in a frame, FRAME_MESSAGE_MAX a message.
 * Failure: -INVALID when the bytes aren't what they should be, -EXHAUSTED past a limit. */
#pragma once

#include "block/core/words.h"

enum { FRAME_MAX = 2048, FRAME_MESSAGE_MAX = 8 << 20 };
#define INTERNAL_SERVICE "dapr.proto.internals.v1.ServiceInvocation"

struct frame_request {
    bool has_request;
    str verb, method, query, content_type, type_url; /* verb empty: none named */
    int64_t content_length;                          /* -1: not said */
    struct http_headers headers;                     /* as metadata: "-bin" values are base64 */
    bool has_payload;
    str data;
    uint64_t seq;
};
struct frame_response {
    bool has_response;
    int status; /* HTTP; of a gRPC app: what its code maps to */
    bool grpc;  /* the app speaks gRPC: the code was below 100 (surprise 43) */
    struct words_status outcome;
    str content_type, type_url;
    struct http_headers headers, trailers;
    bool has_payload;
    str data;
    uint64_t seq;
};

/* One message of CallLocalStream. req, head NULL: only the payload; data .p NULL: no payload. The
 * request's headers may be marked by words_mark(). */
int frame_pack_request(const struct http_request *req, str data, uint64_t seq, struct arena *a,
                       struct buf *out) WUR;
int frame_pack_response(const struct frame_response *head, str data, uint64_t seq, struct arena *a,
                        struct buf *out) WUR;
int frame_unpack_request(str message, struct arena *a, struct frame_request *ret) WUR;
int frame_unpack_response(str message, struct arena *a, struct frame_response *ret) WUR;
/* The unary CallLocal: request and response with their bodies. */
int frame_pack_unary_request(const struct http_request *req, str body, struct arena *a,
                             struct buf *out) WUR;
int frame_unpack_unary(str message, struct arena *a, struct frame_request *ret) WUR;
int frame_pack_unary(const struct frame_response *head, str body, struct arena *a, struct buf *out)
    WUR;
int frame_unpack_unary_response(str message, struct arena *a, struct frame_response *ret) WUR;
