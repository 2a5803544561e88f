/* run_page_writer.h — what the page's members are written with, for run_page_write.c and
 * run_page_resilience.c only.
 * Owner, thread, failure: as in run_page.h; all that's gathered lies in the arena of one
 * page_write(). */
#pragma once

#include "cli/run_page_private.h"

#include <math.h>

struct write {
    const struct page *p;
    struct arena *arena;
    struct json_w *w;
    uint64_t now_ns;
    struct topic *topic;
    size_t n_topics;
    struct resource *resource;
    size_t n_resources;
};

/* Members "overload", "peers", "breakers", "zones" and "chaos": run_page_resilience.c. */
void page_write_resilience(struct write *x);

static inline void put_str(struct write *x, str key, str value)
{
    json_w_kv(x->w, key, value);
}

/* Three decimals are enough for eyes, and keep the feed small; NAN is written as null. */
static inline void put_number(struct write *x, str key, double value)
{
    json_w_key(x->w, key);
    json_w_double(x->w, isfinite(value) ? round(value * 1000) / 1000 : NAN);
}

static inline void put_count(struct write *x, str key, uint64_t value)
{
    json_w_key(x->w, key);
    json_w_u64(x->w, value);
}

static inline double share(uint64_t part, uint64_t of)
{
    return of ? (double)part / (double)of : NAN;
}

static inline double rate(const struct write *x, uint64_t n)
{
    return x->p->window_s > 0 ? (double)n / x->p->window_s : NAN;
}

static inline str text_of(struct write *x, struct json v, str name)
{
    str s;
    return json_string_or(x->arena, json_get(v, name), S(""), &s) == 0 ? s : S("");
}

static inline double number_of(struct json v, str name)
{
    double d;
    return json_double(json_get(v, name), &d) ? d : NAN;
}
