/* Overload: the resource's rows into the plain structs of policy/overload.h. */
#include "component/resource_priv.h"
#include "policy/overload.h"

#define AT(type, field) offsetof(struct type, field)

/* ---- rows ---- */

struct limit_rows {
    int64_t min, max;
};
static const struct bind_row limit_rows[] = {
    { "min", BIND_INT, AT(limit_rows, min) },
    { "max", BIND_INT, AT(limit_rows, max) },
};
static const struct bind_table limit_table = { "limit", sizeof(struct limit_rows), limit_rows,
                                               COUNT(limit_rows) };

struct queue_rows {
    uint64_t target_ns;
    int64_t max;
};
static const struct bind_row queue_rows[] = {
    { "target", BIND_DURATION, AT(queue_rows, target_ns) },
    { "max", BIND_INT, AT(queue_rows, max) },
};
static const struct bind_table queue_table = { "queue", sizeof(struct queue_rows), queue_rows,
                                               COUNT(queue_rows) };

struct key_rows {
    str header;
    bool caller;
};
static const struct bind_row key_rows[] = {
    { "header", BIND_STR, AT(key_rows, header) },
    { "caller", BIND_BOOL, AT(key_rows, caller) },
};
static const struct bind_table key_table = { "key", sizeof(struct key_rows), key_rows,
                                             COUNT(key_rows) };

struct priority_rows {
    struct overload_match match;
    str priority;
    bool force;
    const struct yaml_node *at;
};
static const struct bind_row priority_rows[] = {
    { NULL, BIND_SELF, AT(priority_rows, at) },
    { "header", BIND_STR, AT(priority_rows, match.header) },
    { "value", BIND_STR, AT(priority_rows, match.value) },
    { "caller", BIND_STR, AT(priority_rows, match.caller) },
    { "route", BIND_STR, AT(priority_rows, match.route) },
    { "priority", BIND_STR, AT(priority_rows, priority) },
    { "force", BIND_BOOL, AT(priority_rows, force) },
};
static const struct bind_table priority_table = {
    "a priority",
    sizeof(struct priority_rows),
    priority_rows,
    COUNT(priority_rows),
};

struct rate_rows {
    struct overload_match match;
    str name, store;
    struct key_rows key;
    int64_t rate, burst, max_keys;
    uint64_t per_ns;
    const struct yaml_node *at;
};
static const struct bind_row rate_rows[] = {
    { NULL, BIND_SELF, AT(rate_rows, at) },
    { "name", BIND_STR, AT(rate_rows, name) },
    { "header", BIND_STR, AT(rate_rows, match.header) },
    { "value", BIND_STR, AT(rate_rows, match.value) },
    { "caller", BIND_STR, AT(rate_rows, match.caller) },
    { "route", BIND_STR, AT(rate_rows, match.route) },
    { "key", BIND_STRUCT, AT(rate_rows, key), &key_table },
    { "rate", BIND_INT, AT(rate_rows, rate) },
    { "per", BIND_DURATION, AT(rate_rows, per_ns) },
    { "burst", BIND_INT, AT(rate_rows, burst) },
    { "maxKeys", BIND_INT, AT(rate_rows, max_keys) },
    { "store", BIND_STR, AT(rate_rows, store) },
};
static const struct bind_table rate_table = { "a rate limit", sizeof(struct rate_rows), rate_rows,
                                              COUNT(rate_rows) };

struct spec {
    enum tri enabled;
    struct limit_rows limit;
    struct queue_rows queue;
    struct key_rows key;
    str fallback;
    struct priority_rows *priority;
    size_t n_priorities;
    struct rate_rows *rate;
    size_t n_rates;
};
static const struct bind_row spec_rows[] = {
    { "enabled", BIND_TRI, AT(spec, enabled) },
    { "limit", BIND_STRUCT, AT(spec, limit), &limit_table },
    { "queue", BIND_STRUCT, AT(spec, queue), &queue_table },
    { "key", BIND_STRUCT, AT(spec, key), &key_table },
    { "default", BIND_STR, AT(spec, fallback) },
    { "priorities", BIND_LIST, AT(spec, priority), &priority_table },
    { "rates", BIND_LIST, AT(spec, rate), &rate_table },
};
static const struct bind_table spec_table = { "an Overload's spec", sizeof(struct spec), spec_rows,
                                              COUNT(spec_rows) };

/* ---- checks, and into the structs of policy ---- */

enum { LIMIT_MOST = 100000, QUEUE_MOST = 100000, RATE_MOST = 1000000000, KEYS = 10000 };

static void check_range(struct bind *b, const struct yaml_node *at, const char *what, int64_t n,
                        int64_t least, int64_t most)
{
    if (n < least || n > most)
        bind_fail(b, at, "%s must be %lld … %lld, not %lld", what, (long long)least,
                  (long long)most, (long long)n);
}

static enum priority priority_of(struct bind *b, const struct yaml_node *at, str text)
{
    enum priority p = PRIORITY_NORMAL;
    if (!priority_parse_class(text, &p))
        bind_fail(b, at, "priority \"%.*s\" is none of critical, high, normal, low and background",
                  (int)min_size(text.n, 40), text.p);
    return p;
}

