/* balance.h — which of n instances gets a call: pure choices over plain numbers.
 * Owner:  none; the caller keeps the instances and their loads.
 * Thread: any; loads may change meanwhile, a choice is as good as what was read.
 * Failure: none; n is at least 1. Dice and clocks are passed in. */
#pragma once

#include "base/str.h"

/* One after the other. */
size_t balance_round_robin(_Atomic uint32_t *next, size_t n);

/* The less loaded one of two that are drawn by random (64 uniform bits). */
size_t balance_least_of_two(const uint32_t *load, size_t n, uint64_t random);

/* How busy an instance is, for those below: calls of ours in flight there, and the utilisation in
 * permille that it reports itself, which covers what others send: the waiting time of a queue grows
 * with 1 / (1 - utilisation). */
uint32_t balance_load(uint32_t in_flight, uint32_t utilisation);

/* What is left of a utilisation that was heard of that long ago: none after two seconds. Who was
 * full then, and isn't asked for it, would look full for ever. */
uint32_t balance_faded(uint32_t utilisation, uint64_t age_ns);

/* The less loaded one of two that are drawn by random (64 uniform bits) in proportion to their
 * weights; without any weight all are alike. */
size_t balance_weighted_two(const uint32_t *weight, const uint32_t *load, size_t n,
                            uint64_t random);

/* The one of n whose turn it is in proportion to the weights, by random bits or by a key's hash. */
size_t balance_weighted(const uint32_t *weight, size_t n, uint64_t random);

/* The same key goes to the same node, and when a node comes or goes only its share of the keys
 * moves (highest random weight). node[i] = hash_stable(name), key = hash_stable(key). */
size_t balance_rendezvous(const uint64_t *node, size_t n, uint64_t key);

/* The same with bounded loads: the best node whose load is under factor times the mean (counting
 * this call; factor > 1, such as 1.25). load[i] = calls in flight. */
size_t balance_bounded(const uint64_t *node, const uint32_t *load, size_t n, uint64_t key,
                       double factor);
