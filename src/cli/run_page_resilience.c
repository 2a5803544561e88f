/* What keeps the system up, for the page: overload control of each app, instances and breakers as
 * their callers see them, traffic between zones, and faults on purpose. */
#include "cli/run_page_writer.h"

/* ---- overload ---- */

static const str priorities[] = { S("critical"), S("high"), S("normal"), S("low"),
                                  S("background") };
static const str reasons[] = { S("limit"), S("queue"), S("deadline"), S("priority"), S("rate") };

static bool has_overload(const struct write *x, const struct source *s)
{
    return source_fresh(s, x->now_ns) && s->overload.type == JSON_OBJECT;
}

static bool tells_of(const struct write *x, const struct source *s, const char *app)
{
    return has_overload(x, s) && strcmp(s->instance.app, app) == 0;
}

static double add_known(double sum, double more)
{
    return isnan(more) ? sum : (isnan(sum) ? 0 : sum) + more;
}

static double gauge(const struct write *x, const char *app, str name)
{
    double sum = NAN;
    for (size_t i = 0; i < x->p->n_sources; i++) {
        const struct source *s = &x->p->source[i];
        if (tells_of(x, s, app))
            sum = add_known(sum, number_of(s->overload, name));
    }
    return sum;
}

static uint64_t grown_of(const struct write *x, const char *app, str group, str name)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < x->p->n_sources; i++)
        if (tells_of(x, &x->p->source[i], app))
            sum += tally_window(&x->p->source[i], group, name, x->arena);
    return sum;
}

/* The busiest instance's: that is where calls are turned away first. */
static double load_of(const struct write *x, const char *app)
{
    double most = NAN;
    for (size_t i = 0; i < x->p->n_sources; i++) {
        const struct source *s = &x->p->source[i];
        double load = tells_of(x, s, app) ? number_of(s->overload, S("load")) / 1000 : NAN;
        if (!isnan(load) && (isnan(most) || load > most))
            most = load;
    }
    return most;
}

static uint64_t put_rates(struct write *x, const char *app, str group, const str *name, size_t n)
{
    uint64_t sum = 0;
    json_w_key(x->w, group);
    json_w_object(x->w);
    for (size_t i = 0; i < n; i++) {
        uint64_t grown = grown_of(x, app, group, name[i]);
        sum += grown;
        put_number(x, name[i], rate(x, grown));
    }
    json_w_object_end(x->w);
    return sum;
}

static void write_overload_of(struct write *x, const char *app)
{
    json_w_object(x->w);
    put_str(x, S("app"), str_c(app));
    put_number(x, S("limit"), gauge(x, app, S("limit")));
    put_number(x, S("inflight"), gauge(x, app, S("inflight")));
    put_number(x, S("queued"), gauge(x, app, S("queued")));
    put_number(x, S("load"), load_of(x, app));
    put_number(x, S("admitted_rps"), rate(x, grown_of(x, app, S("overload"), S("admitted"))));
    uint64_t shed = put_rates(x, app, S("shed"), priorities, COUNT(priorities));
    (void)put_rates(x, app, S("reasons"), reasons, COUNT(reasons));
    put_number(x, S("shed_rps"), rate(x, shed));
    json_w_object_end(x->w);
}

