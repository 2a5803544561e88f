/* peers.h — one try of a call at an app's sidecars: at one of them, and where nothing could be
 * sent, at once at others. Owner:  the caller's frame.   Thread: any worker. Failure: that of the
 * last one asked. Limit: PEERS_TRIED instances a try. */
#pragma once

#include "block/guard.h"
#include "block/resolve.h"

enum { PEERS_TRIED = 3 };

struct peer_asked { /* what asking one has shown */
    bool unsent;    /* nothing was sent: another may be asked */
    bool gone;      /* nobody of that app is at the address any more */
};

struct peers {
    struct blocks *b;
    str app_id, namespace_; /* namespace_ empty = ours */
    CO int (*ask)(void *arg, struct peer *peer, struct peer_asked *ret,
                  struct guard_attempt *attempt, struct error *err);
    void *arg;
};
CO int peers_ask(const struct peers *p, struct guard_attempt *attempt, struct error *err) WUR;

/* Around all tries: the policy of targets.apps or the defaults, and outside of it the contract's
 * built-in retries, which an entry in targets.apps switches off (surprise 41). NULL = none. */
struct policy *peers_builtin(struct blocks *b, str app_id);
