/* splice.h — passes the body of an HTTP/2 exchange on to an HTTP/2 call and its answer back, both
 * ways at once in the exchange's fiber, byte for byte, counting gRPC's messages on the way.
 * Owner:  the caller's frame.   Thread: the exchange's fiber.
 * Failure: -CANCELLED the caller has left, -UNAVAILABLE the call was lost, -TIMEOUT, -EXHAUSTED a
 * message over the limit, -PRECONDITION a further message where there may be none, -UNIMPLEMENTED
 * one side isn't HTTP/2. Limits: what HTTP/2 streams hold (h2_session.h); nothing is gathered. */
#pragma once

#include "http/client.h"
#include "http/server.h"

struct splice_way {
    unsigned char prefix[5]; /* of the message that comes next, as far as it is there */
    size_t have, left;       /* bytes of prefix; bytes of the message to come */
    uint64_t messages, bytes;
    bool done;
};

enum { SPLICE_KEPT_MAX = 16 << 10, SPLICE_KEPT_PARTS = 4 };

struct http_splice {
    struct http_exchange *x;
    struct http_call *call;
    size_t max_message;
    bool hold;   /* the answer's head is kept back until its body begins */
    bool closed; /* the caller may send nothing more: all it had went with the call's start */
    struct splice_way up, down;
    /* What went up before there was an answer, in the exchange's arena. */
    str kept[SPLICE_KEPT_PARTS];
    size_t n_kept, kept_bytes;
    bool lost; /* it was more than that */
};

/* 0 = the answer has come to its end, which has not been passed on: trailers and the end of the
 * reply are the caller's. x->started says whether the head was; what isn't 200 with a body of
 * application/grpc, or has its status in the head, never is. */
CO int http_splice(struct http_splice *s) WUR;

/* All that has gone up, for a call that was refused and is made again; false when it isn't there
 * any more, or the answer has begun. */
bool splice_kept(const struct http_splice *s, str *ret) WUR;

/* Follows gRPC's frames. -EXHAUSTED: a message larger than max. */
int splice_count(struct splice_way *w, str data, size_t max) WUR;
