/* batch.h — bulk subscription on a broker that gives messages one by one: gathers them.
 * Owner:  a batcher belongs to its subscription; batcher_free() when no delivery is under way.
 * Thread: deliveries come in on any worker; the one that completes a batch delivers it, the others
 * wait. Failure: each message gets the verdict of its own entry. Limits: a batch has at most max
 * messages and waits at most await_ns from its first one (facts 2.4). */
#pragma once

#include "block/subscribe.h"

struct batcher;
struct batcher *batcher_new(struct subscription *s, size_t max, uint64_t await_ns) WUR;
void batcher_free(struct batcher *b); /* NULL is fine */
/* Returns the verdict of m: 0 = may be acknowledged. A serial broker makes batches of one. */
CO int batcher_deliver(void *batcher, const struct pubsub_message *m, struct error *err);
