#include "policy/scale.h"

#include <math.h>

/* A deviation of a tenth is none; a step must bring a quarter of what it would at best, within two
 * stable windows, or isn't tried again for five. Latency tells that something is wrong, not how
 * much: it at most doubles, and gives back one instance at a time. */
static const double DEAD_BAND = 0.1, GAIN_MIN = 0.25, GROWTH_MAX = 2, RATE_WEIGHT = 0.2;
enum { TRIAL_WINDOWS = 2, HOLD_WINDOWS = 5, PANIC_FACTOR = 2 };

const char *scale_metric_name(enum scale_metric m)
{
    static const char *const name[SCALE_METRICS] = { "concurrency", "requestRate", "latency",
                                                     "queueDepth", "queueAge" };
    return name[m];
}

const char *scale_reason_name(enum scale_reason r)
{
    static const char *const name[] = { "steady",  "load",    "panic",   "scale-down delay",
                                        "unknown", "no gain", "minimum", "maximum",
                                        "idle",    "woken" };
    return name[r];
}

void scale_rule_defaults(struct scale_rule *ret)
{
    *ret = (struct scale_rule){ .min = 1,
                                .max = 10,
                                .row = { { SCALE_CONCURRENCY, 10 } },
                                .n_rows = 1,
                                .stable_ns = SEC(60),
                                .panic_ns = SEC(6),
                                .down_delay_ns = SEC(60),
                                .zero_grace_ns = SEC(30) };
}

bool scale_rule_eq(const struct scale_rule *a, const struct scale_rule *b)
{
    bool same = a->min == b->min && a->max == b->max && a->n_rows == b->n_rows &&
                a->stable_ns == b->stable_ns && a->panic_ns == b->panic_ns &&
                a->down_delay_ns == b->down_delay_ns && a->zero_grace_ns == b->zero_grace_ns;
    for (size_t i = 0; same && i < a->n_rows; i++)
        same = a->row[i].metric == b->row[i].metric && a->row[i].target <= b->row[i].target &&
               a->row[i].target >= b->row[i].target;
    return same;
}

/* ---- windows ---- */

static struct scale_bucket *bucket_at(struct scale *s, uint64_t now)
{
    uint64_t number = now / s->width_ns + 1; /* 0 is an empty one's */
    struct scale_bucket *b = &s->bucket[number % SCALE_BUCKETS];
    if (b->number != number)
        *b = (struct scale_bucket){ .number = number };
    return b;
}

static bool is_within(const struct scale *s, const struct scale_bucket *b, uint64_t window,
                      uint64_t now)
{
    uint64_t last = now / s->width_ns + 1, n = window / s->width_ns;
    return b->number && b->number <= last && last - b->number < (n ? n : 1);
}

static void add(double *sum, unsigned *n, double value)
{
    if (isnan(value))
        return;
    *sum += value;
    (*n)++;
}

static void record(struct scale *s, const struct scale_sample *x, uint64_t now)
{
    struct scale_bucket *b = bucket_at(s, now);
    for (size_t m = 0; m < SCALE_METRICS; m++)
        add(&b->sum[m], &b->n[m], x->value[m]);
    add(&b->done, &b->n_done, x->done);
    add(&b->unmet, &b->n_unmet, x->unmet);
}

/* Each bucket counts the same, however often it was sampled; NAN where there is none. */
static double mean(const struct scale *s, enum scale_metric m, uint64_t window, uint64_t now)
{
    double sum = 0;
    unsigned n = 0;
    for (size_t i = 0; i < SCALE_BUCKETS; i++) {
        const struct scale_bucket *b = &s->bucket[i];
        if (is_within(s, b, window, now) && b->n[m])
            add(&sum, &n, b->sum[m] / b->n[m]);
    }
    return n ? sum / n : NAN;
}

static void mean_work(const struct scale *s, uint64_t window, uint64_t now, double *ret_done,
                      double *ret_unmet)
{
    double done = 0, unmet = 0;
    unsigned n_done = 0, n_unmet = 0;
    for (size_t i = 0; i < SCALE_BUCKETS; i++) {
        const struct scale_bucket *b = &s->bucket[i];
        if (!is_within(s, b, window, now))
            continue;
        add(&done, &n_done, b->n_done ? b->done / b->n_done : NAN);
        add(&unmet, &n_unmet, b->n_unmet ? b->unmet / b->n_unmet : NAN);
    }
    *ret_done = n_done ? done / n_done : NAN;
    *ret_unmet = n_unmet ? unmet / n_unmet : NAN;
}

