#include "policy/refusals.h"

#include <math.h>

enum { TIME_BITS = 40, ONE = 256 };
static const uint64_t TIME_MASK = ((uint64_t)1 << TIME_BITS) - 1;
static const uint64_t LEAST_NS = MS(1), MOST_NS = SEC(1), UNKNOWN_NS = MS(20);

/* What is left of it by now: each of them ends with the same likelihood in any moment. */
static double left(uint64_t count_at, uint64_t usual_ns, uint64_t now_us)
{
    double usual = (double)(!usual_ns             ? UNKNOWN_NS
                            : usual_ns < LEAST_NS ? LEAST_NS
                            : usual_ns > MOST_NS  ? MOST_NS
                                                  : usual_ns) /
                   1e3;
    double count = (double)(count_at >> TIME_BITS) / ONE;
    uint64_t age = (now_us - count_at) & TIME_MASK;
    bool back = age > TIME_MASK / 2; /* another worker's clock was ahead */
    return count * exp(back ? 0 : -(double)age / usual);
}

void refusals_add(struct refusals *r, uint64_t usual_ns, uint64_t now_ns)
{
    uint64_t old = atomic_load_explicit(&r->count_at, memory_order_relaxed), new;
    uint64_t now_us = now_ns / 1000;
    do {
        double count = fmin(left(old, usual_ns, now_us) + 1, REFUSALS_MAX);
        new = (uint64_t)(count * ONE) << TIME_BITS | (now_us & TIME_MASK);
    } while (!atomic_compare_exchange_weak_explicit(&r->count_at, &old, new, memory_order_relaxed,
                                                    memory_order_relaxed));
}

uint32_t refusals_in_flight(const struct refusals *r, uint64_t usual_ns, uint64_t now_ns)
{
    uint64_t now = atomic_load_explicit(&r->count_at, memory_order_relaxed);
    return LIKELY(!now) ? 0 : (uint32_t)lround(left(now, usual_ns, now_ns / 1000));
}