static void check_match(struct bind *b, const struct yaml_node *at, const struct overload_match *m)
{
    if (m->value.n && !m->header.n)
        bind_fail(b, at, "value is that of a header: name it by header");
    if (m->route.n && !str_starts(m->route, S("/")))
        bind_fail(b, at, "route \"%.*s\" must begin with a slash", (int)min_size(m->route.n, 100),
                  m->route.p);
}

static void fill_rules(struct bind *b, const struct spec *s, struct overload_spec *o)
{
    if (s->n_priorities > OVERLOAD_RULES) {
        bind_fail(b, s->priority[OVERLOAD_RULES].at, "there may be at most %d priorities",
                  OVERLOAD_RULES);
        return;
    }
    o->rule = arena_zalloc(b->arena, (s->n_priorities + 1) * sizeof *o->rule);
    if (!o->rule) {
        bind_no_memory(b, NULL);
        return;
    }
    for (size_t i = 0; i < s->n_priorities; i++) {
        const struct priority_rows *p = &s->priority[i];
        check_match(b, p->at, &p->match);
        if (!p->match.header.n && !p->match.caller.n && !p->match.route.n)
            bind_fail(b, p->at,
                      "a priority is for a header, a caller or a route: none is given "
                      "(spec.default is for all calls)");
        o->rule[o->n_rules++] =
            (struct overload_rule){ p->match, priority_of(b, p->at, p->priority), p->force };
    }
}

static void fill_rate(struct bind *b, const struct rate_rows *r, struct overload_rate *ret)
{
    uint64_t per_ns = r->per_ns ? r->per_ns : SEC(1);
    check_match(b, r->at, &r->match);
    check_range(b, r->at, "rate", r->rate, 1, RATE_MOST);
    check_range(b, r->at, "burst", r->burst, 0, RATE_MOST);
    check_range(b, r->at, "maxKeys", r->max_keys, 0, 1000000);
    if (!r->name.n)
        bind_fail(b, r->at, "a rate limit needs a name");
    if (r->key.header.n && r->key.caller)
        bind_fail(b, r->at, "key is a header or the caller, not both");
    double per_s = (double)r->rate * 1e9 / (double)per_ns;
    *ret = (struct overload_rate){
        .name = r->name,
        .match = r->match,
        .key_header = r->key.header,
        .key_caller = r->key.caller,
        .per_s = per_s,
        .burst = r->burst    ? (double)r->burst
                 : per_s > 1 ? per_s
                             : 1,
        .max_keys = r->max_keys ? (size_t)r->max_keys : KEYS,
        .store = r->store,
    };
}

static void fill_rates(struct bind *b, const struct spec *s, struct overload_spec *o)
{
    if (s->n_rates > OVERLOAD_RATES) {
        bind_fail(b, s->rate[OVERLOAD_RATES].at, "there may be at most %d rate limits",
                  OVERLOAD_RATES);
        return;
    }
    o->rate = arena_zalloc(b->arena, (s->n_rates + 1) * sizeof *o->rate);
    if (!o->rate) {
        bind_no_memory(b, NULL);
        return;
    }
    for (size_t i = 0; i < s->n_rates; i++)
        fill_rate(b, &s->rate[i], &o->rate[o->n_rates++]);
}

static void fill(struct document *d, const struct spec *s, struct overload_spec *o)
{
    struct bind *b = &d->bind;
    const struct yaml_node *at = d->spec ? d->spec : d->node;
    *o = overload_defaults();
    check_range(b, at, "limit.min", s->limit.min, 0, LIMIT_MOST);
    check_range(b, at, "limit.max", s->limit.max, 0, LIMIT_MOST);
    check_range(b, at, "queue.max", s->queue.max, 0, QUEUE_MOST);
    if (s->limit.max && s->limit.min > s->limit.max)
        bind_fail(b, at, "limit.min is larger than limit.max");
    if (s->key.caller)
        bind_fail(b, at, "spec.key must be a header");
    o->name = d->head.name;
    o->enabled = tri_or(s->enabled, true);
    o->min = (unsigned)s->limit.min;
    o->max = (unsigned)s->limit.max;
    o->target_ns = s->queue.target_ns;
    o->max_queue = (size_t)s->queue.max;
    o->key_header = s->key.header;
    if (s->fallback.n)
        o->fallback = priority_of(b, at, s->fallback);
    fill_rules(b, s, o);
    fill_rates(b, s, o);
}

void load_overload(struct loader *l, struct document *d)
{
    struct resources *r = l->r;
    if (!resource_in_scope(&d->head, l->opt->app_id))
        return;
    if (r->overload) {
        bind_fail(&d->bind, d->node,
                  "%.*s is a second Overload of this app: only %.*s counts; put what they say into "
                  "one, or give them scopes",
                  (int)min_size(d->head.name.n, 100), d->head.name.p,
                  (int)min_size(r->overload->name.n, 100), r->overload->name.p);
        return;
    }
    struct spec spec = { 0 };
    struct overload_spec *o = arena_zalloc(&r->arena, sizeof *o);
    if (!o) {
        l->exhausted = true;
        return;
    }
    bind_map(&d->bind, &spec_table, d->spec, &spec);
    fill(d, &spec, o);
    if (d->bind.failed)
        return;
    r->overload = o;
}
