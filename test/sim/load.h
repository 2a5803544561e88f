/* load.h — people who call: so many a second by chance, each class its share; some ask again.
 * Owner:  the simulation; a flow is a value whose latencies flow_done() frees.
 * Thread: one.   Failure: aborts. */
#pragma once

#include "test/sim/fleet.h"

struct flow { /* what became of calls; cumulative, until flow_reset() */
    uint64_t offered[PRIORITIES], outcome[PRIORITIES][OUTCOMES];
    uint64_t slow; /* good ones that took longer than .slow_ns */
    uint64_t slow_ns;
    uint64_t since_ns;    /* latencies are of calls that began then or later */
    uint32_t *latency_us; /* of the good ones, arrival to end */
    size_t n, cap;
};

void flow_reset(struct flow *f);
void flow_done(struct flow *f);
uint64_t flow_offered(const struct flow *f);
uint64_t flow_sum(const struct flow *f, enum outcome o);
/* The share of the calls that ended well, and that of those that failed or were slow. */
double flow_good(const struct flow *f);
double flow_good_of(const struct flow *f, enum priority p);
double flow_affected(const struct flow *f);
double flow_quantile_ms(struct flow *f, double q);

struct user;

struct source {
    struct event next;
    struct fleet *fleet;
    struct client **client; /* each call is made by one of them */
    size_t n_clients;
    double per_s;
    double mix[PRIORITIES]; /* shares; they add up to 1 */
    unsigned method;
    bool patient;
    uint64_t timeout_ns;
    unsigned asks_again; /* so often does somebody whose call went wrong try again … */
    double again_ns;     /* … after this long, in the mean; calls without any budget */
    struct flow *flow;
    struct user *free;
};

/* All calls are of the class normal; no timeout, nobody asks again. */
void source_init(struct source *s, struct fleet *f, struct client **client, size_t n,
                 struct flow *flow);
void source_rate(struct source *s, double per_s); /* from now on; 0 = silence */
