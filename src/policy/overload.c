#include "policy/overload.h"

#include "base/mem.h"

struct overload {
    struct overload_spec spec;
    struct limiter *limiter[OVERLOAD_RATES];
    void *keep;
    void (*release)(void *);
    atomic_uint refs;
};

struct overload_spec overload_defaults(void)
{
    return (struct overload_spec){ .enabled = true, .fallback = PRIORITY_NORMAL };
}

struct overload_spec overload_none(void)
{
    return (struct overload_spec){ .fallback = PRIORITY_NORMAL };
}

static bool make_limiters(struct overload *o)
{
    for (size_t i = 0; i < o->spec.n_rates; i++) {
        const struct overload_rate *r = &o->spec.rate[i];
        o->limiter[i] = limiter_new(&(struct limiter_config){ r->per_s, r->burst, r->max_keys });
        if (!o->limiter[i])
            return false;
    }
    return true;
}

struct overload *overload_new(const struct overload_spec *spec, void *keep, void (*release)(void *))
{
    PRE(spec->n_rules <= OVERLOAD_RULES && spec->n_rates <= OVERLOAD_RATES);
    struct overload *o = mem_zalloc(sizeof *o);
    if (!o)
        return NULL;
    o->spec = *spec;
    atomic_init(&o->refs, 1);
    if (!make_limiters(o)) {
        overload_unref(o);
        return NULL;
    }
    o->keep = keep;
    o->release = release;
    return o;
}

struct overload *overload_ref(struct overload *o)
{
    atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return o;
}

void overload_unref(struct overload *o)
{
    if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < o->spec.n_rates; i++)
        limiter_free(o->limiter[i]);
    if (o->release)
        o->release(o->keep);
    mem_free(o);
}

const struct overload_spec *overload_spec(const struct overload *o)
{
    return &o->spec;
}

bool overload_is_plain(const struct overload *o)
{
    const struct overload_spec *s = &o->spec;
    return !s->n_rules && !s->n_rates && !s->key_header.n && s->fallback == PRIORITY_NORMAL;
}

/* ---- matching ---- */

static bool route_matches(str pattern, str route)
{
    if (str_ends(pattern, S("*")))
        return str_starts(route, str_take(pattern, pattern.n - 1));
    return str_eq(pattern, route);
}

static bool matches(const struct overload_match *m, const struct overload_call *c)
{
    if (m->caller.n && !str_eq(m->caller, c->caller))
        return false;
    if (m->route.n && !route_matches(m->route, c->route))
        return false;
    if (!m->header.n)
        return true;
    str value = c->header(c->arg, m->header);
    return m->value.n ? str_eq(value, m->value) : value.p != NULL;
}

bool overload_priority(const struct overload *o, const struct overload_call *c, bool has_priority,
                       enum priority *priority)
{
    for (size_t i = 0; i < o->spec.n_rules; i++) {
        const struct overload_rule *r = &o->spec.rule[i];
        if ((has_priority && !r->force) || !matches(&r->match, c))
            continue;
        *priority = r->priority;
        return true;
    }
    if (has_priority)
        return false;
    *priority = o->spec.fallback;
    return o->spec.fallback != PRIORITY_NORMAL;
}

const struct overload_rate *overload_rate(const struct overload *o, const struct overload_call *c,
                                          size_t *at, str *ret_key)
{
    while (*at < o->spec.n_rates) {
        const struct overload_rate *r = &o->spec.rate[(*at)++];
        if (!matches(&r->match, c))
            continue;
        *ret_key = r->key_header.n ? c->header(c->arg, r->key_header)
                   : r->key_caller ? c->caller
                                   : S("");
        return r;
    }
    return NULL;
}

bool overload_take(struct overload *o, const struct overload_rate *rate, str key, uint64_t now_ns,
                   uint64_t *ret_wait_ns)
{
    return limiter_take(o->limiter[rate - o->spec.rate], key, now_ns, ret_wait_ns);
}
