#include "test/unit/policy/sim_app.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t STEP = 100000;

struct sim_call {
    struct admission_place place;
    struct sim_call *next;           /* free, or in the app's queue */
    struct sim_call *before, *after; /* among those that wait for a place */
    struct sim *sim;
    uint64_t arrived_ns, done_ns, deadline_ns;
    enum priority priority;
    unsigned method;
    bool patient, waits;
};

static double unit(struct sim *s)
{
    s->seed = s->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(s->seed >> 11) / 9007199254740992.0;
}

static void give_back(struct sim_call *c)
{
    c->next = c->sim->free;
    c->sim->free = c;
}

static void unlink_waiting(struct sim_call *c)
{
    if (!c->waits)
        return;
    if (c->before)
        c->before->after = c->after;
    else
        c->sim->waiting = c->after;
    if (c->after)
        c->after->before = c->before;
    c->waits = false;
}

static void decided(struct sim_call *c)
{
    struct sim *s = c->sim;
    unlink_waiting(c);
    if (c->place.verdict == ADMISSION_OUT) {
        *(c->patient ? &s->r.patient_shed : &s->r.shed[c->priority]) += 1;
        give_back(c);
        return;
    }
    s->in_app++;
    s->r.late += c->deadline_ns <= s->now_ns;
    c->next = NULL;
    if (s->app_last)
        s->app_last->next = c;
    else
        s->app_first = c;
    s->app_last = c;
}

static void on_wake(struct admission_place *p)
{
    decided(CONTAINER_OF(p, struct sim_call, place));
}

static void arrive(struct sim *s, const struct sim_source *from)
{
    struct sim_call *c = s->free;
    PRE(c);
    s->free = c->next;
    *c = (struct sim_call){
        .sim = s,
        .arrived_ns = s->now_ns,
        .deadline_ns = from->timeout_ns ? s->now_ns + from->timeout_ns : UINT64_MAX,
        .priority = from->priority,
        .method = from->method,
        .patient = from->patient,
    };
    *(c->patient ? &s->r.patient_offered : &s->r.offered[c->priority]) += 1;
    struct admission_ask ask = {
        .method = from->method + 1,
        .level = priority_level(from->priority, (unsigned)(unit(s) * PRIORITY_SUBS)),
        .patient = from->patient,
        .deadline_ns = c->deadline_ns,
    };
    if (admission_enter(s->a, &c->place, &ask, s->now_ns) != ADMISSION_WAIT) {
        decided(c);
        return;
    }
    c->waits = true;
    c->after = s->waiting;
    if (c->after)
        c->after->before = c;
    s->waiting = c;
}

static void finish(struct sim *s, struct sim_call *c)
{
    s->in_app--;
    if (c->patient)
        s->r.patient_done++;
    else {
        s->r.done[c->priority]++;
        if (s->r.n_latencies < SIM_LATENCIES)
            s->r.latency_us[s->r.n_latencies++] = (uint32_t)((s->now_ns - c->arrived_ns) / 1000);
    }
    s->r.by_method[c->method]++;
    admission_leave(s->a, &c->place, ADMISSION_DONE, s->now_ns);
    give_back(c);
}

static void run_app(struct sim *s)
{
    if (s->now_ns < s->stall_until_ns)
        return;
    for (unsigned i = 0; i < s->n_running;) {
        struct sim_call *c = s->running[i];
        if (c->done_ns > s->now_ns) {
            i++;
            continue;
        }
        s->running[i] = s->running[--s->n_running];
        finish(s, c);
    }
    while (s->app_first && s->n_running < s->workers) {
        struct sim_call *c = s->app_first;
        s->app_first = c->next;
        if (!s->app_first)
            s->app_last = NULL;
        double ns = s->service_ns[c->method] * (s->exponential ? -log(1 - unit(s)) : 1);
        c->done_ns = s->now_ns + (uint64_t)ns;
        s->running[s->n_running++] = c;
    }
}

static void look(struct sim *s)
{
    struct sim_call *after;
    if (s->now_ns < s->look_ns)
        return;
    s->look_ns = s->now_ns + ADMISSION_LOOK_NS;
    for (struct sim_call *c = s->waiting; c; c = after) {
        after = c->after;
        enum admission_verdict v = admission_check(s->a, &c->place, s->now_ns);
        after = c->after; /* others may have been told meanwhile */
        if (v == ADMISSION_WAIT && c->deadline_ns <= s->now_ns)
            v = admission_abandon(s->a, &c->place, s->now_ns);
        if (v != ADMISSION_WAIT)
            decided(c);
    }
}

void sim_init(struct sim *s, unsigned workers, double service_ms, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->workers = workers;
    s->seed = seed;
    s->now_ns = SEC(1000);
    for (size_t i = 0; i < SIM_METHODS; i++)
        s->service_ns[i] = service_ms * 1e6;
    s->call = mem_zalloc(SIM_CALLS * sizeof *s->call);
    s->r.latency_us = mem_zalloc(SIM_LATENCIES * sizeof *s->r.latency_us);
    PRE(s->call && s->r.latency_us);
    for (size_t i = 0; i < SIM_CALLS; i++) {
        s->call[i].sim = s;
        give_back(&s->call[i]);
    }
    s->a = admission_new(&(struct admission_config){ .adaptive = true, .wake = on_wake });
    PRE(s->a);
}

void sim_done(struct sim *s)
{
    sim_run(s, NULL, 0, SEC(60)); /* all leave */
    PRE(s->in_app == 0);
    admission_free(s->a);
    mem_free(s->call);
    mem_free(s->r.latency_us);
}

void sim_run(struct sim *s, const struct sim_source *source, size_t n, uint64_t ns)
{
    uint32_t *latency = s->r.latency_us;
    s->r = (struct sim_result){ .latency_us = latency };
    for (uint64_t end = s->now_ns + ns; s->now_ns < end; s->now_ns += STEP) {
        run_app(s);
        for (size_t i = 0; i < n; i++) {
            double expected = source[i].per_s * (double)STEP / 1e9;
            for (; expected > 0; expected -= 1)
                if (unit(s) < expected)
                    arrive(s, &source[i]);
        }
        look(s);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

double sim_quantile(struct sim *s, double q)
{
    if (!s->r.n_latencies)
        return 0;
    qsort(s->r.latency_us, s->r.n_latencies, sizeof *s->r.latency_us, by_size);
    return s->r.latency_us[(size_t)((double)(s->r.n_latencies - 1) * q)] / 1e3;
}

uint64_t sim_sum(const uint64_t v[PRIORITIES])
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PRIORITIES; i++)
        sum += v[i];
    return sum;
}