static void write_overload(struct write *x)
{
    json_w_key(x->w, S("overload"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->p->n_sources; i++) {
        const struct source *s = &x->p->source[i];
        bool first = has_overload(x, s);
        for (size_t k = 0; first && k < i; k++)
            first = !tells_of(x, &x->p->source[k], s->instance.app);
        if (first)
            write_overload_of(x, s->instance.app);
    }
    json_w_array_end(x->w);
}

/* ---- instances, as their callers see them ---- */

enum peer_state { PEER_OK, PEER_SLOW_START, PEER_DRAINING, PEER_EJECTED, PEER_STATES };
static const str peer_state[PEER_STATES] = { S("ok"), S("slow-start"), S("draining"),
                                             S("ejected") };

struct peer_view {
    str app, address, zone;
    unsigned callers, seen_as[PEER_STATES];
    double inflight, latency_sum, latency_weight;
    uint64_t calls, failed;
};

/* The port of an address on this machine's loopback; 0 = it's elsewhere. */
static unsigned loopback_port(str address)
{
    size_t colon = address.n;
    int64_t port;
    while (colon > 0 && address.p[colon - 1] != ':')
        colon--;
    if (!colon || !str_to_i64(str_skip(address, colon), &port) || port < 1 || port > UINT16_MAX)
        return 0;
    str host = str_take(address, colon - 1);
    bool here =
        str_starts(host, S("127.")) || str_eq(host, S("localhost")) || str_eq(host, S("[::1]"));
    return here ? (unsigned)port : 0;
}

/* Which of this run's instances listens there; "" if it is another's. */
static str instance_at(const struct write *x, str app, str address)
{
    unsigned port = loopback_port(address);
    for (size_t i = 0; i < x->p->n_sources; i++) {
        const struct page_instance *in = &x->p->source[i].instance;
        if (port && in->internal_port == port && str_eq(str_c(in->app), app))
            return str_c(in->name);
    }
    return S("");
}

static struct peer_view *peer_for(struct write *x, struct map *by_key, str app, str address)
{
    str key = tally_peer(x->arena, app, address);
    struct peer_view *v = key.p ? map_get(by_key, key) : NULL;
    if (v || !key.p)
        return v;
    v = arena_zalloc(x->arena, sizeof(*v));
    if (!v || map_put(by_key, key, v, NULL) != 0)
        return NULL;
    v->app = app;
    v->address = address;
    v->inflight = NAN;
    return v;
}

static void merge_peer(struct write *x, struct map *by_key, const struct source *s, struct json p)
{
    str app = text_of(x, p, S("app")), address = text_of(x, p, S("address"));
    struct peer_view *v = app.n && address.n ? peer_for(x, by_key, app, address) : NULL;
    if (!v)
        return;
    str name = tally_peer(x->arena, app, address), state = text_of(x, p, S("state"));
    uint64_t calls = tally_window(s, S("calls"), name, x->arena);
    double latency = number_of(p, S("latency_ms"));
    v->callers++;
    v->calls += calls;
    v->failed += tally_window(s, S("failed"), name, x->arena);
    v->inflight = add_known(v->inflight, number_of(p, S("inflight")));
    if (!v->zone.n)
        v->zone = text_of(x, p, S("zone"));
    if (latency > 0) { /* 0: none was measured yet */
        v->latency_sum += latency * (double)(calls + 1);
        v->latency_weight += (double)(calls + 1);
    }
    for (size_t i = 0; i < PEER_STATES; i++)
        if (str_eq(state, peer_state[i]))
            v->seen_as[i]++;
}

static void write_peer(struct write *x, const struct peer_view *v)
{
    size_t state = PEER_STATES - 1;
    while (state > PEER_OK && !v->seen_as[state])
        state--;
    json_w_object(x->w);
    put_str(x, S("app"), v->app);
    put_str(x, S("address"), v->address);
    put_str(x, S("name"), instance_at(x, v->app, v->address));
    put_str(x, S("zone"), v->zone);
    put_str(x, S("state"), peer_state[state]);
    put_count(x, S("callers"), v->callers);
    put_count(x, S("agree"), v->seen_as[state]);
    put_number(x, S("inflight"), v->inflight);
    put_number(x, S("latency_ms"),
               v->latency_weight > 0 ? v->latency_sum / v->latency_weight : NAN);
    put_number(x, S("rps"), rate(x, v->calls));
    put_number(x, S("error_rate"), share(v->failed, v->calls));
    json_w_object_end(x->w);
}

static void write_peers(struct write *x)
{
    AUTO(map_done) struct map by_key;
    map_init(&by_key, PAGE_PEERS_MAX);
    for (size_t i = 0; i < x->p->n_sources; i++) {
        const struct source *s = &x->p->source[i];
        struct json_iter it = json_iter(json_get(s->feed, S("instances")));
        struct json p;
        while (source_fresh(s, x->now_ns) && json_next(&it, NULL, &p))
            merge_peer(x, &by_key, s, p);
    }
    struct map_entry *e;
    json_w_key(x->w, S("peers"));
    json_w_array(x->w);
    for (size_t at = 0; (e = map_next(&by_key, &at));)
        write_peer(x, e->value);
    json_w_array_end(x->w);
}

/* ---- who a breaker or a fault is of ---- */

enum { CALLERS_MAX = 16 };

struct callers { /* apps; more than these are left out */
    const char *app[CALLERS_MAX];
    size_t n;
};

static void add_caller(struct callers *c, const char *app)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->app[i], app) == 0)
            return;
    if (c->n < COUNT(c->app))
        c->app[c->n++] = app;
}

static void write_callers(struct write *x, const struct callers *c)
{
    json_w_key(x->w, S("apps"));
    json_w_array(x->w);
    for (size_t i = 0; i < c->n; i++)
        json_w_str(x->w, str_c(c->app[i]));
    json_w_array_end(x->w);
}

/* ---- breakers ---- */

