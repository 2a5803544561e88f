#include "cli/run_page_writer.h"

#include "base/clock.h"

enum { WRITE_ARENA_MAX = 32 << 20 };

struct topic {
    str pubsub, topic, consumer, id;
    double depth, oldest_s, dead;
    uint64_t at_ns;
};

struct resource {
    str kind, name, type, status, file, error;
    const char *app[16];
    size_t n_apps;
};

/* ---- gathering what several sidecars tell ---- */

static struct topic *topic_for(struct write *x, str pubsub, str topic, str consumer)
{
    for (size_t i = 0; i < x->n_topics; i++) {
        struct topic *t = &x->topic[i];
        if (str_eq(t->pubsub, pubsub) && str_eq(t->topic, topic) && str_eq(t->consumer, consumer))
            return t;
    }
    if (x->n_topics == PAGE_TOPICS_MAX)
        return NULL;
    str id = arena_printf(x->arena, "topic:" STR_FMT "/" STR_FMT, STR_ARG(pubsub), STR_ARG(topic));
    if (!id.p)
        return NULL;
    struct topic *t = &x->topic[x->n_topics++];
    *t = (struct topic){ pubsub, topic, consumer, id, NAN, NAN, NAN, 0 };
    return t;
}

static double larger(double a, double b)
{
    return isnan(a) || b > a ? b : a;
}

/* Instances of a consumer see the same queue: their views aren't added, the fresh ones' maximum
 * counts, and a stale view only as long as there is no fresher one. */
static void merge_topic(struct write *x, struct topic *t, struct json v, uint64_t at_ns)
{
    bool fresh = x->now_ns - at_ns < MS(SOURCE_FRESH_MS);
    bool was_fresh = t->at_ns && x->now_ns - t->at_ns < MS(SOURCE_FRESH_MS);
    if (was_fresh && !fresh)
        return;
    if (!fresh && t->at_ns > at_ns)
        return;
    if (!(fresh && was_fresh))
        t->depth = t->oldest_s = t->dead = NAN;
    t->depth = larger(t->depth, number_of(v, S("depth")));
    t->oldest_s = larger(t->oldest_s, number_of(v, S("oldest_s")));
    t->dead = larger(t->dead, number_of(v, S("dead")));
    if (at_ns > t->at_ns)
        t->at_ns = at_ns;
}

static void gather_topics(struct write *x, const struct source *s)
{
    struct json_iter it = json_iter(json_get(s->feed, S("topics")));
    struct json v;
    while (json_next(&it, NULL, &v)) {
        struct topic *t = topic_for(x, text_of(x, v, S("pubsub")), text_of(x, v, S("topic")),
                                    text_of(x, v, S("consumer")));
        if (t)
            merge_topic(x, t, v, s->at_ns);
    }
}

static struct resource *resource_for(struct write *x, str kind, str name, str file)
{
    for (size_t i = 0; i < x->n_resources; i++) {
        struct resource *r = &x->resource[i];
        if (str_eq(r->kind, kind) && str_eq(r->name, name) && str_eq(r->file, file))
            return r;
    }
    if (x->n_resources == PAGE_RESOURCES_MAX)
        return NULL;
    struct resource *r = &x->resource[x->n_resources++];
    *r = (struct resource){ .kind = kind, .name = name, .file = file };
    return r;
}

static void add_app(struct resource *r, const char *app)
{
    for (size_t i = 0; i < r->n_apps; i++)
        if (strcmp(r->app[i], app) == 0)
            return;
    if (r->n_apps < COUNT(r->app))
        r->app[r->n_apps++] = app;
}

static str below_base(const struct write *x, str file)
{
    str base = str_c(x->p->base_dir);
    bool below = base.n && str_starts(file, base) && file.n > base.n && file.p[base.n] == '/';
    return below ? str_skip(file, base.n + 1) : file;
}

/* One resource that many sidecars load is one line; an error of any of them is what's shown. */
static void gather_resources(struct write *x, const struct source *s)
{
    struct json_iter it = json_iter(json_get(s->feed, S("resources")));
    struct json v;
    while (json_next(&it, NULL, &v)) {
        struct resource *r = resource_for(x, text_of(x, v, S("kind")), text_of(x, v, S("name")),
                                          text_of(x, v, S("file")));
        if (!r)
            continue;
        str error = text_of(x, v, S("error"));
        if (!r->n_apps || (error.n && !r->error.n)) {
            r->type = text_of(x, v, S("type"));
            r->status = text_of(x, v, S("status"));
            r->error = error;
        }
        add_app(r, s->instance.app);
    }
}

/* ---- sums over edges ---- */