static unsigned largest_wish(const struct scale *s, uint64_t window, uint64_t now)
{
    unsigned wish = 0;
    for (size_t i = 0; i < SCALE_BUCKETS; i++)
        if (is_within(s, &s->bucket[i], window, now) && s->bucket[i].wish > wish)
            wish = s->bucket[i].wish;
    return wish;
}

/* ---- what the rows wish for ---- */

struct wish {
    unsigned n;
    size_t row;
    double value;
    bool known; /* all rows are */
};

/* What goes by in a second with a backlog is what an instance can do. */
static void learn_rate(struct scale *s, const struct scale_sample *x)
{
    if (isnan(x->done) || !x->ready || !(x->value[SCALE_QUEUE_DEPTH] > x->ready) || x->done <= 0)
        return;
    double rate = x->done / x->ready;
    s->rate = s->rate > 0 ? s->rate + RATE_WEIGHT * (rate - s->rate) : rate;
}

/* The backlog is to be gone within the target, while more comes in as fast as it's done now. */
static double need_for_queue(const struct scale *s, const struct scale_sample *x, double age,
                             double target, uint64_t window, uint64_t now)
{
    double depth = mean(s, SCALE_QUEUE_DEPTH, window, now), done, unmet;
    mean_work(s, window, now, &done, &unmet);
    if (s->rate > 0 && !isnan(depth) && !isnan(done))
        return (depth / target + done) / s->rate;
    return x->ready * fmin(age / target, GROWTH_MAX);
}

static double need_for_latency(const struct scale_sample *x, double latency, double target)
{
    double need = x->ready * fmin(latency / target, GROWTH_MAX);
    return fmax(need, (double)x->instances - 1);
}

static unsigned wish_of(const struct scale *s, const struct scale_row *row,
                        const struct scale_sample *x, uint64_t window, uint64_t now,
                        double *ret_value)
{
    double value = mean(s, row->metric, window, now), need, n = x->instances;
    *ret_value = value;
    if (isnan(value))
        return x->instances;
    if (row->metric == SCALE_LATENCY)
        need = need_for_latency(x, value, row->target);
    else if (row->metric == SCALE_QUEUE_AGE)
        need = need_for_queue(s, x, value, row->target, window, now);
    else
        need = value / row->target;
    if (x->instances && fabs(need - n) <= DEAD_BAND * n)
        return x->instances;
    return (unsigned)fmin(ceil(need), 1e6);
}

static struct wish strongest(const struct scale *s, const struct scale_rule *r,
                             const struct scale_sample *x, uint64_t window, uint64_t now)
{
    struct wish best = { .value = NAN, .known = true };
    for (size_t i = 0; i < r->n_rows; i++) {
        double value;
        unsigned n = wish_of(s, &r->row[i], x, window, now, &value);
        best.known &= !isnan(value);
        if (i && n <= best.n)
            continue;
        best.n = n;
        best.row = i;
        best.value = value;
    }
    return best;
}

/* ---- more that doesn't help ---- */

/* Whether the last growth has brought less than it should have, although more is still asked for.
 */
static void judge_trial(struct scale *s, const struct scale_rule *r, const struct scale_sample *x,
                        unsigned wish, uint64_t now)
{
    double done, unmet;
    if (!s->trial.from)
        return;
    wish = wish > r->max ? r->max : wish;
    if (wish < s->trial.to || x->instances < s->trial.to) { /* the load went; no verdict */
        s->trial.from = 0;
        return;
    }
    if (wish > s->trial.to) /* there is new load: it begins again */
        s->trial.begun_ns = now;
    if (now - s->trial.begun_ns < TRIAL_WINDOWS * r->stable_ns)
        return;
    mean_work(s, r->stable_ns, now, &done, &unmet);
    double hoped = (double)(s->trial.to - s->trial.from) / s->trial.from;
    if (unmet > 0 && done < s->trial.done * (1 + GAIN_MIN * hoped)) {
        s->ceiling = (unsigned)fmin(ceil(s->trial.from * done / s->trial.done), s->trial.to);
        s->ceiling = s->ceiling > s->trial.from ? s->ceiling : s->trial.from;
        s->ceiling_ns = now + HOLD_WINDOWS * r->stable_ns;
    }
    s->trial.from = 0;
}

static void begin_trial(struct scale *s, const struct scale_rule *r, const struct scale_sample *x,
                        unsigned desired, uint64_t now)
{
    double done, unmet;
    mean_work(s, r->panic_ns, now, &done, &unmet);
    if (!s->trial.from && x->ready && done > 0) {
        s->trial.from = x->ready;
        s->trial.done = done;
    }
    s->trial.to = desired;
    s->trial.begun_ns = now;
}

/* ---- the decision ---- */

