/* peer.h — a call to another sidecar by the contract's CallLocalStream: for daprd, and for a Proa
 * that we don't know yet. Owner:  the relay holds the stream as its answer.   Thread: the
 * exchange's fiber. Failure: as relay_try(). Frames are at most 2 KiB, numbered from 0 (facts 3.4,
 * surprise 42). */
#pragma once

#include "block/core/relay.h"

/* req: method, target and headers as the app shall get them. *ret_direct: the peer said that it is
 * a Proa. */
CO int peer_try(struct relay *r, struct http_client *client, const char *address,
                const struct http_request *req, bool *ret_direct, struct guard_attempt *attempt,
                struct error *err) WUR;
