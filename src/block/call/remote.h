/* remote.h — a call to another app, and the way it goes to one of its instances: a Proa by plain
 * HTTP, anybody else by the contract's gRPC.
 * Owner:  the caller's frame; what it points to lives in the exchange's arena.
 * Thread: the exchange's fiber, and those of copies beside it.   Failure: as relay_try(). */
#pragma once

#include "block/call/invoke.h"
#include "block/call/peers.h"
#include "block/call/traffic.h"
#include "block/core/relay.h"

struct remote {
    struct blocks *b;
    const struct invoke_target *t;
    const struct traffic_call *traffic;
    struct peers peers;
    struct relay relay;
    struct http_request req, direct_req;
    str endpoint; /* "id:method": what breakers are kept by */
    struct policy *policy;
};

/* c->req is complete but for whom it's for: that is set, and .direct_req made of it, in arena a. */
int remote_address(struct remote *c, struct arena *a) WUR;
/* One try at one instance, by relay (c's own, or that of a copy). */
CO int remote_ask(const struct remote *c, struct relay *relay, struct peer *peer,
                  struct peer_asked *ret, struct guard_attempt *attempt, struct error *err) WUR;
