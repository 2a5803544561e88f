#include "block/core/guard.h"

#include "base/clock.h"
#include "base/id.h"

CO static int one_try(guard_fn *fn, void *arg, uint64_t timeout_ns, struct guard_attempt *attempt,
                      bool *ret_timed_out, struct error *err)
{
    uint64_t outer = fiber_deadline();
    DEADLINE(timeout_ns ? timeout_ns : UINT64_MAX);
    int r = fn(arg, attempt, err);
    *ret_timed_out = r == -TIMEOUT && fiber_deadline() < outer;
    return r;
}

/* 0 = go on, 1 = stopped, negative = interrupted. */
CO static int pause_before_retry(uint64_t ns, const atomic_bool *stop)
{
    static const uint64_t LOOK_NS = 50000000;
    int r = 0;
    while (r == 0 && stop && !atomic_load(stop) && ns > LOOK_NS) {
        r = fiber_sleep(LOOK_NS);
        ns -= LOOK_NS;
    }
    if (r == 0 && stop && atomic_load(stop))
        return 1;
    return r < 0 ? r : fiber_sleep(ns);
}

CO int guard_call(struct policy *p, str endpoint, guard_fn *fn, void *arg, struct error *err)
{
    struct guard_attempt outer = { 0 };
    return guard_call_in(&outer, p, endpoint, fn, arg, err);
}

static void tell_outer(struct guard_attempt *outer, const struct guard_attempt *attempt, int r,
                       bool spent)
{
    outer->retried = r < 0 && attempt->retried;
    outer->spent = r < 0 && (spent || attempt->spent || attempt->retried || attempt->shed);
}

/* One try under the policy. false = *ret is the result; true = go on. */
CO static bool next_try(struct policy_run *run, guard_fn *fn, void *arg,
                        struct guard_attempt *attempt, struct guard_attempt *outer, int *ret,
                        struct error *last)
{
    uint64_t timeout_ns, wait_ns;
    bool timed_out = false;
    *last = (struct error){ 0 };
    *ret = policy_attempt(run, clock_now_ns(), &timeout_ns, last);
    outer->refused = outer->spent = *ret < 0;
    if (*ret < 0)
        return false;
    *attempt = (struct guard_attempt){ .number = attempt->number };
    *ret = one_try(fn, arg, timeout_ns, attempt, &timed_out, last);
    if (attempt->budget)
        run->budget = attempt->budget;
    struct policy_outcome outcome = {
        .result = *ret,
        .http = attempt->http_status,
        .grpc = attempt->grpc_status,
        .timed_out = timed_out,
        .neutral = attempt->shed,
        .permanent = attempt->fatal || attempt->shed || attempt->refused || attempt->retried ||
                     *ret == -CANCELLED,
    };
    bool again = policy_result(run, &outcome, clock_now_ns(), id_random_unit(), &wait_ns);
    tell_outer(outer, attempt, *ret, run->spent);
    if (!again)
        return false;
    attempt->number++;
    int slept = pause_before_retry(wait_ns, attempt->stop);
    if (slept < 0) { /* the last failure says more than that the wait for the next try ended */
        *ret = slept;
        last->code = (enum code) - slept;
    }
    return slept == 0; /* stopped: the last result stands */
}

CO int guard_call_in(struct guard_attempt *outer, struct policy *p, str endpoint, guard_fn *fn,
                     void *arg, struct error *err)
{
    struct guard_attempt attempt = { 0 };
    struct error last = { 0 };
    struct policy_run run;
    int r;
    if (!p) {
        r = fn(arg, &attempt, err);
        tell_outer(outer, &attempt, r, false);
        return r;
    }
    policy_begin(&run, p, endpoint, clock_now_ns());
    while (next_try(&run, fn, arg, &attempt, outer, &r, &last))
        ;
    policy_end(&run, clock_now_ns());
    if (r >= 0)
        return r;
    if (err && !err->code)
        *err = last;
    return fail(err, (enum code) - r, NULL,
                r == -TIMEOUT ? "the deadline has passed" : "the call failed");
}
