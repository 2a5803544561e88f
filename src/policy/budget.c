#include "policy/budget.h"

void budget_init(struct budget *b, const struct budget_config *config)
{
    double ratio = config->ratio > 0 ? config->ratio : 0.2;
    double floor = config->min_per_s < 0 ? 0 : config->min_per_s > 0 ? config->min_per_s : 3;
    uint64_t ttl = config->ttl_ns ? config->ttl_ns : SEC(10);
    *b = (struct budget){
        .permille = (uint32_t)((ratio < 1 ? ratio : 1) * 1000 + 0.5),
        .floor = (uint32_t)(floor * (double)ttl / 1e9 + 0.5),
        .slot_ns = ttl / BUDGET_SLOTS ? ttl / BUDGET_SLOTS : 1,
    };
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

static uint64_t sum(const _Atomic uint64_t *cells, uint32_t slot)
{
    uint64_t n = 0;
    for (int i = 0; i < BUDGET_SLOTS; i++) {
        uint64_t cell = atomic_load_explicit(&cells[i], memory_order_relaxed);
        if (age(cell, slot) < BUDGET_SLOTS)
            n += (uint32_t)cell;
    }
    return n;
}

void budget_deposit(struct budget *b, uint64_t now_ns)
{
    count(b->calls, (uint32_t)(now_ns / b->slot_ns));
}

bool budget_withdraw(struct budget *b, uint64_t now_ns)
{
    uint32_t slot = (uint32_t)(now_ns / b->slot_ns);
    uint64_t share =
        sum(b->calls, slot) * atomic_load_explicit(&b->permille, memory_order_relaxed) / 1000;
    if (sum(b->retries, slot) >= (share > b->floor ? share : b->floor))
        return false;
    count(b->retries, slot);
    return true;
}
