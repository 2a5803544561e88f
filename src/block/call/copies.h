/* copies.h — second copies of a call to another app. A hedge: one more at another instance when the
 * first takes longer than most do; the first good answer counts, the other call is broken off. A
 * mirror: one for another app (a canary), whose answer is dropped.
 * Owner:  a hedge lives in the frame of its call; a mirror in a fiber of its own, with copies of
 * all it needs.
 * Thread: the worker of the call.
 * Failure: a copy that can't be made is none; the call itself isn't touched by it.
 * Limits: hedges by their budget and the app's retry budget; mirrors by maxConcurrent an app, and
 * MIRROR_NS each; requests of up to RELAY_WHOLE bytes. */
#pragma once

#include "block/call/remote.h"

/* As remote_ask() by c->relay, with a copy at another instance if this one is slow. */
CO int copies_hedged_ask(struct remote *c, struct peer *peer, struct peer_asked *ret,
                         struct guard_attempt *attempt, struct error *err) WUR;
/* Sends the call that c has made to the app that the rule mirrors to, if it does. */
void copies_mirror(const struct remote *c);
