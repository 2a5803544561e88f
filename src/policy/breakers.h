/* breakers.h — the breakers of one target by endpoint, the least recently used one goes first.
 * Owner:  the resiliency; a breaker that is dropped lives on with the calls that hold it.
 * Thread: any; a short mutex inside.   Limit: max at init.
 * Failure: NULL out of memory. */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "policy/breaker.h"

#include <pthread.h>

struct breaker_table {
    pthread_mutex_t lock;
    size_t max;
    struct map by_key;  /* → struct breaker_slot */
    struct list by_use; /* longest unused first */
};

void breakers_init(struct breaker_table *t, size_t max);
void breakers_done(struct breaker_table *t);
/* With a reference for the caller; made by config when key is new. */
struct breaker *breakers_get(struct breaker_table *t, str key, const struct breaker_config *config,
                             uint64_t now_ns) WUR;
