#include "policy/balance.h"

#include <stdatomic.h>

size_t balance_round_robin(_Atomic uint32_t *next, size_t n)
{
    PRE(n >= 1);
    return atomic_fetch_add_explicit(next, 1, memory_order_relaxed) % n;
}

size_t balance_least_of_two(const uint32_t *load, size_t n, uint64_t random)
{
    PRE(n >= 1 && n <= UINT32_MAX);
    if (n == 1)
        return 0;
    size_t a = (size_t)((uint32_t)random * (uint64_t)n >> 32);
    size_t b = (size_t)((random >> 32) * (uint64_t)(n - 1) >> 32);
    b += b >= a; /* never the same one */
    return load[b] < load[a] ? b : a;
}

uint32_t balance_load(uint32_t in_flight, uint32_t utilisation)
{
    enum { FULL = 1000, HEADROOM = 100 }; /* the factor goes from 1 to 11 */
    uint64_t left = FULL + HEADROOM - (utilisation < FULL ? utilisation : FULL);
    uint64_t load = ((uint64_t)in_flight + 1) * 100 * (FULL + HEADROOM) / left;
    return load < UINT32_MAX ? (uint32_t)load : UINT32_MAX;
}

uint32_t balance_faded(uint32_t utilisation, uint64_t age_ns)
{
    static const uint64_t FADED_NS = SEC(2);
    uint64_t age_us = age_ns / 1000, all_us = FADED_NS / 1000;
    return age_us < all_us ? (uint32_t)(utilisation * (all_us - age_us) / all_us) : 0;
}

static uint64_t sum_but(const uint32_t *weight, size_t n, size_t but)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += i == but ? 0 : weight[i];
    return sum;
}

/* One that isn't `but` (n = any), by 32 uniform bits; with total 0 all are alike. */
static size_t draw(const uint32_t *weight, size_t n, size_t but, uint32_t random)
{
    uint64_t total = sum_but(weight, n, but);
    if (!total) {
        size_t i = (size_t)(random * (uint64_t)(n - (but < n)) >> 32);
        return i + (but < n && i >= but);
    }
    uint64_t at = (uint64_t)((double)random / 4294967296.0 * (double)total);
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == but || !weight[i])
            continue;
        if (at < weight[i])
            return i;
        at -= weight[i];
        last = i;
    }
    return last;
}

size_t balance_weighted(const uint32_t *weight, size_t n, uint64_t random)
{
    PRE(n >= 1);
    return draw(weight, n, n, (uint32_t)(random >> 32));
}

size_t balance_weighted_two(const uint32_t *weight, const uint32_t *load, size_t n, uint64_t random)
{
    PRE(n >= 1 && n < UINT32_MAX);
    size_t a = draw(weight, n, n, (uint32_t)(random >> 32));
    if (n == 1 || !sum_but(weight, n, a) != !weight[a])
        return a; /* no other one has a weight */
    size_t b = draw(weight, n, a, (uint32_t)random);
    return load[b] < load[a] ? b : a;
}

/* Mixes node and key so that each node ranks all keys in an order of its own (the finaliser of
 * SplitMix64). */
static uint64_t weight(uint64_t node, uint64_t key)
{
    uint64_t h = node ^ (key * 0x9e3779b97f4a7c15u);
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

size_t balance_rendezvous(const uint64_t *node, size_t n, uint64_t key)
{
    PRE(n >= 1);
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (weight(node[i], key) > weight(node[best], key))
            best = i;
    return best;
}

size_t balance_bounded(const uint64_t *node, const uint32_t *load, size_t n, uint64_t key,
                       double factor)
{
    PRE(n >= 1 && factor > 1);
    uint64_t total = 1; /* this call */
    for (size_t i = 0; i < n; i++)
        total += load[i];
    double bound = factor * (double)total / (double)n;
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (load[i] < bound && (best == n || weight(node[i], key) > weight(node[best], key)))
            best = i;
    INV(best < n); /* at least one is at or under the mean, which is under the bound */
    return best;
}
