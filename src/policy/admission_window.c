#include "policy/admission_private.h"

#include <math.h>

/* Short, so that a spike is answered within a few tenths of a second, and long enough for samples.
 */
static const uint64_t WINDOW = MS(100), WINDOW_MAX = SEC(2), CUT_WINDOW = MS(100);
static const double OPEN = 1.5;
static const uint64_t LONG = SEC(1), METHOD_IDLE = SEC(60);
static const uint64_t WINDOW_LONG = MS(400);
enum { SAMPLES = 50, SAMPLES_FEW = 20, SAMPLES_LEAST = 5, METHOD_SAMPLES = 5 };

struct window {
    bool app_blocked; /* the app's limit held calls back */
    bool busy;        /* calls may have waited for each other inside */
    bool dip;         /* they can't have, by the app's limit: it was low on purpose */
    double n, kept;   /* samples; sum of their baseline / latency */
    double variance;  /* of that sum, by what is kept */
    double base_ns;   /* sum of their baselines */
    double mean_ns;   /* sum of what was measured */
    unsigned active;  /* methods that were called */
};

static unsigned taken(atomic_uint *n)
{
    return atomic_exchange_explicit(n, 0, memory_order_relaxed);
}

static bool taken_flag(atomic_bool *flag)
{
    return atomic_exchange_explicit(flag, false, memory_order_relaxed);
}

/* ---- one method's part ---- */

/* One that nobody calls any more makes room for another. A call that has found it just now counts
 * for whoever comes next: no harm. */
static void forget_idle(struct admission *a, struct admission_method *m, uint64_t now_ns)
{
    uint64_t key = atomic_load(&m->key);
    if (!key || m == &a->method[METHODS] || now_ns - m->used_ns < METHOD_IDLE)
        return;
    method_init(a, m);
    m->used_ns = now_ns;
    atomic_store(&m->key, 0);
}

/* The standard error of the mean of n samples, by that mean. */
static double take_scatter(struct admission_method *m, unsigned n)
{
    double square =
        (double)atomic_exchange_explicit(&m->squares_us2, 0, memory_order_relaxed) * 1e6;
    double spread = square / n / (m->mean_ns * m->mean_ns) - 1;
    return spread > 0 ? sqrt(spread / n) : 0;
}

static enum baseline_window kind_of(const struct window *w, const struct admission_method *m,
                                    const struct adaptive_window *mine)
{
    if (w->dip || m->limit.dip)
        return BASELINE_DIP;
    if (!w->busy && mine->inflight <= adaptive_limit(&m->limit) / 2)
        return BASELINE_FREE;
    return mine->saturated || !adaptive_is_calm(mine) ? BASELINE_BUSY : BASELINE_CALM;
}

static void method_window(struct admission_method *m, struct window *w, uint64_t now_ns)
{
    unsigned n = atomic_load_explicit(&m->n, memory_order_relaxed);
    m->mean_ns = 0;
    if (n || atomic_load_explicit(&m->inflight.n, memory_order_relaxed)) {
        m->used_ns = now_ns;
        w->active++;
    }
    if (n < METHOD_SAMPLES)
        return; /* they are kept for the next window */
    n = taken(&m->n);
    m->mean_ns = fmax((double)atomic_exchange_explicit(&m->sum_ns, 0, memory_order_relaxed) / n, 1);
    double scatter = take_scatter(m, n);
    double base = m->baseline.ns > 0 ? m->baseline.ns : m->mean_ns;
    bool blocked = taken_flag(&m->blocked);
    w->app_blocked = w->app_blocked || (blocked && m->shared);
    blocked = blocked && !m->shared;
    struct adaptive_window mine = {
        .gradient = fmin(base / m->mean_ns, 1),
        .scatter = scatter,
        .saturated = blocked || w->app_blocked,
        .no_dip = !blocked,
        .inflight = taken(&m->peak),
    };
    baseline_update(&m->baseline, m->mean_ns, kind_of(w, m, &mine));
    if (adaptive_update(&m->limit, &mine) == ADAPTIVE_REBASE)
        baseline_rebase(&m->baseline, m->mean_ns);
    atomic_store_explicit(&m->is_long, m->baseline.ns > (double)LONG, memory_order_relaxed);
    w->n += n;
    w->kept += n * mine.gradient;
    w->variance += pow(n * mine.gradient * scatter, 2);
    w->base_ns += n * m->baseline.ns;
    w->mean_ns += n * m->mean_ns;
}

/* ---- the app's ---- */

/* With several methods none may hold all places: a slow one would keep the fast ones out. And one
 * that holds few isn't the one that makes the app slow: what slows it down is for the app's limit.
 */
static void set_limits(struct admission *a, unsigned active)
{
    unsigned limit = adaptive_limit(&a->adaptive);
    unsigned spare = limit > 1 ? (limit + 3) / 4 : 1;
    atomic_store(&a->limit, limit);
    atomic_store(&a->patient_cap, limit > 1 ? limit - spare : 1);
    for (size_t i = 0; i <= METHODS; i++) {
        struct admission_method *m = &a->method[i];
        unsigned own = adaptive_limit(&m->limit),
                 share = active > 1 && limit > 1 ? limit - spare : limit;
        unsigned cap = own < share ? own : share;
        m->shared = cap == share;
        atomic_store_explicit(&m->cap, cap > spare ? cap : spare, memory_order_relaxed);
    }
}

