/* relay.h — carries an exchange to an HTTP server and the answer back, streaming both ways.
 * Owner:  the caller's frame.   Thread: the exchange's fiber.
 * Failure: negative before any of the answer was passed on; afterwards the reply is broken off.
 * Limits: a request body up to RELAY_WHOLE bytes is kept for another try; a larger one streams,
 * once. */
#pragma once

#include "block/core/guard.h"
#include "http/client.h"
#include "http/server.h"

enum { RELAY_WHOLE = 16 << 10 };

/* An answer, wherever it comes from: an HTTP call, or a peer's gRPC stream. */
struct answer {
    int status;
    struct http_headers headers;
    int64_t content_length;                       /* -1: unknown */
    void *source;                                 /* NULL = no answer is held */
    CO int (*next)(void *source, str *ret_chunk); /* as http_call_read() */
    const struct http_headers *(*trailers)(void *source);
    void (*free)(void *source);
};

struct upload { /* a fiber beside the exchange's: the answer may begin before the upload ends */
    struct fiber *fiber, *waiter;
    struct fiber *reader; /* the exchange's fiber, while it waits for the other side's answer */
    int lost;             /* why the caller's body could not be read to its end; 0 = it could */
    bool done;
};

struct relay {
    struct http_exchange *x;
    str body; /* the whole body when .whole, else its first piece */
    bool whole;
    bool sent;    /* a streamed body has begun: no further try */
    bool reached; /* the last try got its request on a connection: it may have been acted on */
    struct answer answer; /* of the last try, not yet passed on; owned */
    struct upload upload;
    /* where the upload goes: an http_call, or a peer's stream */
    void *sink;
    CO int (*sink_write)(void *sink, str data);
    CO int (*sink_end)(void *sink);
};

/* "/" + method, escaped where a request line needs it, + "?" + query. Into the arena. */
int relay_target(struct arena *a, str method, str query, str *ret) WUR;
/* What is passed on of x: no hop-by-hop headers, nor those that are for this sidecar; room for
 * twelve more. */
int relay_request(const struct http_exchange *x, str target, struct http_request *ret) WUR;
/* Reads the body as far as RELAY_WHOLE. -RANGE the body is over the server's limit, -INVALID bad
 * framing. */
CO int relay_init(struct relay *r, struct http_exchange *x, struct error *err) WUR;
CO void relay_done(struct relay *r);
/* One try: sends, and waits for the head of the answer. A status below 200 or above 399 is a
 * failure for the guard (surprise 39) but r->answer keeps it, so that the last one can be passed
 * on. */
CO int relay_try(struct relay *r, struct http_client *client, const char *address,
                 const struct http_request *req, struct guard_attempt *attempt, struct error *err)
    WUR;
/* The parts of relay_try() for another transport (peer.c): refuse a second try of a streamed body;
 * start the upload into r->sink; judge the answer that was put into r->answer. */
CO int relay_again(struct relay *r, struct guard_attempt *attempt, struct error *err) WUR;
int relay_upload(struct relay *r, struct error *err) WUR;
/* Around each wait for the other side: a request that breaks off ends the wait, since the other
 * side waits for the rest of it. relay_waited() returns code, or why the upload failed. */
void relay_wait(struct relay *r);
int relay_waited(struct relay *r, int code, struct error *err) WUR;
int relay_judge(struct relay *r, struct guard_attempt *attempt, struct error *err) WUR;
/* Instead of a try: as if the peer had answered with this status (HTTP's, or a gRPC code), with the
 * header proa-chaos: <name>. */
CO int relay_pretend(struct relay *r, int status, str name, struct guard_attempt *attempt,
                     struct error *err) WUR;
/* Passes the answer on: status, headers without hop-by-hop ones, body, trailers. */
CO int relay_answer(struct relay *r, struct error *err) WUR;
/* After the last try, which returned code: passes its answer on, or returns code when there is
 * none. */
CO int relay_pass(struct relay *r, int code, struct error *err) WUR;