static bool handled_by(const struct edge *e, const char *app)
{
    bool call = strcmp(e->kind, "invoke") == 0 || strcmp(e->kind, "deliver") == 0 ||
                strcmp(e->kind, "binding") == 0;
    return call && strcmp(e->to, app) == 0;
}

static void add_counts(struct counts *to, const struct counts *c)
{
    to->n += c->n;
    to->errors += c->errors;
    for (size_t i = 0; i < PAGE_BUCKETS; i++)
        to->hist[i] += c->hist[i];
}

static double queued(const struct write *x)
{
    double sum = NAN;
    for (size_t i = 0; i < x->n_topics; i++)
        if (!isnan(x->topic[i].depth))
            sum = (isnan(sum) ? 0 : sum) + x->topic[i].depth;
    return sum;
}

/* Calls from service to service and from clients: that is what the system is asked to do. */
static void write_totals(struct write *x)
{
    struct counts sum = { 0 };
    for (size_t i = 0; i < x->p->n_edges; i++)
        if (strcmp(x->p->edge[i]->kind, "invoke") == 0)
            add_counts(&sum, &x->p->edge[i]->window);
    double in_flight = 0;
    for (size_t i = 0; i < x->p->n_sources; i++) {
        const struct source *s = &x->p->source[i];
        double n = number_of(s->feed, S("in_flight"));
        if (!isnan(n) && source_fresh(s, x->now_ns))
            in_flight += n;
    }
    json_w_key(x->w, S("totals"));
    json_w_object(x->w);
    put_number(x, S("rps"), rate(x, sum.n));
    put_number(x, S("p50_ms"), page_quantile_ms(sum.hist, 0.5));
    put_number(x, S("p99_ms"), page_quantile_ms(sum.hist, 0.99));
    put_number(x, S("error_rate"), share(sum.errors, sum.n));
    put_number(x, S("in_flight"), in_flight);
    put_number(x, S("queued"), queued(x));
    json_w_object_end(x->w);
}

/* ---- sections ---- */

static void write_instance(struct write *x, const struct source *s)
{
    static const char *const states[] = { "starting",   "healthy", "unhealthy",
                                          "restarting", "asleep",  "stopped" };
    json_w_object(x->w);
    put_str(x, S("name"), str_c(s->instance.name));
    put_count(x, S("pid"), (uint64_t)s->process.pid);
    put_count(x, S("app_port"), s->instance.app_port);
    put_count(x, S("http_port"), s->instance.http_port);
    put_str(x, S("state"), str_c(states[s->process.state]));
    put_count(x, S("restarts"), s->process.restarts);
    put_number(x, S("cpu"), s->process.cpu);
    put_count(x, S("rss_bytes"), s->process.rss_bytes);
    put_number(x, S("uptime_s"), (double)s->process.uptime_ns / 1e9);
    put_str(x, S("zone"), str_c(s->instance.zone));
    json_w_object_end(x->w);
}

static bool is_of(const struct source *s, const char *app)
{
    return s->used && strcmp(s->instance.app, app) == 0;
}

static void write_service(struct write *x, size_t first)
{
    const char *app = x->p->source[first].instance.app;
    struct counts sum = { 0 };
    for (size_t i = 0; i < x->p->n_edges; i++)
        if (handled_by(x->p->edge[i], app))
            add_counts(&sum, &x->p->edge[i]->window);
    json_w_object(x->w);
    put_str(x, S("id"), str_c(app));
    put_number(x, S("rps"), rate(x, sum.n));
    put_number(x, S("error_rate"), share(sum.errors, sum.n));
    json_w_key(x->w, S("instances"));
    json_w_array(x->w);
    for (size_t i = first; i < x->p->n_sources; i++)
        if (is_of(&x->p->source[i], app))
            write_instance(x, &x->p->source[i]);
    json_w_array_end(x->w);
    json_w_object_end(x->w);
}

