#include "block/core/chaos.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "component/resource.h"
#include "telemetry/feed.h"
#include "telemetry/metrics.h"

static const uint64_t LOOK_NS = 100000000; /* how often who is held looks whether it still is */

static struct metric_family injected = {
    .name = "proa_chaos_injected_total",
    .help = "Calls that met a fault on purpose.",
    .label = { "fault" },
};

/* The fiber's clock, which tests push on; off the workers the same one's hands. */
static uint64_t now_ns(void)
{
    return fiber_self() ? sched_now() : clock_now_ns();
}

/* ---- the table ---- */

struct chaos *chaos_new(void)
{
    struct chaos *c = mem_zalloc(sizeof *c);
    if (c)
        pthread_mutex_init(&c->lock, NULL);
    return c;
}

void chaos_free(struct chaos *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

/* Under the lock, after each change and before each look: who has ended is no longer there. */
static void settle(struct chaos *c, uint64_t now)
{
    struct chaos_fault ended;
    while (chaos_expired(&c->table, now, &ended))
        feed_event("info", "chaos %s has ended", ended.name);
    atomic_store_explicit(&c->n, (unsigned)c->table.n, memory_order_relaxed);
}

static int put(struct chaos *c, const struct chaos_fault *f, uint64_t origin, struct error *err)
{
    uint64_t now = now_ns();
    pthread_mutex_lock(&c->lock);
    settle(c, now);
    int r = chaos_put(&c->table, f, origin, now, err);
    settle(c, now);
    pthread_mutex_unlock(&c->lock);
    if (r >= 0)
        feed_event("warn", "chaos %s begins: %s", f->name, chaos_kind_name(f->kind));
    return r;
}

int chaos_add(struct chaos *c, const struct chaos_fault *f, struct error *err)
{
    return put(c, f, 0, err);
}

size_t chaos_remove(struct chaos *c, str name)
{
    pthread_mutex_lock(&c->lock);
    settle(c, now_ns());
    size_t n = chaos_take(&c->table, name);
    settle(c, now_ns());
    pthread_mutex_unlock(&c->lock);
    if (n)
        feed_event("info", "chaos " STR_FMT " is taken away", STR_ARG(name.n ? name : S("of all")));
    return n;
}

/* ---- resources ---- */

static bool has(const struct resources *r, const struct chaos_resource *wanted)
{
    for (size_t i = 0; r && i < r->n_chaos; i++)
        if (r->chaos[i].head.hash == wanted->head.hash)
            return true;
    return false;
}

/* Unless somebody has put another one of that name in its place. */
static void end_resource(struct chaos *c, const struct chaos_resource *res)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < CHAOS_MAX; i++)
        if (c->table.v[i].id && c->table.v[i].origin == res->head.hash)
            (void)chaos_take(&c->table, str_c(c->table.v[i].fault.name));
    settle(c, now_ns());
    pthread_mutex_unlock(&c->lock);
}

void chaos_reload(struct chaos *c, const struct resources *old, const struct resources *new)
{
    if (!c)
        return;
    for (size_t i = 0; old && i < old->n_chaos; i++)
        if (!has(new, &old->chaos[i]))
            end_resource(c, &old->chaos[i]);
    for (size_t i = 0; i < new->n_chaos; i++) {
        struct error err = { 0 };
        const struct chaos_resource *res = &new->chaos[i];
        if (!has(old, res) && put(c, &res->fault, res->head.hash, &err) < 0)
            feed_event("error", "chaos %s: %s", res->fault.name, err.text);
    }
}

/* ---- what is shown ---- */

static void write_text(struct json_w *w, str key, const char *value)
{
    if (value[0])
        json_w_kv(w, key, str_c(value));
}

