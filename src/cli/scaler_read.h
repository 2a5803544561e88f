/* scaler_read.h — the metrics of an app's sidecars, as text, into what the control law wants.
 * Owner:  plain structs of the caller's.   Pure.   Thread: one.
 * Failure: none; what isn't in the text counts as 0, and an app without any answer is unknown. */
#pragma once

#include "policy/scale.h"

enum { SCALER_BUCKETS = 64 };

struct scaler_reading { /* of one sidecar */
    uint64_t at_ns;     /* 0 = none */
    double at_once, waiting, asked, done, depth, age_ms;
    struct {
        double le, n;         /* cumulative, as Prometheus has it */
    } bucket[SCALER_BUCKETS]; /* how long the app took, milliseconds */
    size_t n_buckets;
};

void scaler_read(str text, uint64_t now_ns, struct scaler_reading *ret);

/* The app as a whole out of its n sidecars' last two readings, index by index. One whose .at_ns is
 * 0 in now didn't answer; in before: it's new. */
void scaler_sample(const struct scaler_reading *now, const struct scaler_reading *before, size_t n,
                   struct scale_sample *ret);
