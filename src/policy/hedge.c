#include "policy/hedge.h"

enum { COPY = 100 };

void hedge_deposit(struct hedge_budget *b, const struct hedge_config *c)
{
    int64_t old = atomic_load_explicit(&b->tokens, memory_order_relaxed), new;
    do {
        new = old + c->percent;
        if (new > HEDGE_BURST * COPY)
            new = HEDGE_BURST *COPY;
    } while (!atomic_compare_exchange_weak_explicit(&b->tokens, &old, new, memory_order_relaxed,
                                                    memory_order_relaxed));
}

bool hedge_take(struct hedge_budget *b)
{
    int64_t old = atomic_load_explicit(&b->tokens, memory_order_relaxed);
    while (old >= COPY)
        if (atomic_compare_exchange_weak_explicit(&b->tokens, &old, old - COPY,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    return false;
}

uint64_t hedge_delay(const struct hedge_config *c, const struct latency *l)
{
    static const uint64_t LEAST = MS(1);
    uint64_t ns = c->after_ns;
    if (!ns && l)
        ns = atomic_load_explicit(&l->high_ns, memory_order_relaxed);
    return ns && ns < LEAST ? LEAST : ns;
}
