/* metrics.h — counters, gauges and histograms with labels, and their Prometheus text.
 * Owner:  families and cells live as long as the process; a cell's address never changes.
 * Thread: any; finding a cell takes no lock, updating it is one relaxed atomic.
 * Limits: METRIC_CELLS label sets a family; whatever comes later is counted under the label value
 * "_overflow", so callers can't grow our memory by what they send. Failure: none, the overflow cell
 * is always there. */
#pragma once

#include "base/buf.h"

#include <stdatomic.h>

enum { METRIC_LABELS = 6, METRIC_CELLS = 1000, METRIC_SLOTS = 512, METRIC_BUCKETS = 40 };
enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_buckets { /* upper bounds, ascending; +Inf is implied */
    const double *bound;
    size_t n; /* at most METRIC_BUCKETS */
};
extern struct metric_buckets metric_latency_ms; /* as metrics_latency_buckets() has it */
extern const struct metric_buckets metric_size_bytes;

struct metric_cell {
    struct metric_cell *_Atomic next; /* of its slot */
    uint64_t hash;
    str label[METRIC_LABELS];
    _Atomic int64_t value;     /* counter, gauge; histogram: sum in thousandths */
    _Atomic uint64_t bucket[]; /* histogram: n + 1 */
};

struct metric_family {
    const char *name, *help;
    enum metric_kind kind;
    /* besides app_id, which is ours unless it stands here first; NULL-ended when fewer */
    const char *label[METRIC_LABELS];
    const struct metric_buckets *buckets; /* histograms */
    /* private */
    struct metric_cell *_Atomic slot[METRIC_SLOTS];
    _Atomic size_t n_cells;
    struct metric_family *next;
    bool registered;
};

/* app_id goes on every line; call once, before anything is counted. */
void metrics_setup(const char *app_id);

/* Other bounds for latencies: 1 … METRIC_BUCKETS rising milliseconds. False, and nothing changed,
 * for too many, or for others once something has been counted. */
bool metrics_latency_buckets(const int64_t *ms, size_t n);

/* The cell for these label values (as many as the family has labels). Never NULL. */
struct metric_cell *metric_cell(struct metric_family *f, const str *values);

/* The same for several families with equal labels, hashed once: metric_hash() of n label values. */
uint64_t metric_hash(const str *values, size_t n);
struct metric_cell *metric_cell_hashed(struct metric_family *f, const str *values, uint64_t hash);

static inline void metric_add(struct metric_cell *c, int64_t n)
{
    atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

static inline void metric_set(struct metric_cell *c, int64_t v)
{
    atomic_store_explicit(&c->value, v, memory_order_relaxed);
}
void metric_observe(const struct metric_family *f, struct metric_cell *c, double v);

/* All families and the process_* ones as Prometheus text 0.0.4. */
void metrics_write(struct buf *out);
