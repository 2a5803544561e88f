#include "policy/policy.h"

static void add(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void count_use(struct policy *p, struct breaker *b, uint64_t now_ns)
{
    if (p->timeout_ns)
        add(&p->stats.used[POLICY_TIMEOUT]);
    if (p->retry)
        add(&p->stats.used[POLICY_RETRY]);
    if (b) {
        enum breaker_state state = breaker_state(b, now_ns);
        add(&p->stats.used[POLICY_BREAKER]);
        add(&p->stats.breaker_used[state]);
        atomic_store_explicit(&p->stats.breaker_state, (int)state, memory_order_relaxed);
    }
}

void policy_begin(struct policy_run *run, struct policy *p, str endpoint, uint64_t now_ns)
{
    *run = (struct policy_run){ .policy = p };
    if (!p)
        return;
    run->breaker = policy_breaker(p, endpoint, now_ns);
    if (p->retry)
        retry_start(p->retry, &run->retry, now_ns);
    if (p->has_budget) {
        run->budget = &p->budget;
        budget_deposit(run->budget, now_ns);
    }
    count_use(p, run->breaker, now_ns);
}

int policy_attempt(struct policy_run *run, uint64_t now_ns, uint64_t *ret_timeout_ns,
                   struct error *err)
{
    PRE(!run->inside);
    if (run->breaker) {
        int r = breaker_enter(run->breaker, now_ns, &run->ticket, err);
        if (r < 0)
            return r;
    }
    run->attempts++;
    run->inside = true;
    *ret_timeout_ns = run->policy ? run->policy->timeout_ns : 0;
    return 0;
}

static void leave_breaker(struct policy_run *run, int result, uint64_t now_ns)
{
    if (!run->breaker)
        return;
    if (result == -CANCELLED) {
        breaker_forget(run->breaker, run->ticket, now_ns);
        return;
    }
    if (!breaker_leave(run->breaker, run->ticket, result >= 0, now_ns))
        return;
    struct policy_stats *stats = &run->policy->stats;
    enum breaker_state state = breaker_state(run->breaker, now_ns);
    add(&stats->activated[POLICY_BREAKER]);
    add(&stats->breaker_activated[state]);
    atomic_store_explicit(&stats->breaker_state, (int)state, memory_order_relaxed);
}

bool policy_result(struct policy_run *run, const struct policy_outcome *o, uint64_t now_ns,
                   double unit, uint64_t *ret_wait_ns)
{
    PRE(run->inside);
    run->inside = false;
    leave_breaker(run, o->neutral ? -CANCELLED : o->result, now_ns);
    if (!run->policy)
        return false;
    if (o->timed_out)
        add(&run->policy->stats.activated[POLICY_TIMEOUT]);
    const struct retry_policy *retry = run->policy->retry;
    if (o->result >= 0 || o->permanent || o->result == -CANCELLED || !retry ||
        !retry_wants(&retry->match, o->http, o->grpc))
        return false;
    uint64_t wait_ns;
    if (!retry_next(retry, &run->retry, now_ns, unit, &wait_ns) ||
        (run->budget && !budget_withdraw(run->budget, now_ns))) {
        run->spent = true;
        return false;
    }
    if (run->attempts == 1)
        add(&run->policy->stats.activated[POLICY_RETRY]);
    *ret_wait_ns = wait_ns;
    return true;
}

void policy_end(struct policy_run *run, uint64_t now_ns)
{
    if (run->inside)
        leave_breaker(run, -CANCELLED, now_ns);
    run->inside = false;
    breaker_unref(run->breaker);
    run->breaker = NULL;
}
