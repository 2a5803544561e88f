#include "policy/budget.h"

static const uint64_t SLOT_NS = MS(250);
/* Of the share of one second a tenth is kept back: in the ten of an outage there are eleven times
 * what may be saved up in one. */
enum { SHARE_SLOTS = 4 };

void budget_init(struct budget *b, const struct budget_config *config)
{
    *b = (struct budget){ .floor = config->floor < 0   ? 0
                                   : config->floor > 0 ? (uint32_t)config->floor
                                                       : BUDGET_FLOOR };
    budget_share(b, config->ratio > 0 ? config->ratio : BUDGET_PERCENT / 100.0);
}

void budget_share(struct budget *b, double ratio)
{
    atomic_store_explicit(&b->permille, (uint32_t)((ratio < 1 ? ratio : 1) * 1000 + 0.5),
                          memory_order_relaxed);
}

/* How many slots ago cell was last counted in; negative when the clock went back since. */
static int32_t age(uint64_t cell, uint32_t slot)
{
    return (int32_t)(slot - (uint32_t)(cell >> 32));
}

static void count(_Atomic uint64_t *cells, uint32_t slot)
{
    _Atomic uint64_t *cell = &cells[slot % BUDGET_SLOTS];
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed), new;
    do
        new = age(old, slot) > 0 ? (uint64_t)slot << 32 | 1 : old + 1;
    while (!atomic_compare_exchange_weak_explicit(cell, &old, new, memory_order_relaxed,
                                                  memory_order_relaxed));
}

/* Of the last n slots. */
static uint64_t sum(const _Atomic uint64_t *cells, uint32_t slot, int n)
{
    uint64_t total = 0;
    for (int i = 0; i < BUDGET_SLOTS; i++) {
        uint64_t cell = atomic_load_explicit(&cells[i], memory_order_relaxed);
        if (age(cell, slot) < n)
            total += (uint32_t)cell;
    }
    return total;
}

static uint32_t slot_of(uint64_t now_ns)
{
    return (uint32_t)(now_ns / SLOT_NS);
}

void budget_deposit(struct budget *b, uint64_t now_ns)
{
    count(b->calls, slot_of(now_ns));
}

/* Retries among the last n slots are fewer than their calls times permille / 1000. */
static bool within(const struct budget *b, uint32_t slot, int n, uint32_t permille)
{
    return sum(b->retries, slot, n) < sum(b->calls, slot, n) * permille / 1000;
}

bool budget_withdraw(struct budget *b, uint64_t now_ns)
{
    uint32_t slot = slot_of(now_ns);
    uint32_t permille = atomic_load_explicit(&b->permille, memory_order_relaxed);
    bool few = sum(b->retries, slot, BUDGET_SLOTS) < b->floor;
    if (!few && (!within(b, slot, SHARE_SLOTS, permille * 9 / 10) ||
                 !within(b, slot, BUDGET_SLOTS, permille)))
        return false;
    count(b->retries, slot);
    return true;
}
