#include "policy/budget.h"

enum { UNIT = 1000 };

void budget_init(struct budget *b, const struct budget_config *config, uint64_t now_ns)
{
    double ratio = config->ratio > 0 ? config->ratio : 0.2;
    double floor = config->min_per_s < 0 ? 0 : config->min_per_s > 0 ? config->min_per_s : 10;
    uint64_t ttl = config->ttl_ns ? config->ttl_ns : SEC(10);
    *b = (struct budget){
        .per_retry = (int64_t)(UNIT / (ratio < 1 ? ratio : 1)),
        .slot_ns = ttl / BUDGET_SLOTS ? ttl / BUDGET_SLOTS : 1,
    };
    b->reserve = (int64_t)(floor * (double)ttl / 1e9 * (double)b->per_retry);
    b->slot = now_ns / b->slot_ns;
    pthread_mutex_init(&b->lock, NULL);
}

void budget_done(struct budget *b)
{
    pthread_mutex_destroy(&b->lock);
}

/* Forgets the slots that have passed; a clock that stands or goes back changes nothing. */
static void catch_up(struct budget *b, uint64_t now_ns)
{
    uint64_t slot = now_ns / b->slot_ns;
    for (int i = 0; b->slot < slot && i < BUDGET_SLOTS; i++)
        b->balance[++b->slot % BUDGET_SLOTS] = 0;
    if (b->slot < slot)
        b->slot = slot;
}

void budget_deposit(struct budget *b, uint64_t now_ns)
{
    pthread_mutex_lock(&b->lock);
    catch_up(b, now_ns);
    b->balance[b->slot % BUDGET_SLOTS] += UNIT;
    pthread_mutex_unlock(&b->lock);
}

bool budget_withdraw(struct budget *b, uint64_t now_ns)
{
    pthread_mutex_lock(&b->lock);
    catch_up(b, now_ns);
    int64_t sum = b->reserve;
    for (int i = 0; i < BUDGET_SLOTS; i++)
        sum += b->balance[i];
    bool granted = sum >= b->per_retry;
    if (granted)
        b->balance[b->slot % BUDGET_SLOTS] -= b->per_retry;
    pthread_mutex_unlock(&b->lock);
    return granted;
}
