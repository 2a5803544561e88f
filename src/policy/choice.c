#include "policy/choice.h"

#include "policy/balance.h"

/* Those that may be chosen. */
struct candidates {
    size_t at[CHOICE_MAX];
    uint32_t weight[CHOICE_MAX];
    size_t n;
};

static void add(struct candidates *c, size_t at, uint32_t weight)
{
    c->weight[c->n] = weight;
    c->at[c->n++] = at;
}

static bool flag(const atomic_bool *b)
{
    return atomic_load_explicit(b, memory_order_relaxed);
}

static bool in_service(const struct choice_instance *i)
{
    return !atomic_load_explicit(&i->health->until_ns, memory_order_relaxed);
}

/* Rounded up, so that little is never nothing. */
static uint32_t weight_of(const struct outlier_config *o, const struct choice_instance *i,
                          uint64_t now_ns)
{
    return (i->zone_weight * outlier_weight(o, i->health, now_ns) + 999) / 1000;
}

/* Those that are in service, or of these the ones that are about to stop. */
static size_t gather(const struct outlier_config *o, const struct choice_instance *v, size_t n,
                     bool draining, uint64_t now_ns, struct candidates *c)
{
    size_t serving = 0;
    for (size_t i = 0; i < n; i++) {
        if (!in_service(&v[i]) || v[i].draining != draining)
            continue;
        serving++;
        if (!v[i].tried)
            add(c, i, weight_of(o, &v[i], now_ns));
    }
    return serving;
}

/* The ejected ones that can, or can't, be reached. */
static void gather_ejected(const struct choice_instance *v, size_t n, bool unreachable,
                           struct candidates *c)
{
    for (size_t i = 0; i < n; i++)
        if (!in_service(&v[i]) && !v[i].tried && flag(&v[i].health->unreachable) == unreachable)
            add(c, i, v[i].zone_weight);
}

static size_t n_draining(const struct choice_instance *v, size_t n)
{
    size_t draining = 0;
    for (size_t i = 0; i < n; i++)
        draining += v[i].draining;
    return draining;
}

static size_t due_probe(const struct outlier_config *o, const struct choice_instance *v, size_t n,
                        uint64_t now_ns)
{
    size_t i = 0;
    while (i < n && (outlier_state(o, v[i].health, now_ns) != OUTLIER_PROBE_DUE ||
                     !outlier_probe(v[i].health)))
        i++;
    return i;
}

static size_t by_hash(const struct choice_call *call, const struct choice_instance *v,
                      const struct candidates *c)
{
    uint64_t node[CHOICE_MAX];
    uint32_t load[CHOICE_MAX];
    for (size_t i = 0; i < c->n; i++) {
        node[i] = v[c->at[i]].hash;
        load[i] = v[c->at[i]].in_flight;
    }
    double factor = (double)call->rule->bounded_percent / 100;
    return factor > 1 ? balance_bounded(node, load, c->n, call->key, factor)
                      : balance_rendezvous(node, c->n, call->key);
}

/* Shares of zones are meant as they are: an idle one elsewhere is no reason to leave this one. */
static size_t by_load(const struct choice_instance *v, const struct candidates *c, uint64_t random)
{
    uint32_t load[CHOICE_MAX], weight[CHOICE_MAX];
    bool one_zone = true;
    for (size_t i = 0; i < c->n; i++) {
        load[i] = balance_load(v[c->at[i]].in_flight, v[c->at[i]].utilisation);
        weight[i] = c->weight[i];
        one_zone &= v[c->at[i]].zone == v[c->at[0]].zone;
    }
    if (!one_zone) {
        size_t first = balance_weighted(weight, c->n, random);
        for (size_t i = 0; i < c->n; i++)
            if (v[c->at[i]].zone != v[c->at[first]].zone)
                weight[i] = 0;
        random = random * 0x9e3779b97f4a7c15u + 1; /* dice of its own for the second throw */
        random ^= random >> 29;
    }
    return balance_weighted_two(weight, load, c->n, random);
}

static size_t pick(const struct choice_call *call, const struct choice_instance *v,
                   const struct candidates *c, _Atomic uint32_t *turn, uint64_t random)
{
    if (c->n == 1)
        return 0;
    for (size_t i = 0; call->sticky && i < c->n; i++)
        if (v[c->at[i]].hash == call->sticky)
            return i;
    if (call->key)
        return by_hash(call, v, c);
    switch (call->rule->balance) {
    case TRAFFIC_ROUND_ROBIN:
        return balance_round_robin(turn, c->n);
    case TRAFFIC_RANDOM:
        return balance_weighted(c->weight, c->n, random);
    case TRAFFIC_LEAST_LOADED:
        break;
    }
    return by_load(v, c, random);
}

size_t choose(const struct choice_call *call, const struct choice_instance *v, size_t n,
              _Atomic uint32_t *turn, uint64_t now_ns, uint64_t random, bool *ret_panic)
{
    const struct outlier_config *o = &call->rule->outlier;
    struct candidates c = { .n = 0 };
    PRE(n <= CHOICE_MAX);
    size_t serving = gather(o, v, n, false, now_ns, &c);
    *ret_panic = serving < n && serving * 100 < (n - n_draining(v, n)) * o->panic_percent;
    size_t probe = serving < n && !call->retry ? due_probe(o, v, n, now_ns) : n;
    if (probe < n)
        return probe;
    if (!c.n)
        (void)gather(o, v, n, true, now_ns, &c);
    if (*ret_panic || !c.n)
        gather_ejected(v, n, false, &c);
    if (!c.n)
        gather_ejected(v, n, true, &c);
    return c.n ? c.at[pick(call, v, &c, turn, random)] : n;
}

size_t choose_other(const struct traffic_rule *rule, const struct choice_instance *v, size_t n,
                    uint64_t now_ns, uint64_t random)
{
    struct candidates c = { .n = 0 };
    PRE(n <= CHOICE_MAX);
    (void)gather(&rule->outlier, v, n, false, now_ns, &c);
    return c.n ? c.at[by_load(v, &c, random)] : n;
}
