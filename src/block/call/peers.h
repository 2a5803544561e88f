/* peers.h — one try of a call at an app's sidecars: which of them gets it, and at once another one
 * where that is safe: nothing was sent, or the connection broke before an answer and the method is
 * idempotent, or it was shed there; the latter two within the app's retry budget.
 * Owner:  the caller's frame.   Thread: any worker. Failure: that of the last one asked.
 * Limit: PEERS_TRIED instances a try. */
#pragma once

#include "block/call/resolve.h"
#include "block/core/guard.h"
#include "http/message.h"

enum { PEERS_TRIED = 3 };

struct peer_asked { /* what asking one has shown */
    bool unsent;    /* nothing was sent: another may be asked */
    bool gone;      /* nobody of that app is at the address any more */
    bool shed;      /* refused by overload control before anything was done */
    bool draining;  /* it is about to stop */
    bool beaten;    /* a copy at another instance was faster: that one's answer counts */
    bool failed;    /* it failed, and a copy's answer counts */
    int load;       /* utilisation that it reported, permille; negative = none */
};
/* What its answer's headers, or a gRPC answer's trailers, say of it; r: of the call, 0 or -CODE. */
void peers_hear(const struct http_headers *answer, int r, struct peer_asked *ret,
                struct guard_attempt *attempt);

struct peers {
    struct blocks *b;
    str app_id, namespace_; /* namespace_ empty = ours */
    CO int (*ask)(void *arg, struct peer *peer, struct peer_asked *ret,
                  struct guard_attempt *attempt, struct error *err);
    void *arg;
    const struct traffic_rule *rule; /* NULL = the defaults */
    uint64_t key;                    /* of consistent hashing; 0 = none */
    uint64_t sticky;                 /* hash of the wanted instance's address; 0 = none */
    uint64_t method;                 /* whose latency it is: a hash */
    bool idempotent;                 /* and its request can be sent again */
    bool open_ended;                 /* how long it takes says nothing: it may be a stream */
    uint64_t chosen;                 /* out: hash of the last one's address */
    bool spent;                      /* out: another one was asked, or there was no budget for it */
    struct upstream *up;             /* out, a reference: peers_done() */
};
/* After the last try of the call. */
void peers_done(struct peers *p);
CO int peers_ask(struct peers *p, struct guard_attempt *attempt, struct error *err) WUR;
/* The same at one other instance than `but`, for a copy; -NOT_FOUND: there is none in service. */
CO int peers_ask_other(struct peers *p, uint64_t but, struct guard_attempt *attempt,
                       struct error *err) WUR;

/* Around all tries: the policy of targets.apps or the defaults, and outside of it the contract's
 * built-in retries, which an entry in targets.apps switches off (surprise 41). NULL = none. */
struct policy *peers_builtin(struct blocks *b, str app_id);
