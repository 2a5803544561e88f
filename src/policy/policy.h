/* policy.h — one guarded call, as a state machine without I/O: the caller does the waiting.
 * Owner:  a run lives in the frame of its call; policy_end() gives back what it holds.
 * Thread: the one of the call.   Failure: policy_attempt() refuses while the breaker is open.
 *
 *   policy_begin(&run, p, endpoint, now());
 *   do {
 *       r = policy_attempt(&run, now(), &timeout_ns, err);
 *       if (r < 0)
 *           break;
 *       r = … the call, within timeout_ns …;
 *       again = policy_result(&run, &(struct policy_outcome){ .result = r }, now(), dice,
 * &wait_ns); } while (again && wait(wait_ns)); policy_end(&run, now()); */
#pragma once

#include "policy/budget.h"
#include "policy/resiliency.h"

struct policy_run {
    struct policy *policy;   /* NULL: one try, no limits */
    struct breaker *breaker; /* a reference, or NULL */
    struct budget *budget;   /* the policy's; another may be set before policy_result(): retries
                                are drawn from it */
    uint64_t ticket;
    struct retry_state retry;
    unsigned attempts; /* begun so far */
    bool inside;       /* between policy_attempt() and policy_result() */
    bool spent;        /* out: it failed, and there is no further try left, or no budget for it */
};

struct policy_outcome {
    int result;     /* 0 or -CODE */
    int http, grpc; /* status that the failure carries; 0 = none */
    bool timed_out; /* by the attempt's own timeout */
    bool neutral;   /* neither success nor failure of whom the breaker guards */
    bool permanent; /* not to be tried again, whatever the policy says */
};

/* endpoint: what breakers are kept by, "app:method"; "" for components. p may be NULL. */
void policy_begin(struct policy_run *run, struct policy *p, str endpoint, uint64_t now_ns);
/* Before each try. *ret_timeout_ns: 0 = none. A refusal (-UNAVAILABLE) is final. */
int policy_attempt(struct policy_run *run, uint64_t now_ns, uint64_t *ret_timeout_ns,
                   struct error *err) WUR;
/* After it: true = try again in *ret_wait_ns; false = that's the result. unit is in [0, 1). */
bool policy_result(struct policy_run *run, const struct policy_outcome *o, uint64_t now_ns,
                   double unit, uint64_t *ret_wait_ns) WUR;
/* Also when the caller gave up between attempt and result: the breaker then forgets the try, as it
 * does for -CANCELLED. */
void policy_end(struct policy_run *run, uint64_t now_ns);
