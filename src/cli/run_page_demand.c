/* What an app is asked for, out of the feeds that the page has. Where sidecars tell their overload
 * control ("overload"), that is the truth; else what their edges and counts of requests say. */
#include "cli/run_page_private.h"

#include "base/clock.h"

#include <math.h>

enum { TOPICS_MAX = 64 };

struct view {                       /* of one app, over its sidecars */
    unsigned sidecars, fresh, told; /* told: their overload */
    double inside, waiting, shed_rps, done_rps, asleep;
};

static double number(struct json v, str name)
{
    double d;
    return json_double(json_get(v, name), &d) ? d : 0;
}

static uint64_t sum_of_members(struct json object)
{
    struct json_iter it = json_iter(object);
    struct json v;
    uint64_t sum = 0, n;
    while (json_next(&it, NULL, &v))
        sum += json_u64(v, &n) ? n : 0;
    return sum;
}

/* Counts are cumulative; one that fell is of another life. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
    return now >= before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

static void take_overload(struct view *v, struct source *s, struct json o)
{
    v->told++;
    v->inside += number(o, S("inflight"));
    v->waiting += number(o, S("queued"));
    if (s->at_ns != s->load.at_ns) {
        uint64_t admitted = (uint64_t)number(o, S("admitted"));
        uint64_t shed = sum_of_members(json_get(o, S("shed")));
        double seconds = s->load.at_ns ? (double)(s->at_ns - s->load.at_ns) / 1e9 : 0;
        s->load.done_rps = rate(admitted, s->load.admitted, seconds);
        s->load.shed_rps = rate(shed, s->load.shed, seconds);
        s->load.at_ns = s->at_ns;
        s->load.admitted = admitted;
        s->load.shed = shed;
    }
    v->done_rps += s->load.done_rps;
    v->shed_rps += s->load.shed_rps;
}

static void take_source(struct view *v, struct source *s, uint64_t now)
{
    v->sidecars++;
    if (!source_fresh(s, now))
        return;
    v->fresh++;
    v->asleep += number(json_get(s->feed, S("sleep")), S("waiting"));
    struct json o = json_get(s->feed, S("overload"));
    if (o.type == JSON_OBJECT)
        take_overload(v, s, o);
    else
        v->inside += number(s->feed, S("in_flight"));
}

/* ---- edges: what callers have seen ---- */

static bool handled_by(const struct edge *e, const char *app, const char *kind)
{
    return strcmp(e->to, app) == 0 && strcmp(e->kind, kind) == 0;
}

static void add(struct counts *to, const struct counts *c)
{
    to->n += c->n;
    for (size_t i = 0; i < PAGE_BUCKETS; i++)
        to->hist[i] += c->hist[i];
}

static void sum_edges(const struct page *p, const char *app, struct counts *calls,
                      struct counts *events)
{
    for (size_t i = 0; i < p->n_edges; i++) {
        const struct edge *e = p->edge[i];
        if (handled_by(e, app, "invoke"))
            add(calls, &e->window);
        else if (handled_by(e, app, "deliver") || handled_by(e, app, "binding"))
            add(events, &e->window);
    }
}

/* ---- queues: several sidecars see the same one ---- */

struct queue {
    str pubsub, topic;
    double depth, oldest_s;
};

static void take_topic(struct queue q[TOPICS_MAX], size_t *n, struct json v)
{
    str pubsub = json_get(v, S("pubsub")).raw, topic = json_get(v, S("topic")).raw;
    size_t i = 0;
    while (i < *n && !(str_eq(q[i].pubsub, pubsub) && str_eq(q[i].topic, topic)))
        i++;
    if (i == TOPICS_MAX)
        return;
    if (i == *n)
        q[(*n)++] = (struct queue){ pubsub, topic, 0, 0 };
    q[i].depth = fmax(q[i].depth, number(v, S("depth")));
    q[i].oldest_s = fmax(q[i].oldest_s, number(v, S("oldest_s")));
}

static void look_at_queues(const struct page *p, const char *app, uint64_t now,
                           struct page_demand *ret)
{
    struct queue q[TOPICS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < p->n_sources; i++) {
        const struct source *s = &p->source[i];
        if (!s->used || strcmp(s->instance.app, app) != 0 || !source_fresh(s, now))
            continue;
        struct json_iter it = json_iter(json_get(s->feed, S("topics")));
        struct json v;
        while (json_next(&it, NULL, &v))
            if (json_eq_str(json_get(v, S("consumer")), str_c(app)))
                take_topic(q, &n, v);
    }
    for (size_t i = 0; i < n; i++) {
        ret->depth += q[i].depth;
        ret->oldest_s = fmax(ret->oldest_s, q[i].oldest_s);
    }
}

/* ---- all of it ---- */

static void unknown(struct page_demand *ret)
{
    *ret = (struct page_demand){ NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0 };
}

void page_demand(struct page *p, const char *app, uint64_t now_ns, struct page_demand *ret)
{
    struct view v = { 0 };
    struct counts calls = { 0 }, events = { 0 };
    for (size_t i = 0; i < p->n_sources; i++)
        if (p->source[i].used && strcmp(p->source[i].instance.app, app) == 0)
            take_source(&v, &p->source[i], now_ns);
    if (!v.fresh) {
        unknown(ret);
        return;
    }
    sum_edges(p, app, &calls, &events);
    double s = p->window_s > 0 ? p->window_s : INFINITY;
    double asked = (double)calls.n / s, delivered = (double)events.n / s;
    if (!v.told)
        v.done_rps = asked + delivered;
    else
        asked = fmax(0, v.done_rps - delivered) + v.shed_rps;
    /* What is turned away would have been inside for as long as the others (Little). */
    double each_s = v.done_rps > 0 ? v.inside / v.done_rps : 0;
    *ret = (struct page_demand){
        .at_once = v.inside + v.waiting + v.asleep + v.shed_rps * each_s,
        .asked_rps = asked,
        .done_rps = v.done_rps,
        .p99_s = calls.n ? page_quantile_ms(calls.hist, 0.99) / 1e3 : 0,
        .asleep_waiting = v.asleep,
    };
    look_at_queues(p, app, now_ns, ret);
    ret->unmet = v.waiting + v.asleep + v.shed_rps + fmax(0, ret->depth - v.inside);
}

void page_set_scale(struct page *p, const struct page_scale *v, size_t n)
{
    p->n_scales = n < PAGE_SCALES_MAX ? n : PAGE_SCALES_MAX;
    for (size_t i = 0; i < p->n_scales; i++)
        p->scale[i] = v[i];
}
