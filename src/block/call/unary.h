/* unary.h — a call of a service whose request and answer are single messages: the API's
 * InvokeService and the sidecars' CallLocal, over the exchange that every other call is.
 * Owner:  everything lives in the given arena.   Thread: the caller's fiber.
 * Failure: negative: the call failed before an answer, *err says how. Limits: UNARY_ANSWER_MAX
 * bytes of an answer. */
#pragma once

#include "block/call/invoke.h"
#include "block/core/words.h"

enum { UNARY_ANSWER_MAX = 64 << 20 };

struct unary_request {
    str verb, query; /* verb empty = none named, which only a gRPC app takes */
    str method;      /* of CallLocal; InvokeService has it in its target */
    str data, type_url, content_type;
    struct http_headers headers; /* metadata as it came: "-bin" values are base64 */
    const char *peer, *local;    /* addresses, for the X-Forwarded- headers; NULL = unknown */
};

struct unary_answer {
    bool grpc;                   /* the app speaks gRPC: .code, .message and .details are its own */
    int status;                  /* HTTP; of a gRPC app: what its code maps to */
    struct words_status outcome; /* of an HTTP app: what its status maps to, facts 5.2 */
    str data, type_url, content_type;
    struct http_headers headers, trailers; /* without what the fields above say */
};

/* InvokeService: t as in invoke(), t->method without decoding (surprise 5). */
CO int unary_invoke(struct blocks *b, const struct invoke_target *t,
                    const struct unary_request *req, struct arena *a, struct unary_answer *ret,
                    struct error *err) WUR;
/* CallLocal: to our own app. */
CO int unary_invoke_app(struct blocks *b, const struct unary_request *req, struct arena *a,
                        struct unary_answer *ret, struct error *err) WUR;
