/* live.h — the snapshot of the resources that counts now, as each worker sees it: how kinds of
 * proa.dev/v1alpha1 that calls look at (Traffic …) change while calls are under way.
 * Owner:  the blocks. A snapshot lives until the last call that pinned it has ended.
 * Thread: live_set() any; pins belong to the worker where they began: a call takes no lock, unless
 * it's the first one of its worker after a change.
 * Failure: without memory for a new view a worker goes on with what it had. */
#pragma once

#include "base/defs.h"

struct resources;
struct live;

struct live *live_new(void) WUR; /* NULL: out of memory */
void live_free(struct live *l);  /* no pin may be left; NULL is fine */
/* From now on r counts (a reference is taken). */
void live_set(struct live *l, struct resources *r);

/* A worker's view of one snapshot. */
struct live_pin {
    const struct resources *resources;
    size_t n;
    unsigned generation;
    bool replaced;
};
/* NULL: there is none (l may be NULL). */
struct live_pin *live_pin(struct live *l);
void live_unpin(struct live_pin *p); /* NULL is fine */
