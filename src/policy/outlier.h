/* outlier.h — which instance of an app is worse than its peers, and for how long it gets no calls:
 * the circuit breaker of one instance.
 *
 * One test covers failures in a row, a bad success rate and latency: a sequential probability
 * ratio. Each call that failed or was slow is evidence that this instance is broken rather than
 * like its peers, each good one speaks against it, by the logarithm of how much likelier it is so.
 * The sum never falls below 0; at a threshold the instance is ejected. Where the peers are well the
 * threshold is worth config.failures failures in a row, or twice as many slow calls; where they
 * fail as much (a dependency of all is down) the same failures say nothing, and nobody is ejected
 * for them.
 *
 * An ejected instance is given one call as a probe when its time is over; if that goes well it
 * returns, with a weight that rises over config.slow_start_ns; if not the next time is twice as
 * long. What can't even be connected to is ejected at once.
 *
 * Owner:  a group and its instances live in their user; all zeroes is a fresh one.
 * Thread: any, without a lock; outlier_sweep() one thread at a time for a group.
 * Failure: none. Clock and dice (unit in [0, 1)) are passed in. */
#pragma once

#include "base/defs.h"

#include <stdatomic.h>

struct outlier_config {
    uint32_t failures;      /* that in a row eject an instance whose peers are well; 0 = never */
    uint32_t slow_factor;   /* over so many times its method's median a call is slow; 0 = never */
    uint64_t eject_ns;      /* for how long at first; then doubled each time */
    uint64_t eject_max_ns;  /* … up to this, give or take 10 % */
    uint64_t slow_start_ns; /* 0 = full weight at once */
    uint32_t panic_percent; /* with fewer available than this share, all are used */
};
#define OUTLIER_DEFAULTS                                                                           \
    {                                                                                              \
        .failures = 5, .slow_factor = 5, .eject_ns = SEC(1), .eject_max_ns = SEC(60),              \
        .slow_start_ns = SEC(10), .panic_percent = 50                                              \
    }

enum outlier_result { OUTLIER_OK, OUTLIER_SLOW, OUTLIER_FAILED, OUTLIER_UNREACHABLE };
enum outlier_state { OUTLIER_IN, OUTLIER_SLOW_START, OUTLIER_EJECTED, OUTLIER_PROBE_DUE };

struct outlier {                  /* one instance */
    _Atomic uint64_t until_ns;    /* ejected until then; 0 = it isn't */
    _Atomic uint64_t ejected_ns;  /* the last time that it was */
    _Atomic uint64_t returned_ns; /* slow start began; 0 = never */
    _Atomic int32_t evidence;     /* thousandths of a nat */
    _Atomic uint32_t in_a_row;    /* ejections without a long good time between them */
    _Atomic uint32_t good, bad;   /* calls since the last sweep */
    _Atomic uint32_t share;       /* of bad calls lately, thousandths … */
    _Atomic uint32_t heard;       /* … which counts for so many more sweeps */
    atomic_bool probing;          /* its probe is under way */
    atomic_bool unreachable;      /* the last thing known is that nobody takes connections there */
};

struct outlier_group {         /* the instances of one app */
    _Atomic uint32_t n;        /* of them */
    _Atomic uint32_t expected; /* share of bad calls that a healthy one has, thousandths */
    /* What one call says, in thousandths of a nat; of the last sweep. 0 = as if peers were well. */
    _Atomic int32_t gain_bad, gain_good;
};

/* After a call that began at start_ns: whether the instance has been ejected by it. A result that
 * comes for an ejected one only counts if its call began after that. */
bool outlier_record(const struct outlier_config *c, struct outlier_group *g, struct outlier *o,
                    enum outlier_result result, uint64_t start_ns, uint64_t now_ns, double unit);
/* The probe (or any other call) ended without a verdict: it was cancelled. */
void outlier_forget(struct outlier *o);

enum outlier_state outlier_state(const struct outlier_config *c, const struct outlier *o,
                                 uint64_t now_ns);
/* For OUTLIER_PROBE_DUE: true for the one caller who is to send it. */
bool outlier_probe(struct outlier *o) WUR;
/* 0 … 1000: less than 1000 in slow start, 0 while ejected. */
uint32_t outlier_weight(const struct outlier_config *c, const struct outlier *o, uint64_t now_ns);

/* Compares the n instances, by what they have shown in the last ten seconds; about four times a
 * second. */
void outlier_sweep(struct outlier_group *g, struct outlier *const *o, size_t n);
/* False: most of those that get calls fail, so that nobody is ejected for it. It may be what they
 * all depend on; or others, which get no calls, would do better. */
bool outlier_peers_are_well(const struct outlier_group *g);
