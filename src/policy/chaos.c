#include "policy/chaos.h"

/* ---- which calls ---- */

/* '*' is any text, slashes too. Linear but for the last star: it alone is tried again. */
static bool glob(str pattern, str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            from = t;
        } else if (p < pattern.n && pattern.p[p] == text.p[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

static bool fits_method(str pattern, const struct chaos_call *call)
{
    str verb, path;
    if (!str_cut(pattern, ' ', &verb, &path)) {
        path = pattern;
        verb = S("");
    }
    if (verb.n && !str_eq(verb, call->verb))
        return false;
    bool slash = path.n && (path.p[0] == '/' || path.p[0] == '*');
    return glob(path,
                slash || !str_starts(call->path, S("/")) ? call->path : str_skip(call->path, 1));
}

bool chaos_fits(const struct chaos_fault *f, const struct chaos_call *call)
{
    if (f->component[0] ? !call->component.n || !glob(str_c(f->component), call->component)
                        : call->component.n)
        return false;
    if (f->app[0] && !glob(str_c(f->app), call->app))
        return false;
    if (f->zone[0] && !str_eq(str_c(f->zone), call->zone))
        return false;
    return !f->method[0] || fits_method(str_c(f->method), call);
}

/* ---- the table ---- */

static struct chaos_active *by_name(struct chaos_table *t, str name)
{
    for (size_t i = 0; i < CHAOS_MAX; i++)
        if (t->v[i].id && str_eq(str_c(t->v[i].fault.name), name))
            return &t->v[i];
    return NULL;
}

int chaos_put(struct chaos_table *t, const struct chaos_fault *f, uint64_t origin, uint64_t now_ns,
              struct error *err)
{
    struct chaos_active *a = by_name(t, str_c(f->name));
    PRE(f->for_ns && f->for_ns <= CHAOS_LONGEST_NS);
    for (size_t i = 0; i < CHAOS_MAX && !a; i++)
        if (!t->v[i].id)
            a = &t->v[i];
    if (!a)
        return fail(err, EXHAUSTED, NULL, "there are %d faults already: take one away", CHAOS_MAX);
    t->n += !a->id;
    *a = (struct chaos_active){
        .fault = *f, .id = ++t->last_id, .end_ns = now_ns + f->for_ns, .origin = origin
    };
    return 0;
}

static void drop(struct chaos_table *t, struct chaos_active *a)
{
    a->id = 0;
    t->n--;
}

size_t chaos_take(struct chaos_table *t, str name)
{
    size_t n = 0;
    for (size_t i = 0; i < CHAOS_MAX; i++) {
        struct chaos_active *a = &t->v[i];
        if (!a->id || (name.n && !str_eq(str_c(a->fault.name), name)))
            continue;
        drop(t, a);
        n++;
    }
    return n;
}

bool chaos_expired(struct chaos_table *t, uint64_t now_ns, struct chaos_fault *ret)
{
    for (size_t i = 0; i < CHAOS_MAX; i++) {
        struct chaos_active *a = &t->v[i];
        if (!a->id || a->end_ns > now_ns)
            continue;
        *ret = a->fault;
        drop(t, a);
        return true;
    }
    return false;
}

const struct chaos_active *chaos_by_id(const struct chaos_table *t, uint64_t id, uint64_t now_ns)
{
    for (size_t i = 0; i < CHAOS_MAX; i++)
        if (t->v[i].id == id && id)
            return t->v[i].end_ns > now_ns ? &t->v[i] : NULL;
    return NULL;
}

/* ---- dice ---- */

/* splitmix64: the next of a row of uniform numbers, in [0, 1). */
static double throw_dice(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static void hit(struct chaos_active *a, double dice, struct chaos_effect *e)
{
    const struct chaos_fault *f = &a->fault;
    a->injected++;
    e->hit[f->kind] = true;
    if (f->kind == CHAOS_DELAY) {
        e->delay_ns += f->delay_ns + (uint64_t)(dice * (double)(f->delay_max_ns - f->delay_ns));
        e->delay_id = a->id;
        return;
    }
    e->ends = true;
    e->by = *a;
}

/* Only one fault can end a call: the first that hits; all delays come before. */
bool chaos_meet(struct chaos_table *t, const struct chaos_call *call, uint64_t now_ns,
                uint64_t random, struct chaos_effect *ret)
{
    bool any = false;
    *ret = (struct chaos_effect){ 0 };
    for (size_t i = 0; i < CHAOS_MAX; i++) {
        struct chaos_active *a = &t->v[i];
        if (!a->id || a->end_ns <= now_ns || !chaos_fits(&a->fault, call))
            continue;
        if (a->fault.kind != CHAOS_DELAY && ret->ends)
            continue;
        double chance = throw_dice(&random) * 100, dice = throw_dice(&random);
        if (chance >= a->fault.percent)
            continue;
        hit(a, dice, ret);
        any = true;
    }
    return any;
}