static void app_window(struct admission *a, const struct window *w)
{
    struct adaptive_window all = {
        .gradient = w->kept / w->n,
        .scatter = sqrt(w->variance) / w->kept,
        .saturated = w->app_blocked,
        .inflight = taken(&a->peak),
    };
    a->gradient = all.gradient;
    a->baseline_ns = w->base_ns / w->n;
    if (adaptive_update(&a->adaptive, &all) != ADAPTIVE_REBASE)
        return;
    for (size_t i = 0; i <= METHODS; i++)
        if (a->method[i].mean_ns > 0)
            baseline_rebase(&a->method[i].baseline, a->method[i].mean_ns);
}

static unsigned samples(const struct admission *a)
{
    unsigned n = 0;
    for (size_t i = 0; i <= METHODS; i++)
        n += atomic_load_explicit(&a->method[i].n, memory_order_relaxed);
    return n;
}

static void begin_windows(struct admission *a, uint64_t at_ns)
{
    atomic_store(&a->window_ns, at_ns);
    for (size_t i = 0; i <= METHODS; i++)
        if (a->method[i].mean_ns > 0)
            atomic_store_explicit(&a->method[i].window_ns, at_ns, memory_order_relaxed);
}

static void close_window(struct admission *a, uint64_t now_ns)
{
    unsigned limit = adaptive_limit(&a->adaptive);
    struct window w = { .busy = atomic_load(&a->peak) > limit / 2, .dip = a->adaptive.dip };
    w.app_blocked = taken_flag(&a->blocked);
    for (size_t i = 0; i <= METHODS; i++) {
        method_window(&a->method[i], &w, now_ns);
        forget_idle(a, &a->method[i], now_ns);
    }
    if (w.n >= METHOD_SAMPLES)
        app_window(a, &w);
    else if (w.app_blocked)
        atomic_store(&a->blocked, true);
    atomic_store(&a->active, w.active);
    set_limits(a, w.active);
    /* With a lower limit those inside must leave first, before its effect can be seen. */
    bool lower = adaptive_limit(&a->adaptive) < limit && w.n > 0;
    begin_windows(a, now_ns + (lower ? (uint64_t)(2 * w.mean_ns / w.n) : 0));
}

/* Calls wait, and no call that came in has ever ended: there is nothing to learn from but that. */
static bool grows_blindly(struct admission *a)
{
    return a->baseline_ns == 0 && atomic_load(&a->blocked) && atomic_load(&a->served) == 0;
}

static void look_at_window(struct admission *a, uint64_t now_ns)
{
    uint64_t begin = atomic_load(&a->window_ns), age = now_ns > begin ? now_ns - begin : 0;
    unsigned n = samples(a);
    if (n >= SAMPLES || (n >= SAMPLES_FEW && age >= WINDOW_LONG) ||
        (n >= SAMPLES_LEAST && age >= WINDOW_MAX)) {
        close_window(a, now_ns);
    } else if (grows_blindly(a)) {
        adaptive_grow(&a->adaptive);
        for (size_t i = 0; i <= METHODS; i++)
            adaptive_grow(&a->method[i].limit);
        set_limits(a, 1);
    }
}

/* ---- what doesn't wait for samples ---- */

static void turn_epochs(struct admission *a, uint64_t now_ns)
{
    uint64_t epoch = now_ns / ADMISSION_EPOCH + 1, from = atomic_load(&a->long_before);
    if (from + EPOCHS < epoch)
        from = epoch - EPOCHS;
    for (; from + 1 < epoch; from++) {
        atomic_store(&a->long_before, from + 1);
        for (size_t i = 0; i <= METHODS; i++)
            inflight_turn(&a->method[i].inflight, from);
        inflight_turn(&a->inflight, from);
    }
}

static void move_cut(struct admission *a, uint64_t now_ns)
{
    uint64_t window = now_ns - a->cut_ns;
    if (window < CUT_WINDOW)
        return;
    double served_s = (double)taken(&a->served) * 1e9 / (double)window;
    a->served_s += (served_s - a->served_s) * (window < SEC(1) ? 0.4 : 1);
    /* While nobody has to wait behind it the cut is too strict: it opens step by step, since behind
     * it there may be twenty times what can be done. */
    a->opened = taken_flag(&a->queued_lately) || !a->overloaded ? 1 : a->opened * OPEN;
    a->overloaded = admission_stands(a, now_ns) &&
                    (a->opened == 1 || atomic_load(&a->cut.cut) < PRIORITY_LEVELS);
    cut_move(&a->cut, a->overloaded, a->served_s * a->opened, window);
    a->cut_ns = now_ns;
}

void admission_look(struct admission *a, uint64_t now_ns)
{
    if (pthread_mutex_trylock(&a->lock) != 0)
        return; /* somebody else will look, or is looking */
    if (admission_look_due(a, now_ns)) {
        atomic_store(&a->next_ns, now_ns + WINDOW);
        turn_epochs(a, now_ns);
        if (atomic_load(&a->sheds)) {
            look_at_window(a, now_ns);
            move_cut(a, now_ns);
        }
    }
    pthread_mutex_unlock(&a->lock);
}
