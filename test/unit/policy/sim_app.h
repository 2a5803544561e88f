/* sim_app.h — an app with so many workers behind an admission, in virtual time: for the tests of
 * the control laws. Owner:  the test; sim_done() frees.   Thread: one.   Failure: aborts when it's
 * asked for too much. */
#pragma once

#include "policy/admission.h"

enum { SIM_CALLS = 20000, SIM_METHODS = 4, SIM_LATENCIES = 200000 };

struct sim_source { /* calls that come by chance, so many a second */
    double per_s;
    enum priority priority;
    unsigned method; /* < SIM_METHODS */
    bool patient;
    uint64_t timeout_ns; /* 0 = none */
};

struct sim_result { /* by class */
    uint64_t offered[PRIORITIES], done[PRIORITIES], shed[PRIORITIES];
    uint64_t late; /* were begun in the app after their deadline */
    uint64_t patient_offered, patient_done, patient_shed;
    uint64_t by_method[SIM_METHODS];
    uint32_t *latency_us; /* of those that were done, arrival to end */
    size_t n_latencies;
};

struct sim {
    struct admission *a;
    uint64_t now_ns, look_ns;
    uint64_t seed;
    unsigned workers;
    double service_ns[SIM_METHODS];
    bool exponential; /* service times scatter */
    uint64_t stall_until_ns;
    struct sim_call *call, *free, *app_first, *app_last; /* waiting inside the app */
    struct sim_call *running[4096], *waiting;
    unsigned n_running;
    size_t in_app;
    struct sim_result r;
};

void sim_init(struct sim *s, unsigned workers, double service_ms, uint64_t seed);
void sim_done(struct sim *s);
/* Runs for that long with these sources; the result counts from its beginning. */
void sim_run(struct sim *s, const struct sim_source *source, size_t n, uint64_t ns);
/* The q-th part of the latencies of the last run, ms. */
double sim_quantile(struct sim *s, double q);
uint64_t sim_sum(const uint64_t v[PRIORITIES]);