static void write_services(struct write *x)
{
    json_w_key(x->w, S("services"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->p->n_sources; i++) {
        bool first = x->p->source[i].used;
        for (size_t k = 0; first && k < i; k++)
            first = !is_of(&x->p->source[k], x->p->source[i].instance.app);
        if (first)
            write_service(x, i);
    }
    json_w_array_end(x->w);
}

static void write_edges(struct write *x)
{
    json_w_key(x->w, S("edges"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->p->n_edges; i++) {
        const struct edge *e = x->p->edge[i];
        json_w_object(x->w);
        put_str(x, S("from"), str_c(e->from));
        put_str(x, S("to"), str_c(e->to));
        put_str(x, S("kind"), str_c(e->kind));
        put_number(x, S("rps"), rate(x, e->window.n));
        put_number(x, S("p50_ms"), page_quantile_ms(e->window.hist, 0.5));
        put_number(x, S("p99_ms"), page_quantile_ms(e->window.hist, 0.99));
        put_number(x, S("error_rate"), share(e->window.errors, e->window.n));
        put_count(x, S("total"), e->total.n);
        json_w_object_end(x->w);
    }
    json_w_array_end(x->w);
}

static double topic_rate(const struct write *x, str id, const char *kind)
{
    uint64_t n = 0;
    for (size_t i = 0; i < x->p->n_edges; i++) {
        const struct edge *e = x->p->edge[i];
        bool in = strcmp(kind, "publish") == 0;
        if (strcmp(e->kind, kind) == 0 && str_eq(str_c(in ? e->to : e->from), id))
            n += e->window.n;
    }
    return rate(x, n);
}

/* Topics that so far only an edge names: somebody publishes, nobody has told of a queue. */
static void gather_topics_of_edges(struct write *x)
{
    for (size_t i = 0; i < x->p->n_edges; i++) {
        const struct edge *e = x->p->edge[i];
        const char *ends[] = { e->from, e->to };
        for (size_t k = 0; k < COUNT(ends); k++) {
            str id = str_c(ends[k]), pubsub, topic;
            if (!str_starts(id, S("topic:")) || !str_cut(str_skip(id, 6), '/', &pubsub, &topic))
                continue;
            bool known = false;
            for (size_t t = 0; t < x->n_topics; t++)
                known |= str_eq(x->topic[t].id, id);
            if (!known)
                (void)topic_for(x, pubsub, topic, S(""));
        }
    }
}

static void write_consumers(struct write *x, str id)
{
    json_w_key(x->w, S("consumers"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->n_topics; i++) {
        const struct topic *t = &x->topic[i];
        if (!str_eq(t->id, id) || !t->consumer.n)
            continue;
        json_w_object(x->w);
        put_str(x, S("app"), t->consumer);
        put_number(x, S("depth"), t->depth);
        put_number(x, S("oldest_s"), t->oldest_s);
        put_number(x, S("dead"), t->dead);
        json_w_object_end(x->w);
    }
    json_w_array_end(x->w);
}

static void write_topics(struct write *x)
{
    json_w_key(x->w, S("topics"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->n_topics; i++) {
        const struct topic *t = &x->topic[i];
        bool earlier = false;
        for (size_t k = 0; k < i; k++)
            earlier |= str_eq(x->topic[k].id, t->id);
        if (earlier)
            continue;
        json_w_object(x->w);
        put_str(x, S("id"), t->id);
        put_str(x, S("pubsub"), t->pubsub);
        put_str(x, S("topic"), t->topic);
        write_consumers(x, t->id);
        put_number(x, S("publish_rps"), topic_rate(x, t->id, "publish"));
        put_number(x, S("deliver_rps"), topic_rate(x, t->id, "deliver"));
        json_w_object_end(x->w);
    }
    json_w_array_end(x->w);
}

/* "state.sqlite/v1" → "state.sqlite": of the component called name. */
static str component_type(const struct write *x, str name)
{
    for (size_t i = 0; i < x->n_resources; i++) {
        str type, version;
        if (!str_eq(x->resource[i].name, name))
            continue;
        str_cut(x->resource[i].type, '/', &type, &version);
        if (str_starts(type, S("state.")))
            return type;
    }
    return S("");
}

static void write_store(struct write *x, const struct edge *e)
{
    str id = str_c(e->to), name, app;
    struct counts sum = { 0 };
    for (size_t i = 0; i < x->p->n_edges; i++)
        if (strcmp(x->p->edge[i]->to, e->to) == 0)
            add_counts(&sum, &x->p->edge[i]->window);
    str_cut(str_skip(id, 6), '@', &name, &app);
    json_w_object(x->w);
    put_str(x, S("id"), id);
    put_str(x, S("name"), name);
    put_str(x, S("app"), app);
    put_str(x, S("type"), component_type(x, name));
    put_number(x, S("rps"), rate(x, sum.n));
    put_number(x, S("p99_ms"), page_quantile_ms(sum.hist, 0.99));
    put_number(x, S("error_rate"), share(sum.errors, sum.n));
    json_w_object_end(x->w);
}

static void write_stores(struct write *x)
{
    json_w_key(x->w, S("stores"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->p->n_edges; i++) {
        const struct edge *e = x->p->edge[i];
        bool earlier = false;
        for (size_t k = 0; k < i; k++)
            earlier |= strcmp(x->p->edge[k]->to, e->to) == 0;
        if (str_starts(str_c(e->to), S("store:")) && !earlier)
            write_store(x, e);
    }
    json_w_array_end(x->w);
}

static void write_resources(struct write *x)
{
    json_w_key(x->w, S("resources"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->n_resources; i++) {
        const struct resource *r = &x->resource[i];
        json_w_object(x->w);
        put_str(x, S("kind"), r->kind);
        put_str(x, S("name"), r->name);
        put_str(x, S("type"), r->type);
        json_w_key(x->w, S("apps"));
        json_w_array(x->w);
        for (size_t k = 0; k < r->n_apps; k++)
            json_w_str(x->w, str_c(r->app[k]));
        json_w_array_end(x->w);
        put_str(x, S("status"), r->status);
        put_str(x, S("file"), below_base(x, r->file));
        put_str(x, S("error"), r->error);
        json_w_object_end(x->w);
    }
    json_w_array_end(x->w);
}

static void write_scale(struct write *x)
{
    json_w_key(x->w, S("scale"));
    json_w_array(x->w);
    for (size_t i = 0; i < x->p->n_scales; i++) {
        const struct page_scale *s = &x->p->scale[i];
        json_w_object(x->w);
        put_str(x, S("app"), str_c(s->app));
        put_count(x, S("instances"), s->instances);
        put_count(x, S("desired"), s->desired);
        put_count(x, S("min"), s->min);
        put_count(x, S("max"), s->max);
        put_str(x, S("metric"), str_c(s->metric));
        put_number(x, S("value"), s->value);
        put_number(x, S("target"), s->target);
        put_str(x, S("reason"), str_c(s->reason));
        json_w_object_end(x->w);
    }
    json_w_array_end(x->w);
}

static void put_time(struct write *x, uint64_t wall_ns)
{
    char text[RFC3339_MAX];
    size_t n = clock_rfc3339(wall_ns, false, 3, text);
    put_str(x, S("time"), str_of(text, n));
}

static void write_events(struct write *x)
{
    const struct page *p = x->p;
    uint64_t first = p->n_events > PAGE_EVENTS_MAX ? p->n_events - PAGE_EVENTS_MAX : 0;
    json_w_key(x->w, S("events"));
    json_w_array(x->w);
    for (uint64_t i = first; i < p->n_events; i++) {
        const struct event *e = &p->event[i % PAGE_EVENTS_MAX];
        json_w_object(x->w);
        put_count(x, S("id"), e->id);
        put_time(x, e->wall_ns);
        put_str(x, S("level"), str_c(e->level));
        put_str(x, S("app"), str_of(e->text, e->app_len));
        put_str(x, S("text"), str_of(e->text + e->app_len, e->len - e->app_len));
        json_w_object_end(x->w);
    }
    json_w_array_end(x->w);
}

static void write_head(struct write *x, uint64_t wall_ns)
{
    put_time(x, wall_ns);
    put_number(x, S("uptime_s"), (double)(x->now_ns - x->p->started_ns) / 1e9);
    json_w_key(x->w, S("run"));
    json_w_object(x->w);
    put_str(x, S("name"), str_c(x->p->name));
    put_str(x, S("version"), S(PROA_VERSION));
    json_w_object_end(x->w);
}

static int gather(struct write *x)
{
    x->topic = arena_alloc(x->arena, PAGE_TOPICS_MAX * sizeof(*x->topic));
    x->resource = arena_alloc(x->arena, PAGE_RESOURCES_MAX * sizeof(*x->resource));
    if (!x->topic || !x->resource)
        return -EXHAUSTED;
    for (size_t i = 0; i < x->p->n_sources; i++) {
        if (!x->p->source[i].used)
            continue;
        gather_topics(x, &x->p->source[i]);
        gather_resources(x, &x->p->source[i]);
    }
    gather_topics_of_edges(x);
    return 0;
}

int page_write(struct page *p, uint64_t now_ns, uint64_t wall_ns, struct buf *out)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, WRITE_ARENA_MAX);
    struct json_w w;
    json_w_init(&w, out, JSON_W_HTML);
    struct write x = { .p = p, .arena = &a, .w = &w, .now_ns = now_ns };
    int r = gather(&x);
    if (r)
        return r;
    json_w_object(&w);
    write_head(&x, wall_ns);
    write_totals(&x);
    write_services(&x);
    write_edges(&x);
    write_topics(&x);
    write_stores(&x);
    write_resources(&x);
    page_write_resilience(&x);
    write_scale(&x);
    write_events(&x);
    json_w_key(&w, S("progress"));
    json_w_raw(&w, str_of(p->progress, p->progress_len));
    json_w_object_end(&w);
    return buf_ok(out) ? 0 : -EXHAUSTED;
}
