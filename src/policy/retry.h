/* retry.h — whether, and when, a failed call is tried again: the contract's two back-offs.
 * Owner:  policies are immutable; the state of one call lives in its frame.
 * Thread: a policy any; a state the one of its call.   Failure: parsing -INVALID with what is
 * wrong. The clock and the dice are passed in. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct code_range {
    int first, last;
};

/* Which failures are worth another try. An empty list takes all. */
struct retry_match {
    const struct code_range *http, *grpc;
    size_t n_http, n_grpc;
};

struct retry_policy {
    bool exponential;
    int64_t max_retries;      /* after the first try; negative = for ever */
    uint64_t interval_ns;     /* constant: between tries */
    uint64_t initial_ns;      /* exponential: the first wait, … */
    double factor;            /* … times this after each, … */
    double jitter;            /* … give or take this share of it … */
    uint64_t max_interval_ns; /* … and no longer than this; */
    uint64_t max_elapsed_ns;  /* no wait that would end later than this after the start; 0 = none */
    struct retry_match match;
};

/* Constant, 5 s, for ever; the exponential fields as well are filled with their defaults. */
struct retry_policy retry_defaults(void);

/* Lists such as "429,500-599" without spaces; "" = every code. http 100 … 599, grpc 0 … 16. */
int retry_match_parse(struct arena *a, str http, str grpc, struct retry_match *ret,
                      struct error *err) WUR;

/* http and grpc: the status that the failure carries, 0 = none; without any the answer is yes. */
bool retry_wants(const struct retry_match *m, int http, int grpc);

struct retry_state {
    uint64_t start_ns, next_ns; /* next_ns: exponential, before jitter */
    int64_t n;                  /* retries granted */
};
void retry_start(const struct retry_policy *p, struct retry_state *s, uint64_t now_ns);
/* After a failure: whether to try again, and *ret_wait_ns until then. unit is in [0, 1). */
bool retry_next(const struct retry_policy *p, struct retry_state *s, uint64_t now_ns, double unit,
                uint64_t *ret_wait_ns);
