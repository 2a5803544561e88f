/* chaos.h — faults on purpose between us and other apps' instances, for a time: policy/chaos.h.
 * They strike where a call goes to one instance (remote.c, proxy.c), inside of all policies: so
 * what breakers, retries, hedges and outlier ejection do about real faults they do about these.
 * Health probes, the feed and the control API are answered by us and never meet one.
 * Owner:  the blocks; NULL without --enable-chaos.
 * Thread: any. A call pays one relaxed load while there are no faults, else a short lock.
 * Limits: CHAOS_MAX faults. A call that is held goes on when its fault ends or is taken away. */
#pragma once

#include "fiber/fiber.h"
#include "format/json.h"
#include "policy/chaos.h"

#include <pthread.h>
#include <stdatomic.h>

struct resources;

struct chaos {
    atomic_uint n; /* faults in the table, some of which may have just ended */
    pthread_mutex_t lock;
    struct chaos_table table;
};

struct chaos *chaos_new(void) WUR; /* NULL: out of memory */
void chaos_free(struct chaos *c);  /* no call may be left; NULL is fine */

int chaos_add(struct chaos *c, const struct chaos_fault *f, struct error *err) WUR;
size_t chaos_remove(struct chaos *c, str name); /* as chaos_take() */
/* Chaos resources that are new or have changed begin, those that are gone end; the time of the
 * others goes on. old may be NULL. */
void chaos_reload(struct chaos *c, const struct resources *old, const struct resources *new);
/* The active ones as an array. */
void chaos_write(struct chaos *c, struct json_w *w);

static inline bool chaos_on(struct chaos *c)
{
    return UNLIKELY(c && atomic_load_explicit(&c->n, memory_order_relaxed));
}

/* What has struck a call. */
struct chaos_outcome {
    int status; /* of an error: HTTP's, or a gRPC code; 0 = there is no answer at all */
    char name[CHAOS_NAME_MAX];
};
/* Holds the call as long as a fault says. 0: it may go on; negative: that is how it ends, with *ret
 * set. Whoever wakes the fiber with a code ends it by that. */
CO int chaos_strike(struct chaos *c, const struct chaos_call *call, struct chaos_outcome *ret,
                    struct error *err) WUR;
