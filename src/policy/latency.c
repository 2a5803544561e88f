#include "policy/latency.h"

#include <math.h>

static const uint64_t HALVE_NS = SEC(10);

/* Bucket 4 k + j begins at 2^k * (1 + j / 4) us: linear within an octave. */
static size_t bucket_of(uint64_t ns)
{
    uint64_t us = ns / 1000;
    if (us < 1)
        return 0;
    size_t octave = 63 - (size_t)__builtin_clzll(us);
    size_t quarter = (us * 4 >> octave) & 3;
    return min_size(1 + 4 * octave + quarter, LATENCY_BUCKETS - 1);
}

static double begin_of(size_t bucket)
{
    if (!bucket)
        return 0;
    size_t octave = (bucket - 1) / 4, quarter = (bucket - 1) % 4;
    return ldexp(1 + (double)quarter / 4, (int)octave) * 1000;
}

void latency_add(struct latency *l, uint64_t ns)
{
    atomic_fetch_add_explicit(&l->count[bucket_of(ns)], 1, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint32_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

uint64_t latency_quantile(const struct latency *l, double q)
{
    uint64_t total = 0, below = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++)
        total += get(&l->count[i]);
    if (total < LATENCY_CALLS_MIN)
        return 0;
    double want = q * (double)total;
    size_t i = 0;
    while (i + 1 < LATENCY_BUCKETS && (double)(below + get(&l->count[i])) < want)
        below += get(&l->count[i++]);
    uint64_t here = get(&l->count[i]);
    double part = here ? (want - (double)below) / (double)here : 0;
    double from = begin_of(i), to = begin_of(i + 1);
    return (uint64_t)(from + (to - from) * (part < 1 ? part : 1)) + 1;
}

void latency_roll(struct latency *l, double high, uint64_t now_ns)
{
    atomic_store_explicit(&l->median_ns, latency_quantile(l, 0.5), memory_order_relaxed);
    atomic_store_explicit(&l->high_ns, latency_quantile(l, high), memory_order_relaxed);
    if (!l->halved_ns)
        l->halved_ns = now_ns;
    if (now_ns - l->halved_ns < HALVE_NS)
        return;
    l->halved_ns = now_ns;
    /* Calls that are counted meanwhile aren't lost: only what was there is taken away. */
    for (size_t i = 0; i < LATENCY_BUCKETS; i++)
        atomic_fetch_sub_explicit(&l->count[i], (uint32_t)(get(&l->count[i]) / 2),
                                  memory_order_relaxed);
}
