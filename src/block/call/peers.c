#include "block/call/peers.h"

#include "base/clock.h"
#include "base/id.h"
#include "block/app/retried.h"
#include "block/call/invoke.h"
#include "block/call/traffic.h"
#include "block/core/headers.h"
#include "policy/balance.h"
#include "policy/choice.h"

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* ---- which one ---- */

struct tried {
    struct peer *v[PEERS_TRIED]; /* references */
    size_t n;
};

static bool was_tried(const struct tried *t, const struct peer *p)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i] == p)
            return true;
    return false;
}

static void look(const struct fleet *f, uint64_t now, struct choice_instance *ret)
{
    uint64_t usual = GET(f->up->median_ns);
    for (size_t i = 0; i < f->n; i++) {
        struct peer *p = f->peer[i];
        uint64_t told = GET(p->load_ns);
        ret[i] = (struct choice_instance){
            .health = &p->health,
            .hash = p->hash,
            .in_flight = GET(p->in_flight) + refusals_in_flight(&p->refusals, usual, now),
            .utilisation = balance_faded(GET(p->load), now > told ? now - told : 0),
            .zone_weight = GET(p->zone_weight),
            .zone = p->zone_hash,
            .draining = peer_is_draining(p, now),
        };
    }
}

/* NULL: all have been tried. */
NOINLINE static struct peer *choose_first(const struct peers *p, const struct traffic_rule *rule,
                                          const struct fleet *f, const struct tried *t,
                                          uint64_t now)
{
    struct choice_instance v[RESOLVE_ADDRESSES];
    const struct choice_call call = { rule, p->key, p->sticky, t->n > 0 };
    bool panic;
    look(f, now, v);
    for (size_t i = 0; t->n && i < f->n; i++)
        v[i].tried = was_tried(t, f->peer[i]);
    size_t at = choose(&call, v, f->n, &f->up->turn, now, id_random(), &panic);
    if (panic != GET(f->up->panic))
        SET(f->up->panic, panic);
    return at < f->n ? f->peer[at] : NULL;
}

NOINLINE static struct peer *choose_second(const struct traffic_rule *rule, const struct fleet *f,
                                           uint64_t but, uint64_t now)
{
    struct choice_instance v[RESOLVE_ADDRESSES];
    look(f, now, v);
    for (size_t i = 0; i < f->n; i++)
        v[i].tried = v[i].hash == but;
    size_t at = choose_other(rule, v, f->n, now, id_random());
    return at < f->n ? f->peer[at] : NULL;
}

/* ---- what it has shown ---- */

static bool is_slow(const struct traffic_rule *rule, const struct latency *l, uint64_t took)
{
    static const uint64_t LEAST = MS(2); /* over the median: less than that is noise */
    uint64_t median = l ? GET(l->median_ns) : 0, factor = rule->outlier.slow_factor;
    return factor && median && took > factor * median && took > median + LEAST;
}

enum verdict { VERDICT_NONE = -1 }; /* else an outlier_result */

static bool is_failure_of_grpc(int code)
{
    return code == UNKNOWN || code == TIMEOUT || code == INTERNAL || code == UNAVAILABLE ||
           code == DATA_LOSS;
}

static int good_or_slow(bool slow)
{
    return slow ? OUTLIER_SLOW : OUTLIER_OK;
}

/* The call has no answer of its own. The caller may have had little time, or be to blame. */
static int without_answer(int r, bool slow)
{
    if (r == -TIMEOUT)
        return slow ? OUTLIER_SLOW : VERDICT_NONE;
    return is_failure_of_grpc(-r) ? OUTLIER_FAILED : VERDICT_NONE;
}

/* A refusal by overload control is no failure. */
static int verdict(const struct traffic_rule *rule, const struct latency *l, int r,
                   const struct peer_asked *asked, const struct guard_attempt *attempt,
                   uint64_t took)
{
    bool slow = is_slow(rule, l, took);
    if (asked->unsent || asked->gone)
        return OUTLIER_UNREACHABLE;
    if (asked->beaten)
        return slow ? OUTLIER_SLOW : VERDICT_NONE;
    if (asked->shed)
        return VERDICT_NONE;
    if (asked->failed || attempt->http_status >= 500 || is_failure_of_grpc(attempt->grpc_status))
        return OUTLIER_FAILED;
    bool answered = r >= 0 || attempt->http_status || attempt->grpc_status;
    return answered ? good_or_slow(slow) : without_answer(r, slow);
}

