#include "block/app/admit.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/mem.h"
#include "block/app/rates.h"
#include "telemetry/metrics.h"

#include <pthread.h>

struct admit {
    struct admission *admission;
    struct contexts *contexts;
    size_t max_concurrency;
    atomic_bool plain; /* nothing is configured that depends on the call */
    pthread_mutex_t lock;
    struct overload *overload;
    struct rates rates;
};

static void on_told(struct mail *m) /* on the waiter's worker */
{
    struct admit_place *p = CONTAINER_OF(m, struct admit_place, mail);
    p->woken = true;
    fiber_wake(p->fiber, 0);
}

static void tell(struct admission_place *place)
{
    struct admit_place *p = CONTAINER_OF(place, struct admit_place, place);
    worker_post(p->worker, &p->mail);
}

/* ---- begin and end ---- */

static struct admission_config config_of(const struct admit *a, const struct overload_spec *s)
{
    return (struct admission_config){
        .adaptive = s->enabled,
        .min = s->min,
        .max = s->max,
        .max_concurrency = a->max_concurrency,
        .max_queue = s->max_queue,
        .target_ns = s->target_ns,
        .wake = tell,
    };
}

int admit_new(size_t max_concurrency, struct admit **ret, struct error *err)
{
    struct admit *a = mem_zalloc(sizeof *a);
    if (!a)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    pthread_mutex_init(&a->lock, NULL);
    a->max_concurrency = max_concurrency;
    struct overload_spec defaults = overload_defaults();
    struct admission_config config = config_of(a, &defaults);
    a->overload = overload_new(&defaults, NULL, NULL);
    a->admission = admission_new(&config);
    a->contexts = contexts_new();
    atomic_init(&a->plain, true);
    if (!a->overload || !a->admission || !a->contexts) {
        admit_free(a);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    *ret = a;
    return 0;
}

void admit_free(struct admit *a)
{
    if (!a)
        return;
    admission_free(a->admission);
    contexts_free(a->contexts);
    overload_unref(a->overload);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
}

void admit_configure(struct admit *a, struct blocks *b, struct overload *o)
{
    struct admission_config config = config_of(a, overload_spec(o));
    pthread_mutex_lock(&a->lock);
    struct overload *old = a->overload;
    a->overload = o;
    a->rates.blocks = b;
    atomic_store(&a->plain, overload_is_plain(o));
    pthread_mutex_unlock(&a->lock);
    overload_unref(old);
    admission_configure(a->admission, &config, clock_now_ns());
}

void admit_relief(struct admit *a, const struct relief_facts *facts)
{
    admission_relief(a->admission, facts, clock_now_ns());
}

struct contexts *admit_contexts(struct admit *a)
{
    return a->contexts;
}

unsigned admit_load(const struct admit *a)
{
    return admission_load(a->admission);
}

/* ---- what a call is ---- */

/* Ids in a path are many, methods few: a segment with a digit in it, or a long one, stands for any.
 */
static uint64_t method_key(str path)
{
    enum { SEGMENTS = 5, SEGMENT_MAX = 40 };
    uint64_t key = 14695981039346656037u;
    for (size_t i = 0, n = 0; i < path.n && n < SEGMENTS && path.p[i] != '?'; n++) {
        uint64_t segment = 14695981039346656037u;
        size_t begin = i;
        bool any = false;
        for (; i < path.n && path.p[i] != '?' && (i == begin || path.p[i] != '/'); i++) {
            any = any || (path.p[i] >= '0' && path.p[i] <= '9');
            segment = (segment ^ (unsigned char)path.p[i]) * 1099511628211u;
        }
        key = (key ^ (any || i - begin > SEGMENT_MAX ? '*' : segment)) * 1099511628211u;
    }
    return key ^ key >> 29;
}

struct seen { /* of one call */
    const struct admit_ask *ask;
    struct overload *overload; /* held; NULL: all calls are alike */
    struct overload_call call;
};

static str header_of(void *arg, str name)
{
    return http_headers_get(arg, name);
}

static void see(struct admit *a, const struct admit_ask *ask, struct seen *ret)
{
    *ret = (struct seen){ .ask = ask };
    if (!ask->headers || atomic_load_explicit(&a->plain, memory_order_relaxed))
        return;
    pthread_mutex_lock(&a->lock);
    ret->overload = overload_ref(a->overload);
    pthread_mutex_unlock(&a->lock);
    str route, query;
    (void)str_cut(ask->method, '?', &route, &query);
    ret->call = (struct overload_call){
        .route = route,
        .caller = http_headers_get(ask->headers, S("dapr-caller-app-id")),
        .header = header_of,
        .arg = (void *)ask->headers,
    };
}

static void unsee(struct seen *s)
{
    overload_unref(s->overload);
}

/* By the caller's key, else by the trace, so that all hops agree on who is out; else by chance.
 * While nothing is cut off nobody asks. */
static unsigned sub_of(const struct admit *a, const struct seen *s)
{
    uint8_t trace[16];
    str key = s->overload ? overload_spec(s->overload)->key_header : S("");
    str value = key.n ? http_headers_get(s->ask->headers, key) : S("");
    if (value.n)
        return priority_sub(value, clock_wall_ns());
    if (admission_cuts(a->admission) && context_trace(s->ask->headers, trace))
        return priority_sub(str_of((char *)trace, sizeof trace), clock_wall_ns());
    return (unsigned)(id_random() >> 57);
}

static void judge(const struct admit *a, const struct seen *s, struct call_context *c)
{
    if (s->overload && overload_priority(s->overload, &s->call, c->has_priority, &c->priority))
        c->has_priority = true;
    if (c->sub < 0)
        c->sub = (int)sub_of(a, s);
}

/* ---- refusals ---- */

static int refuse(struct admit *a, enum shed_reason reason, uint64_t wait_ns, struct error *err)
{
    static const char *const why[SHED_REASONS] = {
        [SHED_LIMIT] = "the app is overloaded: no place became free in time",
        [SHED_QUEUE] = "the app is overloaded: too many calls wait already",
        [SHED_DEADLINE] = "the deadline of the call has passed before the app could begin with it",
        [SHED_PRIORITY] = "the app is overloaded: more important calls take all it can do",
        [SHED_RATE] = "too many calls: over the rate limit",
    };
    bool late = reason == SHED_DEADLINE;
    int r = fail(err, late ? TIMEOUT : EXHAUSTED, "ERR_OVERLOADED", "%s", why[reason]);
    if (!err)
        return r;
    err->http = late ? 504 : 503;
    err->shed = shed_name(reason);
    err->retry_after_s = late      ? 0
                         : wait_ns ? (unsigned)min_u64((wait_ns + SEC(1) - 1) / SEC(1), 3600)
                                   : admission_retry_after_s(a->admission);
    return r;
}

CO static int check_rates(struct admit *a, const struct seen *s, unsigned level, struct error *err)
{
    const struct overload_rate *rate;
    str key;
    for (size_t at = 0; s->overload && (rate = overload_rate(s->overload, &s->call, &at, &key));) {
        uint64_t wait_ns;
        if (rates_take(&a->rates, s->overload, rate, key, &wait_ns))
            continue;
        admission_count_shed(a->admission, level, SHED_RATE);
        return refuse(a, SHED_RATE, wait_ns, err);
    }
    return 0;
}

/* ---- in, out, and the wait between ---- */

CO static int park_for(uint64_t ns)
{
    DEADLINE(ns);
    return fiber_park();
}

/* It has been decided: the news must be met before the frame goes. */
CO static void await_news(struct admit_place *p)
{
    SHIELD();
    while (p->place.told && !p->woken)
        (void)fiber_park();
}

/* 0: decided. -CANCELLED, -TIMEOUT: not any more. */
CO static int wait_for_place(struct admit *a, struct admit_place *p)
{
    for (;;) {
        int r = p->woken ? 0 : park_for(ADMISSION_LOOK_NS);
        if (p->woken)
            return 0;
        bool gone = r == -CANCELLED || (r < 0 && sched_now() >= fiber_deadline());
        uint64_t now = clock_now_ns();
        enum admission_verdict v = gone ? admission_abandon(a->admission, &p->place, now)
                                        : admission_check(a->admission, &p->place, now);
        if (v == ADMISSION_WAIT)
            continue;
        await_news(p);
        if (!gone)
            return 0;
        if (v == ADMISSION_IN)
            admission_leave(a->admission, &p->place, ADMISSION_FAILED, clock_now_ns());
        return r;
    }
}

CO static int take_place(struct admit *a, struct admit_place *p, const struct admission_ask *ask,
                         struct error *err)
{
    int r = 0;
    p->fiber = fiber_self();
    p->worker = worker_self();
    p->woken = false;
    p->mail = (struct mail){ .run = on_told };
    if (admission_enter(a->admission, &p->place, ask, clock_now_ns()) == ADMISSION_WAIT)
        r = wait_for_place(a, p);
    if (r == -TIMEOUT && !ask->patient) {
        admission_count_shed(a->admission, ask->level, SHED_DEADLINE);
        return refuse(a, SHED_DEADLINE, 0, err);
    }
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "the call ended before the app had a place for it");
    return p->place.verdict == ADMISSION_IN ? 0 : refuse(a, p->place.reason, 0, err);
}

