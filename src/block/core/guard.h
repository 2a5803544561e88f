/* guard.h — the guarded call: a target's policies around a function that may fail.
 * Owner:  policies belong to the resiliency of the resources.
 * Thread: any; the breaker inside is shared by all workers.
 * Failure: the function's own error, -TIMEOUT of a try, or -UNAVAILABLE "circuit breaker is open".
 */
#pragma once

#include "fiber/fiber.h"
#include "policy/policy.h"

#include <stdatomic.h>

/* What the guarded function says about a try, besides its return value. */
struct guard_attempt {
    unsigned number; /* 0 = the first */
    /* Set by the function when the failure carries a status: of HTTP, or (an answer by gRPC) its
     * code. 0 = none: what carries none is worth another try whatever the policy's lists say. */
    int http_status, grpc_status;
    bool fatal; /* set by the function: this failure must not be tried again */
    /* set by the function: no further try once this is true, and no longer wait for one */
    const atomic_bool *stop;
    /* Set by the function: overload control has turned the call away. No failure of whoever it was
     * for, so that breakers don't count it; and not tried again there. */
    bool shed;
    /* Set by the function: whoever failed had calls of its own tried again in vain, so that this
     * one isn't (retried.h) */
    bool retried;
    /* out, see guard_call_in() */
    bool refused; /* the breaker was not closed */
    bool spent;   /* it failed, and trying is no use any more: retried, refused, shed, or no try is
                     left */
    /* set by the function: what its target's retries are drawn from; NULL = the policy's own */
    struct budget *budget;
};
typedef CO int guard_fn(void *arg, struct guard_attempt *attempt, struct error *err);

/* Runs fn under p (NULL = once, as it is). endpoint: what breakers are kept by; "" for components.
 * Returns the last try's result; *err is the last try's error. */
CO int guard_call(struct policy *p, str endpoint, guard_fn *fn, void *arg, struct error *err) WUR;
/* The same inside of another guarded call's try: sets outer->refused when a breaker let nothing
 * through, which ends the retries around it as well (facts 4.4), outer->retried and
 * outer->spent. */
CO int guard_call_in(struct guard_attempt *outer, struct policy *p, str endpoint, guard_fn *fn,
                     void *arg, struct error *err) WUR;
