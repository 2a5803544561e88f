/* resolve.h — from an app id to the address of one of its sidecars.
 * Owner:  the invoker; answers are kept per worker, so that a call takes no lock.
 * Thread: any worker.
 * Failure: -UNAVAILABLE nobody is registered under that id (after asking the resolver a few times).
 * Limits: RESOLVE_IDS ids a worker (then the one that came first goes), RESOLVE_ADDRESSES addresses
 * each, kept for 3 s. */
#pragma once

#include "block/block.h"

enum { RESOLVE_IDS = 1000, RESOLVE_ADDRESSES = 64 };

struct resolve_cache;
struct resolve_cache *resolve_cache_new(void) WUR;
void resolve_cache_free(struct resolve_cache *c);

/* What we learnt about one instance of an app: lives as long as its worker's cache entry. */
struct peer {
    char address[64];      /* "10.0.0.7:50002" */
    bool direct;           /* a Proa: takes calls as plain HTTP/1.1 on its internal port */
    uint64_t bad_until_ns; /* failed lately: others are tried first */
};

/* Copies the next peer of the app, round robin, those that failed lately last. */
CO int resolve(struct resolve_cache *c, struct blocks *b, str app_id, str namespace_,
               struct peer *ret, struct error *err) WUR;
/* Remembers what a call has shown about an address. */
void resolve_learn(struct resolve_cache *c, str app_id, str namespace_, const struct peer *peer);
/* Avoid this peer for a second. gone: the address itself is dead or another's, ask the resolver
 * again. */
void resolve_failed(struct resolve_cache *c, str app_id, str namespace_, const struct peer *peer,
                    bool gone);