CO int admit_enter(struct admit *a, struct admit_place *p, const struct admit_ask *ask,
                   struct error *err)
{
    struct seen s;
    struct call_context c = { .priority = PRIORITY_LOW, .sub = 0, .timeout_ns = UINT64_MAX };
    bool patient = !ask->headers;
    int r = 0;
    if (!patient) {
        c = *ask->context;
        see(a, ask, &s);
        judge(a, &s, &c);
        r = check_rates(a, &s, priority_level(c.priority, (unsigned)c.sub), err);
        unsee(&s);
    }
    if (r < 0)
        return r;
    struct admission_ask in = {
        .method = method_key(ask->method),
        .level = priority_level(c.priority, (unsigned)c.sub),
        .patient = patient,
        .deadline_ns = fiber_deadline(),
        .stream = ask->stream,
    };
    p->context.kept = false;
    r = take_place(a, p, &in, err);
    if (r >= 0 && !patient)
        context_remember(a->contexts, &p->context, ask->headers, &c);
    return r;
}

void admit_leave(struct admit *a, struct admit_place *p, int result, int status)
{
    context_forget(a->contexts, &p->context);
    /* A call that ran out of time tells how long the app takes; one that failed tells nothing. */
    bool tells = (result >= 0 && status < 500) || result == -TIMEOUT;
    admission_leave(a->admission, &p->place, tells ? ADMISSION_DONE : ADMISSION_FAILED,
                    clock_now_ns());
}