enum { CLOSED, HALF_OPEN, OPEN, BREAKER_VIEWS };
static const str breaker_view[BREAKER_VIEWS] = { S("closed"), S("half-open"), S("open") };

struct breaker_view {
    str target;
    unsigned seen_as[BREAKER_VIEWS];
    struct callers callers; /* who has it */
};

static struct breaker_view *breaker_for(struct breaker_view *v, size_t *n, str target)
{
    for (size_t i = 0; i < *n; i++)
        if (str_eq(v[i].target, target))
            return &v[i];
    if (*n == PAGE_BREAKERS_MAX)
        return NULL;
    v[*n] = (struct breaker_view){ .target = target };
    return &v[(*n)++];
}

static void gather_breakers(struct write *x, const struct source *s, struct breaker_view *v,
                            size_t *n)
{
    struct json_iter it = json_iter(json_get(s->feed, S("breakers")));
    struct json item;
    while (json_next(&it, NULL, &item)) {
        str target = text_of(x, item, S("target")), state = text_of(x, item, S("state"));
        struct breaker_view *b = target.n ? breaker_for(v, n, target) : NULL;
        if (!b)
            continue;
        add_caller(&b->callers, s->instance.app);
        for (size_t i = 0; i < BREAKER_VIEWS; i++)
            if (str_eq(state, breaker_view[i]))
                b->seen_as[i]++;
    }
}

static void write_breaker(struct write *x, const struct breaker_view *b)
{
    size_t state = BREAKER_VIEWS - 1;
    str app, address;
    while (state > CLOSED && !b->seen_as[state])
        state--;
    json_w_object(x->w);
    put_str(x, S("target"), b->target);
    put_str(x, S("name"),
            str_cut(b->target, '@', &app, &address) ? instance_at(x, app, address) : S(""));
    put_str(x, S("state"), breaker_view[state]);
    put_count(x, S("agree"), b->seen_as[state]);
    write_callers(x, &b->callers);
    json_w_object_end(x->w);
}

static void write_breakers(struct write *x)
{
    size_t n = 0;
    struct breaker_view *v = arena_alloc(x->arena, PAGE_BREAKERS_MAX * sizeof(*v));
    for (size_t i = 0; v && i < x->p->n_sources; i++)
        if (source_fresh(&x->p->source[i], x->now_ns))
            gather_breakers(x, &x->p->source[i], v, &n);
    json_w_key(x->w, S("breakers"));
    json_w_array(x->w);
    for (size_t i = 0; i < n; i++)
        write_breaker(x, &v[i]);
    json_w_array_end(x->w);
}

/* ---- zones ---- */

struct zone_pair {
    str from, to;
    uint64_t calls;
};

/* A sidecar names the zones of its own region without it. */
static str full_zone(struct write *x, str region, str zone)
{
    if (!region.n || !zone.n || str_contains(zone, S("/")) || str_eq(zone, S("unknown")))
        return zone;
    str full = arena_printf(x->arena, STR_FMT "/" STR_FMT, STR_ARG(region), STR_ARG(zone));
    return full.p ? full : zone;
}

static struct zone_pair *pair_for(struct zone_pair *v, size_t *n, str from, str to)
{
    for (size_t i = 0; i < *n; i++)
        if (str_eq(v[i].from, from) && str_eq(v[i].to, to))
            return &v[i];
    if (*n == PAGE_ZONE_PAIRS_MAX)
        return NULL;
    v[*n] = (struct zone_pair){ from, to, 0 };
    return &v[(*n)++];
}

static void gather_zones(struct write *x, const struct source *s, struct zone_pair *v, size_t *n)
{
    struct json zones = json_get(s->feed, S("zones")), key, calls;
    struct json_iter it = json_iter(json_get(zones, S("calls")));
    str region = text_of(x, zones, S("region")), name;
    str own = full_zone(x, region, text_of(x, zones, S("own")));
    while (json_next(&it, &key, &calls)) {
        if (key.type != JSON_STRING || json_string(x->arena, key, &name) != 0)
            continue;
        struct zone_pair *p = pair_for(v, n, own, full_zone(x, region, name));
        if (p)
            p->calls += tally_window(s, S("zones"), name, x->arena);
    }
}

