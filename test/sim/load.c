#include "test/sim/load.h"

#include "base/mem.h"

#include <stdlib.h>

struct user {
    struct event again;
    struct source *source;
    struct client *client;
    enum priority priority;
    unsigned asked;
    struct user *free;
};

/* ---- what became of calls ---- */

void flow_reset(struct flow *f)
{
    *f = (struct flow){ .latency_us = f->latency_us, .cap = f->cap, .slow_ns = f->slow_ns };
}

void flow_done(struct flow *f)
{
    mem_free(f->latency_us);
}

static void count(struct flow *f, const struct call *c, enum outcome outcome, uint64_t took_ns)
{
    f->outcome[c->order.priority][outcome]++;
    if (outcome != CALL_GOOD || c->start_ns < f->since_ns)
        return;
    f->slow += f->slow_ns && took_ns > f->slow_ns;
    if (f->n == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 1024;
        f->latency_us = mem_realloc(f->latency_us, f->cap * sizeof *f->latency_us);
        PRE(f->latency_us);
    }
    f->latency_us[f->n++] = (uint32_t)(took_ns / 1000);
}

uint64_t flow_offered(const struct flow *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i < PRIORITIES; i++)
        n += f->offered[i];
    return n;
}

uint64_t flow_sum(const struct flow *f, enum outcome o)
{
    uint64_t n = 0;
    for (size_t i = 0; i < PRIORITIES; i++)
        n += f->outcome[i][o];
    return n;
}

static double share(uint64_t n, uint64_t of, double of_none)
{
    return of ? (double)n / (double)of : of_none;
}

static uint64_t ended(const struct flow *f)
{
    uint64_t n = 0;
    for (int o = 0; o < OUTCOMES; o++)
        n += flow_sum(f, (enum outcome)o);
    return n;
}

double flow_good(const struct flow *f)
{
    return share(flow_sum(f, CALL_GOOD), ended(f), 1);
}

double flow_good_of(const struct flow *f, enum priority p)
{
    uint64_t n = 0;
    for (int o = 0; o < OUTCOMES; o++)
        n += f->outcome[p][o];
    return share(f->outcome[p][CALL_GOOD], n, 1);
}

double flow_affected(const struct flow *f)
{
    return share(ended(f) - flow_sum(f, CALL_GOOD) + f->slow, ended(f), 0);
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

double flow_quantile_ms(struct flow *f, double q)
{
    if (!f->n)
        return 0;
    qsort(f->latency_us, f->n, sizeof *f->latency_us, ascending);
    return f->latency_us[(size_t)((double)(f->n - 1) * q)] / 1e3;
}

/* ---- those who call ---- */

static void user_call(struct sim *s, struct event *e);

static void user_free(struct user *u)
{
    u->free = u->source->free;
    u->source->free = u;
}

static void call_ended(struct call *c, enum outcome outcome)
{
    struct user *u = c->order.arg;
    struct source *from = u->source;
    struct sim *s = from->fleet->sim;
    count(from->flow, c, outcome, s->now - c->start_ns);
    if (outcome == CALL_GOOD || u->asked > from->asks_again) {
        user_free(u);
        return;
    }
    u->again.fn = user_call;
    sim_after(s, &u->again, sim_exponential(s, from->again_ns));
}

static void user_call(struct sim *s, struct event *e)
{
    struct user *u = CONTAINER_OF(e, struct user, again);
    struct source *from = u->source;
    const struct order o = {
        .priority = u->priority,
        .method = from->method,
        .timeout_ns = from->timeout_ns,
        .patient = from->patient,
        .ended = call_ended,
        .arg = u,
    };
    (void)s;
    u->asked++;
    from->flow->offered[u->priority]++;
    client_call(u->client, &o);
}

static enum priority draw_class(struct source *from)
{
    double unit = sim_unit(from->fleet->sim);
    enum priority p = PRIORITY_CRITICAL;
    while (p + 1 < PRIORITIES && unit >= from->mix[p])
        unit -= from->mix[p++];
    return p;
}

static void arrive(struct sim *s, struct event *e)
{
    struct source *from = CONTAINER_OF(e, struct source, next);
    struct user *u = from->free;
    if (u)
        from->free = u->free;
    else
        u = sim_alloc(s, sizeof *u);
    *u = (struct user){ .source = from, .priority = draw_class(from) };
    u->client = from->client[sim_bits(s) % from->n_clients];
    sim_after(s, e, sim_exponential(s, 1e9 / from->per_s));
    user_call(s, &u->again);
}

void source_init(struct source *s, struct fleet *f, struct client **client, size_t n,
                 struct flow *flow)
{
    *s = (struct source){ .fleet = f, .client = client, .n_clients = n, .flow = flow };
    s->next.fn = arrive;
    s->mix[PRIORITY_NORMAL] = 1;
}

void source_rate(struct source *s, double per_s)
{
    struct sim *sim = s->fleet->sim;
    s->per_s = per_s;
    sim_cancel(sim, &s->next);
    if (per_s > 0)
        sim_after(sim, &s->next, sim_exponential(sim, 1e9 / per_s));
}