static void write_one(struct json_w *w, const struct chaos_active *a, uint64_t now)
{
    const struct chaos_fault *f = &a->fault;
    char status[24];
    json_w_object(w);
    json_w_kv(w, S("name"), str_c(f->name));
    json_w_kv(w, S("fault"), str_c(chaos_kind_name(f->kind)));
    write_text(w, S("app"), f->app);
    write_text(w, S("component"), f->component);
    write_text(w, S("method"), f->method);
    write_text(w, S("zone"), f->zone);
    json_w_key(w, S("percent"));
    json_w_double(w, f->percent);
    if (f->kind == CHAOS_DELAY) {
        json_w_key(w, S("delay_ms"));
        json_w_double(w, (double)f->delay_ns / 1e6);
        json_w_key(w, S("delay_max_ms"));
        json_w_double(w, (double)f->delay_max_ns / 1e6);
    }
    if (f->kind == CHAOS_ERROR)
        json_w_kv(w, S("status"), str_c(chaos_status_text(f->status, status)));
    json_w_key(w, S("left_s"));
    json_w_double(w, (double)(a->end_ns - now) / 1e9);
    json_w_key(w, S("injected"));
    json_w_u64(w, a->injected);
    json_w_object_end(w);
}

void chaos_write(struct chaos *c, struct json_w *w)
{
    uint64_t now = now_ns();
    json_w_array(w);
    pthread_mutex_lock(&c->lock);
    settle(c, now);
    for (size_t i = 0; i < CHAOS_MAX; i++)
        if (c->table.v[i].id)
            write_one(w, &c->table.v[i], now);
    pthread_mutex_unlock(&c->lock);
    json_w_array_end(w);
}

/* ---- calls ---- */

static bool meet(struct chaos *c, const struct chaos_call *call, struct chaos_effect *ret)
{
    uint64_t now = now_ns();
    pthread_mutex_lock(&c->lock);
    settle(c, now);
    bool any = chaos_meet(&c->table, call, now, id_random(), ret);
    pthread_mutex_unlock(&c->lock);
    for (size_t i = 0; any && i < CHAOS_KINDS; i++) {
        str label = str_c(chaos_kind_name((enum chaos_kind)i));
        if (ret->hit[i])
            metric_add(metric_cell(&injected, &label), 1);
    }
    return any;
}

static bool still_there(struct chaos *c, uint64_t id)
{
    pthread_mutex_lock(&c->lock);
    bool there = chaos_by_id(&c->table, id, now_ns());
    pthread_mutex_unlock(&c->lock);
    return there;
}

/* Parked, not asleep: whoever has another copy's answer wakes us. 0 = the time is over, or the
 * fault is. */
CO static int hold(struct chaos *c, uint64_t id, uint64_t ns)
{
    uint64_t now = now_ns(), end = ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
    for (; now < end && still_there(c, id); now = now_ns()) {
        uint64_t outer = fiber_deadline();
        DEADLINE(min_u64(end - now, LOOK_NS));
        int r = fiber_park();
        if (r != -TIMEOUT || fiber_deadline() >= outer)
            return r;
    }
    return 0;
}

CO static int end_call(struct chaos *c, const struct chaos_active *by, struct chaos_outcome *ret,
                       struct error *err)
{
    const struct chaos_fault *f = &by->fault;
    char status[24];
    int r = -UNAVAILABLE;
    if (f->kind == CHAOS_ERROR) {
        bool grpc = f->status <= UNAUTHENTICATED;
        ret->status = f->status;
        return fail(err, grpc ? (enum code)f->status : code_of_http_status(f->status), NULL,
                    "fault \"%s\" on purpose: status %s", f->name,
                    chaos_status_text(f->status, status));
    }
    if (f->kind == CHAOS_BLACKHOLE) {
        int held = hold(c, by->id, UINT64_MAX);
        r = held < 0 ? held : r; /* let go by the end of the fault: the connection is gone */
    }
    return fail(err, (enum code) - r, NULL, "fault \"%s\" on purpose: %s", f->name,
                f->kind == CHAOS_BLACKHOLE ? "no answer" : "the connection is broken");
}

CO int chaos_strike(struct chaos *c, const struct chaos_call *call, struct chaos_outcome *ret,
                    struct error *err)
{
    struct chaos_effect e;
    *ret = (struct chaos_outcome){ 0 };
    if (!meet(c, call, &e))
        return 0;
    int r = e.delay_ns ? hold(c, e.delay_id, e.delay_ns) : 0;
    if (r < 0)
        return fail(err, (enum code) - r, NULL,
                    "the deadline has passed during a delay on purpose");
    if (!e.ends)
        return 0;
    memcpy(ret->name, e.by.fault.name, sizeof ret->name);
    return end_call(c, &e.by, ret, err);
}