void admit_stream(struct admit *a, struct admit_place *p)
{
    admission_stream(a->admission, &p->place, clock_now_ns());
}

/* ---- what is shown ---- */

static struct metric_family limit_gauge = {
    .name = "proa_overload_limit",
    .help = "Calls that may be in the app at once, as measured.",
    .kind = METRIC_GAUGE,
};
static struct metric_family inflight_gauge = {
    .name = "proa_overload_inflight",
    .help = "Calls in the app, without streams and long polls.",
    .kind = METRIC_GAUGE,
};
static struct metric_family queued_gauge = {
    .name = "proa_overload_queued",
    .help = "Calls that wait for a place in the app, by who waits.",
    .kind = METRIC_GAUGE,
    .label = { "kind" },
};
static struct metric_family admitted_total = {
    .name = "proa_overload_admitted_total",
    .help = "Calls that were let in to the app.",
};
static struct metric_family shed_total = {
    .name = "proa_overload_shed_total",
    .help = "Calls that were turned away.",
    .label = { "priority", "reason" },
};

void admit_metrics(struct admit *a)
{
    struct admission_stats s;
    const str call = S("call"), delivery = S("delivery");
    admission_stats(a->admission, &s);
    metric_set(metric_cell(&limit_gauge, NULL), s.limit);
    metric_set(metric_cell(&inflight_gauge, NULL), s.inflight);
    metric_set(metric_cell(&queued_gauge, &call), (int64_t)s.queued);
    metric_set(metric_cell(&queued_gauge, &delivery), (int64_t)s.patient);
    metric_set(metric_cell(&admitted_total, NULL), (int64_t)s.admitted);
    for (size_t i = 0; i < PRIORITIES; i++)
        for (size_t k = 1; k < SHED_REASONS; k++) {
            str label[] = { priority_name((enum priority)i),
                            str_c(shed_name((enum shed_reason)k)) };
            if (s.shed[i][k])
                metric_set(metric_cell(&shed_total, label), (int64_t)s.shed[i][k]);
        }
}

void admit_demand(struct admit *a, struct admit_demand *ret)
{
    struct admission_stats s;
    admission_stats(a->admission, &s);
    *ret = (struct admit_demand){ s.all, s.queued + s.patient, s.admitted, 0 };
    for (size_t i = 0; i < PRIORITIES; i++)
        ret->shed += s.by_class[i];
}

static void put(struct json_w *w, str name, uint64_t n)
{
    json_w_key(w, name);
    json_w_u64(w, n);
}

void admit_describe(struct admit *a, struct json_w *w)
{
    struct admission_stats s;
    admission_stats(a->admission, &s);
    json_w_key(w, S("overload"));
    json_w_object(w);
    put(w, S("limit"), s.limit);
    put(w, S("inflight"), s.inflight);
    put(w, S("queued"), s.queued + s.patient);
    put(w, S("admitted"), s.admitted);
    put(w, S("load"), admission_load(a->admission));
    json_w_key(w, S("shed"));
    json_w_object(w);
    for (size_t i = 0; i < PRIORITIES; i++)
        put(w, priority_name((enum priority)i), s.by_class[i]);
    json_w_object_end(w);
    json_w_key(w, S("reasons"));
    json_w_object(w);
    for (size_t i = 1; i < SHED_REASONS; i++)
        put(w, str_c(shed_name((enum shed_reason)i)), s.by_reason[i]);
    json_w_object_end(w);
    json_w_object_end(w);
}
