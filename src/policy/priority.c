#include "policy/priority.h"

#include "base/hash.h"

#include <stdio.h>

/* More is let through than can be served: what is behind the cut waits in a queue that must not run
 * dry when arrivals scatter. */
static const double MARGIN = 1.25, SMOOTH = 0.4;
static const uint64_t HOUR_NS = UINT64_C(3600000000000);

static const str name[PRIORITIES] = {
    [PRIORITY_CRITICAL] = S("critical"),     [PRIORITY_HIGH] = S("high"),
    [PRIORITY_NORMAL] = S("normal"),         [PRIORITY_LOW] = S("low"),
    [PRIORITY_BACKGROUND] = S("background"),
};

str priority_name(enum priority p)
{
    return name[p];
}

bool priority_parse_class(str text, enum priority *ret)
{
    for (size_t i = 0; i < PRIORITIES; i++)
        if (str_ieq(text, name[i])) {
            *ret = (enum priority)i;
            return true;
        }
    return false;
}

static bool parse_sub(str text, int *ret)
{
    int n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        n = n * 10 + (text.p[i] - '0');
        if (n >= PRIORITY_SUBS)
            return false;
    }
    *ret = n;
    return text.n > 0;
}

bool priority_parse(str text, enum priority *ret, int *ret_sub)
{
    str word, rest;
    enum priority p;
    int sub = -1;
    bool has_sub = str_cut(str_trim(text), '/', &word, &rest);
    if (!priority_parse_class(word, &p) || (has_sub && !parse_sub(rest, &sub)))
        return false;
    *ret = p;
    *ret_sub = sub;
    return true;
}

str priority_format(unsigned level, char to[PRIORITY_TEXT])
{
    str word = name[priority_class(level)];
    int n = snprintf(to, PRIORITY_TEXT, STR_FMT "/%u", STR_ARG(word), level % PRIORITY_SUBS);
    return str_of(to, (size_t)n);
}

unsigned priority_sub(str key, uint64_t wall_ns)
{
    uint64_t x = hash_stable(key) ^ (wall_ns / HOUR_NS * UINT64_C(0x9e3779b97f4a7c15));
    x ^= x >> 31;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return (unsigned)(x >> 57);
}

/* ---- the cut ---- */

void cut_init(struct priority_cut *c)
{
    *c = (struct priority_cut){ 0 };
    atomic_init(&c->cut, PRIORITY_LEVELS);
}

bool cut_passes(struct priority_cut *c, unsigned level)
{
    atomic_fetch_add_explicit(&c->arrived[level], 1, memory_order_relaxed);
    return level < atomic_load_explicit(&c->cut, memory_order_relaxed);
}

void cut_move(struct priority_cut *c, bool overloaded, double served_s, uint64_t window_ns)
{
    double per_s = 1e9 / (double)(window_ns ? window_ns : 1), sum = 0;
    unsigned cut = PRIORITY_LEVELS;
    for (unsigned i = 0; i < PRIORITY_LEVELS; i++) {
        unsigned n = atomic_exchange_explicit(&c->arrived[i], 0, memory_order_relaxed);
        c->share[i] += ((double)n * per_s - c->share[i]) * SMOOTH;
        sum += c->share[i];
        if (sum > served_s * MARGIN && cut == PRIORITY_LEVELS)
            cut = i + 1; /* the level in which the margin ends still passes: sub-levels are small */
    }
    atomic_store_explicit(&c->cut, overloaded ? cut : PRIORITY_LEVELS, memory_order_relaxed);
}
