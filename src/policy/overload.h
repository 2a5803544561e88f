/* overload.h — what an Overload resource says, and how it is asked: how important a call is, which
 * rate limits it falls under.
 * Owner:  counted; specs are borrowed from the snapshot that owns them, which is kept as long.
 * Thread: any.   Limits: OVERLOAD_RULES rules, OVERLOAD_RATES rate limits.
 * Failure: overload_new() is NULL out of memory. */
#pragma once

#include "policy/admission.h"
#include "policy/limiter.h"

enum { OVERLOAD_RULES = 256, OVERLOAD_RATES = 32 };

/* A call matches when all that is given matches. */
struct overload_match {
    str header, value; /* its value; .value empty = the header is there */
    str caller;        /* app id */
    str route;         /* "/admin/(star)" with a star at its end: what begins so */
};

struct overload_rule {
    struct overload_match match;
    enum priority priority;
    bool force; /* also for a call that says how important it is */
};

struct overload_rate {
    str name;
    struct overload_match match;
    str key_header;  /* a bucket for each value of it; empty: … */
    bool key_caller; /* … for each caller's app id; else one for all */
    double per_s, burst;
    size_t max_keys;
    str store; /* a component that is shared by all instances; empty = here alone */
};

struct overload_spec {
    str name;
    bool enabled;
    unsigned min, max;
    uint64_t target_ns;
    size_t max_queue;
    enum priority fallback; /* of calls that nothing is known about */
    str key_header;         /* by whose value callers are told apart within a class */
    struct overload_rule *rule;
    size_t n_rules;
    struct overload_rate *rate;
    size_t n_rates;
};

/* What a resource says that says nothing: on, no number configured. */
struct overload_spec overload_defaults(void);
/* Without a resource: calls wait as long as they like and nobody is turned away, as with Dapr. */
struct overload_spec overload_none(void);

struct overload;

/* keep is what spec points into; release(keep) when nobody needs it any more; both may be NULL. The
 * spec is copied, its lists are not. */
struct overload *overload_new(const struct overload_spec *spec, void *keep, void (*release)(void *))
    WUR;
struct overload *overload_ref(struct overload *o);
void overload_unref(struct overload *o); /* NULL is fine */
const struct overload_spec *overload_spec(const struct overload *o);
/* No rule, key or rate: all calls are alike. */
bool overload_is_plain(const struct overload *o);

/* What is asked of a call. */
struct overload_call {
    str route, caller;
    str (*header)(void *arg, str name); /* .n 0 = none */
    void *arg;
};
/* True: a rule has set *priority. */
bool overload_priority(const struct overload *o, const struct overload_call *c, bool has_priority,
                       enum priority *priority);
/* Walks over the rate limits that the call falls under: *at from 0 on; NULL at the end. *ret_key is
 * its bucket's. */
const struct overload_rate *overload_rate(const struct overload *o, const struct overload_call *c,
                                          size_t *at, str *ret_key);
/* Takes one from the bucket here. False: none is left for *ret_wait_ns. */
bool overload_take(struct overload *o, const struct overload_rate *rate, str key, uint64_t now_ns,
                   uint64_t *ret_wait_ns) WUR;