static void add_latency(struct peer *peer, struct latency *l, uint64_t took)
{
    uint64_t old = GET(peer->latency_ns);
    SET(peer->latency_ns, old ? old - old / 8 + took / 8 : took);
    if (l)
        latency_add(l, took);
}

static void learn(struct peers *p, const struct traffic_rule *rule, struct peer *peer, int r,
                  const struct peer_asked *asked, const struct guard_attempt *attempt,
                  uint64_t start, uint64_t now)
{
    uint64_t took = now - start;
    struct latency *l = p->open_ended ? NULL : upstream_latency(peer->up, p->method);
    int result = verdict(rule, l, r, asked, attempt, took);
    if (asked->load >= 0) {
        SET(peer->load, (uint32_t)asked->load);
        SET(peer->load_ns, now);
    }
    if (asked->draining)
        SET(peer->draining_ns, now);
    if (asked->shed)
        refusals_add(&peer->refusals, GET(peer->up->median_ns), now);
    _Atomic uint64_t *zone_calls = atomic_load_explicit(&peer->zone_calls, memory_order_relaxed);
    atomic_fetch_add_explicit(&peer->calls, 1, memory_order_relaxed);
    if (zone_calls)
        atomic_fetch_add_explicit(zone_calls, 1, memory_order_relaxed);
    if (result == OUTLIER_FAILED || result == OUTLIER_UNREACHABLE)
        atomic_fetch_add_explicit(&peer->failed, 1, memory_order_relaxed);
    else if (result != VERDICT_NONE && !p->open_ended && r != -TIMEOUT)
        add_latency(peer, l, took); /* how long it would have taken isn't known otherwise */
    if (result == VERDICT_NONE)
        outlier_forget(&peer->health);
    else if (outlier_record(&rule->outlier, &peer->up->group, &peer->health,
                            (enum outlier_result)result, start, now, id_random_unit()))
        atomic_fetch_add_explicit(&peer->ejections, 1, memory_order_relaxed);
    if (asked->gone)
        SET(peer->direct, false); /* whoever takes this address next may be another program */
}

void peers_hear(const struct http_headers *answer, int r, struct peer_asked *ret,
                struct guard_attempt *attempt)
{
    ret->load = traffic_load(answer);
    ret->draining = traffic_draining(answer);
    ret->shed = r < 0 && traffic_was_shed(answer);
    attempt->shed = r < 0 && http_headers_has(answer, S(SHED_HEADER));
    attempt->retried = r < 0 && retried_is_marked(answer);
}

/* ---- one after the other ---- */

CO static int ask_one(struct peers *p, const struct traffic_rule *rule, struct peer *peer,
                      struct peer_asked *ret, struct guard_attempt *attempt, struct error *err)
{
    uint64_t start = clock_now_ns();
    *ret = (struct peer_asked){ .load = -1 };
    p->chosen = peer->hash;
    atomic_fetch_add_explicit(&peer->in_flight, 1, memory_order_relaxed);
    if (!p->open_ended && atomic_fetch_add_explicit(&peer->waiting, 1, memory_order_relaxed) == 0)
        SET(peer->progress_ns, start);
    int r = p->ask(p->arg, peer, ret, attempt, err);
    uint64_t now = clock_now_ns();
    atomic_fetch_sub_explicit(&peer->in_flight, 1, memory_order_relaxed);
    if (!p->open_ended) {
        atomic_fetch_sub_explicit(&peer->waiting, 1, memory_order_relaxed);
        SET(peer->progress_ns, now);
    }
    learn(p, rule, peer, r, ret, attempt, start, now);
    return r;
}

/* Whether another one might be asked at once, and for which reason. */
static bool may_go_on(const struct peers *p, const struct traffic_rule *rule, int r,
                      const struct peer_asked *asked, const struct guard_attempt *attempt, size_t n,
                      enum traffic_stat *ret_why)
{
    if (r >= 0 || n == PEERS_TRIED)
        return false;
    *ret_why = asked->unsent ? STAT_RETRY_UNSENT
               : asked->shed ? STAT_RETRY_SHED
                             : STAT_RETRY_BROKEN;
    if (asked->unsent)
        return true;
    if (!rule->retry || attempt->fatal)
        return false;
    if (asked->shed)
        return n == 1;
    bool answered = attempt->http_status || attempt->grpc_status;
    return p->idempotent && r == -UNAVAILABLE && !answered;
}

