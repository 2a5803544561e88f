/* latency.h — how long the calls of one method take: quantiles of the last half minute or so.
 * Owner:  lives in its user.   Thread: any, without a lock; latency_roll() one thread at a time.
 * Failure: none; a quantile that too few calls are known of is 0.
 * Precision: within 19 %, by buckets of a quarter octave from 1 us to 67 s. */
#pragma once

#include "base/defs.h"

#include <stdatomic.h>

enum { LATENCY_BUCKETS = 4 * 26 + 1, LATENCY_CALLS_MIN = 20 };

struct latency {
    _Atomic uint32_t count[LATENCY_BUCKETS];
    _Atomic uint64_t median_ns, high_ns; /* as latency_roll() saw them last; 0 = unknown */
    uint64_t halved_ns;                  /* latency_roll()'s own */
};

/* All zeroes is an empty one. */
void latency_add(struct latency *l, uint64_t ns);
/* The q-quantile, 0 < q < 1, by what is counted now; 0 = fewer than LATENCY_CALLS_MIN calls. */
uint64_t latency_quantile(const struct latency *l, double q);
/* Every now and then: publishes median and the quantile high, and lets old calls fade: all counts
 * are halved every 10 s. */
void latency_roll(struct latency *l, double high, uint64_t now_ns);