static bool has_demand(const struct scale_sample *x)
{
    static const enum scale_metric sums[] = { SCALE_CONCURRENCY, SCALE_REQUESTS,
                                              SCALE_QUEUE_DEPTH };
    bool demand = x->done > 0 || x->unmet > 0;
    for (size_t i = 0; i < COUNT(sums); i++)
        demand |= x->value[sums[i]] > 0;
    return demand;
}

/* A rule with other windows begins with empty ones, and with the wish for what there is. */
static void fit_windows(struct scale *s, const struct scale_rule *r, const struct scale_sample *x,
                        uint64_t now)
{
    uint64_t width = r->panic_ns / SCALE_FINE;
    if (!width)
        width = 1;
    if (s->width_ns == width)
        return;
    *s = (struct scale){ .width_ns = width, .active_ns = now };
    bucket_at(s, now)->wish = x->instances;
}

static void set(struct scale_decision *d, unsigned desired, enum scale_reason reason)
{
    d->desired = desired;
    d->reason = reason;
}

/* Begins or prolongs the panic. What came before a step says nothing about what is needed now, so
 * in panic the newer half of the window may wish for more; but while some instances are on their
 * way, what waits for them says nothing either. */
static struct wish panic_wish(struct scale *s, const struct scale_rule *r,
                              const struct scale_sample *x, uint64_t now)
{
    struct wish all = strongest(s, r, x, r->panic_ns, now), recent;
    unsigned ready = x->ready ? x->ready : 1;
    if (all.n >= PANIC_FACTOR * ready && all.n > 1)
        s->panic_ns = now + r->stable_ns;
    if (now >= s->panic_ns || x->ready < x->instances)
        return all;
    recent = strongest(s, r, x, r->panic_ns / 2, now);
    return recent.n > all.n ? recent : all;
}

/* By the windows alone, before any bound. */
static void decide_by_load(struct scale *s, const struct scale_rule *r,
                           const struct scale_sample *x, uint64_t now, struct scale_decision *ret)
{
    struct wish stable = strongest(s, r, x, r->stable_ns, now);
    struct wish panic = panic_wish(s, r, x, now);
    unsigned n = x->instances;
    bool in_panic = now < s->panic_ns;
    const struct wish *w = in_panic && panic.n > stable.n ? &panic : &stable;
    struct scale_bucket *b = bucket_at(s, now);
    unsigned peak = panic.n > stable.n ? panic.n : stable.n;
    b->wish = peak > b->wish ? peak : b->wish;
    unsigned delayed = largest_wish(s, r->down_delay_ns, now);

    judge_trial(s, r, x, w->n, now);
    ret->row = w->row;
    ret->value = w->value;
    if (w->n > n)
        set(ret, w->n, in_panic ? SCALE_PANIC : SCALE_LOAD);
    else if (w->n == n)
        set(ret, n, w->known ? SCALE_STEADY : SCALE_UNKNOWN);
    else if (in_panic)
        set(ret, n, SCALE_PANIC);
    else if (delayed >= n)
        set(ret, n, SCALE_DELAY);
    else
        set(ret, delayed, SCALE_LOAD);
}

/* The last one goes when nothing has been asked for long enough; the first demand brings it back.
 */
static void consider_zero(struct scale *s, const struct scale_rule *r, const struct scale_sample *x,
                          uint64_t now, struct scale_decision *d)
{
    if (has_demand(x))
        s->active_ns = now;
    bool idle = now - s->active_ns >= r->zero_grace_ns;
    if (!x->instances)
        set(d, s->active_ns == now ? (d->desired ? d->desired : 1) : 0,
            s->active_ns == now ? SCALE_WAKE : SCALE_IDLE);
    else if (!d->desired && !idle)
        set(d, 1, SCALE_DELAY);
    else if (!d->desired)
        d->reason = SCALE_IDLE;
}

void scale_decide(struct scale *s, const struct scale_rule *r, const struct scale_sample *x,
                  uint64_t now_ns, struct scale_decision *ret)
{
    fit_windows(s, r, x, now_ns);
    record(s, x, now_ns);
    learn_rate(s, x);
    decide_by_load(s, r, x, now_ns, ret);
    if (!r->min)
        consider_zero(s, r, x, now_ns, ret);
    if (s->ceiling_ns && now_ns >= s->ceiling_ns)
        s->ceiling_ns = 0;
    if (s->ceiling_ns && ret->desired > s->ceiling)
        set(ret, s->ceiling, SCALE_NO_GAIN);
    if (ret->desired > r->max)
        set(ret, r->max, SCALE_AT_MAX);
    if (ret->desired < r->min)
        set(ret, r->min, SCALE_AT_MIN);
    if (ret->desired > x->instances && x->instances)
        begin_trial(s, r, x, ret->desired, now_ns);
}