/* There is another one: may it be asked? Whoever got nothing has no load of it: that is free. */
static bool is_granted(struct peers *p, enum traffic_stat why)
{
    bool is_free = why == STAT_RETRY_UNSENT;
    bool granted = is_free || budget_withdraw(&p->up->retries, clock_now_ns());
    upstream_count(p->up, granted ? why : STAT_RETRY_REFUSED);
    p->spent = p->spent || !is_free;
    return granted;
}

static const struct traffic_rule *rule_of(const struct peers *p)
{
    return p->rule ? p->rule : traffic_defaults();
}

static str space_of(const struct peers *p)
{
    return p->namespace_.n ? p->namespace_ : str_c(p->b->namespace_);
}

/* The next one, with a reference; NULL with *ret_r = 0: all have been tried. */
CO static struct peer *next(struct peers *p, const struct traffic_rule *rule, const struct tried *t,
                            int *ret_r, struct error *err)
{
    struct invoker *i = p->b->invoker;
    const struct fleet *f;
    *ret_r = resolve(i->resolved, p->b, p->app_id, space_of(p), &f, err);
    if (*ret_r < 0)
        return NULL;
    uint64_t now = clock_now_ns();
    if (!p->up) { /* the call's first try */
        p->up = upstream_ref(f->up);
        budget_deposit(&p->up->retries, now);
    }
    upstream_sweep(&i->instances, f->up, rule, f->peer, f->n, now);
    struct peer *peer = choose_first(p, rule, f, t, now);
    return peer ? peer_ref(peer) : NULL;
}

CO int peers_ask(struct peers *p, struct guard_attempt *attempt, struct error *err)
{
    const struct traffic_rule *rule = rule_of(p);
    struct tried tried = { .n = 0 };
    struct peer_asked asked;
    enum traffic_stat why = STAT_RETRY_UNSENT;
    int r = -UNAVAILABLE;
    do {
        struct error cause = { 0 };
        int found;
        struct peer *peer = next(p, rule, &tried, &found, tried.n ? &cause : err);
        if (!peer) {
            r = tried.n ? r : found; /* the error of the last one asked stands */
            break;
        }
        if (tried.n && !is_granted(p, why)) {
            peer_unref(peer);
            break;
        }
        if (err)
            *err = (struct error){ 0 };
        *attempt = (struct guard_attempt){ .number = attempt->number, .stop = attempt->stop };
        tried.v[tried.n++] = peer;
        r = ask_one(p, rule, peer, &asked, attempt, err);
        if (attempt->retried)
            upstream_count(p->up, STAT_RETRY_MARKED);
        attempt->budget = &p->up->retries;
        if (asked.gone)
            resolve_again(p->b->invoker->resolved, p->app_id, space_of(p));
    } while (may_go_on(p, rule, r, &asked, attempt, tried.n, &why));
    for (size_t i = 0; i < tried.n; i++)
        peer_unref(tried.v[i]);
    return r;
}

CO int peers_ask_other(struct peers *p, uint64_t but, struct guard_attempt *attempt,
                       struct error *err)
{
    const struct traffic_rule *rule = rule_of(p);
    const struct fleet *f;
    struct peer_asked asked;
    int r = resolve(p->b->invoker->resolved, p->b, p->app_id, space_of(p), &f, err);
    if (r < 0)
        return r;
    struct peer *peer = choose_second(rule, f, but, clock_now_ns());
    if (!peer)
        return fail(err, NOT_FOUND, NULL, "no other instance is in service");
    peer_ref(peer);
    r = ask_one(p, rule, peer, &asked, attempt, err);
    peer_unref(peer);
    return r;
}

void peers_done(struct peers *p)
{
    upstream_unref(TAKE(p->up));
}

struct policy *peers_builtin(struct blocks *b, str app_id)
{
    return resiliency_has_app(b->resiliency, app_id)
               ? NULL
               : policy_builtin(b->resiliency, BUILTIN_SERVICE_RETRIES);
}
