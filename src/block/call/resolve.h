/* resolve.h — from an app id to its instances, as a worker sees them.
 * Owner:  the invoker; answers are kept per worker, so that a call takes no lock. What is known of
 * an instance is shared by all of them: instances.h.
 * Thread: any worker.
 * Failure: -UNAVAILABLE nobody is registered under that id (after asking the resolver a few times).
 * Limits: RESOLVE_IDS ids a worker (then the one that came first goes), RESOLVE_ADDRESSES addresses
 * each, kept for 3 s; for a quarter
 * of a second when they have just changed, or are busy: others may have come to help. */
#pragma once

#include "block/call/instances.h"
#include "block/core/block.h"

enum { RESOLVE_IDS = 1000, RESOLVE_ADDRESSES = INSTANCES_MAX };

struct resolve_cache;
struct resolve_cache *resolve_cache_new(struct instances *t) WUR;
void resolve_cache_free(struct resolve_cache *c);

/* A worker's view of an app; of others' references it has its own. */
struct fleet {
    struct upstream *up;
    struct peer *peer[RESOLVE_ADDRESSES];
    size_t n;          /* at least 1 */
    uint64_t until_ns; /* then the resolver is asked again … */
    uint64_t look_ns;  /* … and before that not even thought about */
};

/* *ret is good until the next suspension. */
CO int resolve(struct resolve_cache *c, struct blocks *b, str app_id, str namespace_,
               const struct fleet **ret, struct error *err) WUR;
/* An address has turned out to be dead, or another's: the resolver is asked again at the next call.
 */
void resolve_again(struct resolve_cache *c, str app_id, str namespace_);
