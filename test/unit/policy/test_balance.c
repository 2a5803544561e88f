#include "policy/balance.h"

#include "base/hash.h"

#include <stdio.h>

#include "test/testing.h"

enum { NODES = 10, KEYS = 20000 };

static uint64_t dice(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s ^ (*s >> 29);
}

static void name_nodes(uint64_t node[NODES])
{
    for (int i = 0; i < NODES; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "node-%d", i);
        node[i] = hash_stable(str_of(name, (size_t)n));
    }
}

static uint64_t key_hash(int i)
{
    char name[16];
    int n = snprintf(name, sizeof name, "key-%d", i);
    return hash_stable(str_of(name, (size_t)n));
}

TEST(utilisation_that_is_long_ago_counts_for_nothing)
{
    CHECK_EQ(balance_faded(1000, 0), 1000);
    CHECK_EQ(balance_faded(1000, MS(500)), 750);
    CHECK_EQ(balance_faded(800, SEC(1)), 400);
    CHECK_EQ(balance_faded(1000, SEC(2)), 0);
    CHECK_EQ(balance_faded(1000, UINT64_MAX), 0);
}

TEST(round_robin_visits_all_and_survives_wrapping)
{
    _Atomic uint32_t next = 0;
    for (size_t i = 0; i < 9; i++)
        CHECK_EQ(balance_round_robin(&next, 3), i % 3);
    next = UINT32_MAX;
    for (size_t i = 0; i < 5; i++)
        CHECK(balance_round_robin(&next, 3) < 3);
    CHECK_EQ(balance_round_robin(&next, 1), 0);
}

TEST(least_of_two_never_picks_the_worst_and_spreads_ties)
{
    static const uint32_t load[4] = { 5, 9, 5, 5 }, even[4] = { 1, 1, 1, 1 };
    uint64_t seed = 1;
    int hits[4] = { 0 }, even_hits[4] = { 0 };
    for (int i = 0; i < 40000; i++) {
        hits[balance_least_of_two(load, 4, dice(&seed))]++;
        even_hits[balance_least_of_two(even, 4, dice(&seed))]++;
    }
    CHECK_EQ(hits[1], 0);
    for (int i = 0; i < 4; i++)
        CHECK(even_hits[i] >= 9000 && even_hits[i] <= 11000, "%d", even_hits[i]);
    CHECK_EQ(balance_least_of_two(load, 1, dice(&seed)), 0);
    CHECK_EQ(balance_least_of_two(load, 2, UINT64_MAX), 0);
    CHECK_EQ(balance_least_of_two(load, 2, 0), 0);
}

TEST(rendezvous_spreads_keys_evenly)
{
    uint64_t node[NODES];
    int hits[NODES] = { 0 };
    name_nodes(node);
    for (int i = 0; i < KEYS; i++)
        hits[balance_rendezvous(node, NODES, key_hash(i))]++;
    for (int i = 0; i < NODES; i++)
        CHECK(hits[i] >= KEYS / NODES * 9 / 10 && hits[i] <= KEYS / NODES * 11 / 10, "%d", hits[i]);
}

TEST(a_lost_node_moves_only_its_own_keys)
{
    uint64_t node[NODES];
    name_nodes(node);
    for (int i = 0; i < KEYS; i++) {
        size_t before = balance_rendezvous(node, NODES, key_hash(i));
        size_t after = balance_rendezvous(node, NODES - 1, key_hash(i));
        if (before != NODES - 1)
            CHECK_EQ(after, before);
    }
}

TEST(bounded_loads_spill_a_hot_key_over)
{
    uint64_t node[NODES];
    uint32_t load[NODES] = { 0 };
    name_nodes(node);
    uint64_t hot = key_hash(7);
    CHECK_EQ(balance_bounded(node, load, NODES, hot, 1.25), balance_rendezvous(node, NODES, hot));
    for (int i = 0; i < 1000; i++)
        load[balance_bounded(node, load, NODES, hot, 1.25)]++;
    for (int i = 0; i < NODES; i++)
        CHECK(load[i] <= 126);
    uint32_t one = UINT32_MAX;
    CHECK_EQ(balance_bounded(node, &one, 1, hot, 1.01), 0);
}
