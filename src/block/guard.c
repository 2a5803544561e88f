#include "block/guard.h"

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

CO int guard_call(struct policy *p, str endpoint, guard_fn *fn, void *arg, struct error *err)
{
    struct guard_attempt outer = { 0 };
    return guard_call_in(&outer, p, endpoint, fn, arg, err);
}

CO int guard_call_in(struct guard_attempt *outer, struct policy *p, str endpoint, guard_fn *fn,
                     void *arg, struct error *err)
{
    struct guard_attempt attempt = { 0 };
    if (!p)
        return fn(arg, &attempt, err);
    struct error last = { 0 };
    struct policy_run run;
    policy_begin(&run, p, endpoint, clock_now_ns());
    int r;
    for (;;) {
        uint64_t timeout_ns, wait_ns;
        bool timed_out = false;
        last = (struct error){ 0 };
        r = policy_attempt(&run, clock_now_ns(), &timeout_ns, &last);
        outer->refused = r < 0;
        if (r < 0)
            break;
        attempt = (struct guard_attempt){ .number = attempt.number };
        r = one_try(fn, arg, timeout_ns, &attempt, &timed_out, &last);
        struct policy_outcome outcome = {
            .result = r,
            .http = attempt.http_status,
            .grpc = r < 0 && !attempt.http_status ? -r : 0,
            .timed_out = timed_out,
            .permanent = attempt.fatal || attempt.refused || r == -CANCELLED,
        };
        if (!policy_result(&run, &outcome, clock_now_ns(), id_random_unit(), &wait_ns))
            break;
        attempt.number++;
        int slept = fiber_sleep(wait_ns);
        if (slept < 0) { /* the last failure says more than that the wait for the next try ended */
            r = slept;
            last.code = (enum code) - r;
            break;
        }
    }
    policy_end(&run, clock_now_ns());
    if (r < 0 && err && !err->code)
        *err = last;
    return r < 0 ? fail(err, (enum code) - r, NULL,
                        r == -TIMEOUT ? "the deadline has passed" : "the call failed")
                 : r;
}