/* A caller without a zone crosses no border. */
static void write_zone_pairs(struct write *x, const struct zone_pair *v, size_t n)
{
    uint64_t from_zones = 0, crossed = 0;
    json_w_key(x->w, S("zones"));
    json_w_object(x->w);
    json_w_key(x->w, S("pairs"));
    json_w_array(x->w);
    for (size_t i = 0; i < n; i++) {
        json_w_object(x->w);
        put_str(x, S("from"), v[i].from);
        put_str(x, S("to"), v[i].to);
        put_number(x, S("rps"), rate(x, v[i].calls));
        json_w_object_end(x->w);
        from_zones += v[i].from.n ? v[i].calls : 0;
        crossed += v[i].from.n && !str_eq(v[i].from, v[i].to) ? v[i].calls : 0;
    }
    json_w_array_end(x->w);
    put_number(x, S("crossing"), share(crossed, from_zones));
    json_w_object_end(x->w);
}

static void write_zones(struct write *x)
{
    size_t n = 0;
    struct zone_pair *v = arena_alloc(x->arena, PAGE_ZONE_PAIRS_MAX * sizeof(*v));
    for (size_t i = 0; v && i < x->p->n_sources; i++)
        if (source_fresh(&x->p->source[i], x->now_ns))
            gather_zones(x, &x->p->source[i], v, &n);
    write_zone_pairs(x, v, n);
}

/* ---- faults on purpose ---- */

struct fault_view {
    str name, fault, app, method, zone, status;
    double percent, delay_ms, delay_max_ms, left_s;
    uint64_t injected;
    unsigned sidecars;
    struct callers callers; /* whose calls it hits */
};

static struct fault_view *fault_for(struct write *x, struct fault_view *v, size_t *n,
                                    struct json item)
{
    str name = text_of(x, item, S("name")), fault = text_of(x, item, S("fault"));
    for (size_t i = 0; i < *n; i++)
        if (str_eq(v[i].name, name) && str_eq(v[i].fault, fault))
            return &v[i];
    if (*n == PAGE_FAULTS_MAX || !fault.n)
        return NULL;
    v[*n] = (struct fault_view){
        .name = name,
        .fault = fault,
        .app = text_of(x, item, S("app")),
        .method = text_of(x, item, S("method")),
        .zone = text_of(x, item, S("zone")),
        .status = text_of(x, item, S("status")),
        .percent = number_of(item, S("percent")),
        .delay_ms = number_of(item, S("delay_ms")),
        .delay_max_ms = number_of(item, S("delay_max_ms")),
        .left_s = NAN,
    };
    return &v[(*n)++];
}

static void gather_faults(struct write *x, const struct source *s, struct fault_view *v, size_t *n)
{
    struct json_iter it = json_iter(json_get(s->feed, S("chaos")));
    double age_s = (double)(x->now_ns - s->at_ns) / 1e9;
    struct json item;
    while (json_next(&it, NULL, &item)) {
        uint64_t injected;
        struct fault_view *f = fault_for(x, v, n, item);
        double left = number_of(item, S("left_s")) - age_s;
        if (!f)
            continue;
        f->sidecars++;
        add_caller(&f->callers, s->instance.app);
        f->injected += json_u64(json_get(item, S("injected")), &injected) ? injected : 0;
        if (!isnan(left))
            f->left_s = fmax(isnan(f->left_s) ? 0 : f->left_s, left);
    }
}

static void write_fault(struct write *x, const struct fault_view *f)
{
    json_w_object(x->w);
    put_str(x, S("name"), f->name);
    put_str(x, S("fault"), f->fault);
    put_str(x, S("app"), f->app);
    put_str(x, S("method"), f->method);
    put_str(x, S("zone"), f->zone);
    put_str(x, S("status"), f->status);
    put_number(x, S("percent"), f->percent);
    put_number(x, S("delay_ms"), f->delay_ms);
    put_number(x, S("delay_max_ms"), f->delay_max_ms);
    put_number(x, S("left_s"), f->left_s);
    put_count(x, S("injected"), f->injected);
    put_count(x, S("sidecars"), f->sidecars);
    write_callers(x, &f->callers);
    json_w_object_end(x->w);
}

static void write_faults(struct write *x)
{
    size_t n = 0;
    struct fault_view *v = arena_alloc(x->arena, PAGE_FAULTS_MAX * sizeof(*v));
    for (size_t i = 0; v && i < x->p->n_sources; i++)
        if (source_fresh(&x->p->source[i], x->now_ns))
            gather_faults(x, &x->p->source[i], v, &n);
    json_w_key(x->w, S("chaos"));
    json_w_array(x->w);
    for (size_t i = 0; i < n; i++)
        write_fault(x, &v[i]);
    json_w_array_end(x->w);
}

void page_write_resilience(struct write *x)
{
    write_overload(x);
    write_peers(x);
    write_breakers(x);
    write_zones(x);
    write_faults(x);
}
