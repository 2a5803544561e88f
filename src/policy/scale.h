/* scale.h — how many instances an app should have: one decision a tick from what is measured.
 * Owner:  a plain struct in its user, all zeroes is a fresh one.   Thread: one at a time.
 * Failure: none. Pure: the clock is passed in. Limits: SCALE_BUCKETS; see scale_rule.
 *
 * Each row compares a mean with its target and wishes for a number of instances; the largest wish
 * counts. Two windows: the stable one for steady load, and the panic one, a tenth of it, for
 * spikes. When the latter wishes for twice as many instances as there are, the app is in panic: it
 * grows at once, and doesn't shrink before a whole stable window has passed without that. It
 * shrinks to the largest number that was wished for within the scale-down delay. A deviation of
 * less than a tenth changes nothing. What isn't known holds: a row without samples wishes for what
 * there is.
 *
 * Demand is meant to be true demand (accepted, waiting and turned away), since an app that turns
 * calls away looks idle otherwise. Where more instances don't do more (the database behind them is
 * the limit), the last step is undone and not tried again for a while. */
#pragma once

#include "base/str.h"

enum scale_metric {
    SCALE_CONCURRENCY, /* calls at once: in the app, waiting, and turned away; a sum */
    SCALE_REQUESTS,    /* calls a second, those that are turned away too; a sum */
    SCALE_LATENCY,     /* 99th percentile, seconds; a quality: it is to be at most the target */
    SCALE_QUEUE_DEPTH, /* events that wait for the app; a sum */
    SCALE_QUEUE_AGE,   /* of the oldest event, seconds: within the target the backlog is to go */
    SCALE_METRICS
};
const char *scale_metric_name(enum scale_metric m); /* "concurrency", as in YAML */

struct scale_row {
    enum scale_metric metric;
    double target; /* for one instance, of what is a sum; over 0 */
};

struct scale_rule {
    unsigned min, max;                   /* min 0: to zero when idle; 1 <= max */
    struct scale_row row[SCALE_METRICS]; /* at most one a metric */
    size_t n_rows;
    uint64_t stable_ns, panic_ns; /* panic <= stable <= SCALE_WINDOWS * panic */
    uint64_t down_delay_ns;       /* at most SCALE_WINDOWS * panic */
    uint64_t zero_grace_ns;       /* idle for so long before the last instance goes */
};
enum { SCALE_WINDOWS = 60, SCALE_FINE = 4, SCALE_BUCKETS = SCALE_WINDOWS * SCALE_FINE };

/* 1 … 10 instances by 10 calls at once, 60 s and 6 s, delay 60 s, grace 30 s. */
void scale_rule_defaults(struct scale_rule *ret);
bool scale_rule_eq(const struct scale_rule *a, const struct scale_rule *b);

struct scale_sample {            /* of the app as a whole, now */
    unsigned instances;          /* that there are or that start; not those that leave */
    unsigned ready;              /* … and take calls */
    double value[SCALE_METRICS]; /* NAN = unknown */
    double done;                 /* calls and events a second that were done; NAN = unknown */
    double unmet;                /* calls and events that wait or were turned away; NAN = unknown */
};

enum scale_reason {
    SCALE_STEADY,  /* as many as are wished for */
    SCALE_LOAD,    /* a row's wish */
    SCALE_PANIC,   /* … of the panic window, or it ended less than a stable window ago */
    SCALE_DELAY,   /* fewer are wished for, not for long enough */
    SCALE_UNKNOWN, /* nothing is known: nothing changes */
    SCALE_NO_GAIN, /* more did no more work lately */
    SCALE_AT_MIN,  /* fewer would do */
    SCALE_AT_MAX,  /* more are wished for */
    SCALE_IDLE,    /* to zero */
    SCALE_WAKE,    /* from zero */
};
const char *scale_reason_name(enum scale_reason r); /* "no gain" */

struct scale_decision {
    unsigned desired; /* min … max */
    enum scale_reason reason;
    size_t row;   /* whose wish was the largest */
    double value; /* its mean over the window that decided; NAN = unknown */
};

struct scale_bucket { /* a quarter of a panic window */
    uint64_t number;
    double sum[SCALE_METRICS], done, unmet;
    unsigned n[SCALE_METRICS], n_done, n_unmet;
    unsigned wish; /* the largest */
};

struct scale {
    struct scale_bucket bucket[SCALE_BUCKETS];
    uint64_t width_ns;  /* of a bucket; 0 = fresh */
    uint64_t panic_ns;  /* it lasts until then; 0 = none */
    uint64_t active_ns; /* the last time that there was demand */
    double rate;        /* events a second of one busy instance; 0 = unknown */
    struct {
        unsigned from, to; /* from 0 = none is under way */
        uint64_t begun_ns;
        double done;     /* before it */
    } trial;             /* of a larger number */
    unsigned ceiling;    /* what did no good isn't tried again … */
    uint64_t ceiling_ns; /* … until then; 0 = no ceiling */
};

/* Once a tick, each panic_ns / SCALE_FINE or more often. A rule may differ from the last one's. */
void scale_decide(struct scale *s, const struct scale_rule *r, const struct scale_sample *x,
                  uint64_t now_ns, struct scale_decision *ret);
