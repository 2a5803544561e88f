#include "policy/admission_private.h"

#include "base/mem.h"

#include <math.h>

static const uint64_t TARGET_MIN = MS(20), TARGET_MAX = SEC(1);
static const uint64_t STAND_MIN = MS(200), STAND_MAX = SEC(30);
static const unsigned STAND_LATENCIES = 10;
enum { PROBES = 8, SKIPS = 32, PATIENT_TURN = 8 };

/* ---- calls in flight, by when they began ---- */

static bool inflight_take(struct inflight *f, unsigned limit, uint64_t epoch)
{
    unsigned n = atomic_load_explicit(&f->n, memory_order_relaxed);
    do {
        if (n >= limit)
            return false;
    } while (!atomic_compare_exchange_weak(&f->n, &n, n + 1));
    atomic_fetch_add_explicit(&f->of_epoch[epoch % EPOCHS], 1, memory_order_relaxed);
    return true;
}

static void inflight_give(struct inflight *f, uint64_t epoch, uint64_t long_before)
{
    atomic_int *at = &f->of_epoch[epoch % EPOCHS];
    if (epoch < long_before)
        return;
    if (atomic_fetch_sub_explicit(at, 1, memory_order_relaxed) > 0)
        atomic_fetch_sub(&f->n, 1);
    else
        atomic_fetch_add_explicit(at, 1, memory_order_relaxed); /* the epoch has just turned */
}

void inflight_turn(struct inflight *f, uint64_t epoch)
{
    int n = atomic_exchange(&f->of_epoch[epoch % EPOCHS], 0);
    if (n > 0)
        atomic_fetch_sub(&f->n, (unsigned)n);
}

/* ---- methods ---- */

static const char *const reason_name[SHED_REASONS] = { "",         "limit",    "queue",
                                                       "deadline", "priority", "rate" };

const char *shed_name(enum shed_reason reason)
{
    return reason_name[reason];
}

enum shed_reason shed_parse(str name)
{
    for (int i = SHED_REASONS - 1; i > SHED_NONE; i--)
        if (str_eq(name, str_c(reason_name[i])))
            return (enum shed_reason)i;
    return SHED_NONE;
}

void method_init(struct admission *a, struct admission_method *m)
{
    adaptive_init(&m->limit, a->config.min, a->config.max);
    m->baseline = (struct baseline){ 0 };
    atomic_store(&m->cap, UINT32_MAX);
    atomic_store(&m->is_long, false);
    atomic_store(&m->sum_ns, 0);
    atomic_store(&m->squares_us2, 0);
    atomic_store(&m->n, 0);
}

/* Its entry, or a free one, or the one that all the rest share. */
static struct admission_method *method_of(struct admission *a, uint64_t key)
{
    key = key ? key : 1;
    for (size_t i = 0; i < PROBES; i++) {
        struct admission_method *m = &a->method[(key + i) % METHODS];
        uint64_t found = atomic_load_explicit(&m->key, memory_order_acquire);
        if (found == key)
            return m;
        if (!found && (atomic_compare_exchange_strong(&m->key, &found, key) || found == key))
            return m;
    }
    return &a->method[METHODS];
}

/* ---- begin and end ---- */

static void apply_config(struct admission *a, const struct admission_config *c)
{
    a->config = *c;
    a->config.max_queue = c->max_queue ? c->max_queue : ADMISSION_QUEUE;
    atomic_store(&a->sheds, c->adaptive);
    atomic_store(&a->hard, c->max_concurrency ? c->max_concurrency : SIZE_MAX);
    adaptive_init(&a->adaptive, c->min, c->max);
    for (size_t i = 0; i <= METHODS; i++) {
        struct baseline known = a->method[i].baseline;
        method_init(a, &a->method[i]);
        a->method[i].baseline = known;
    }
    atomic_store(&a->limit, c->adaptive ? adaptive_limit(&a->adaptive) : UINT32_MAX);
    atomic_store(&a->patient_cap, UINT32_MAX);
}

struct admission *admission_new(const struct admission_config *config)
{
    struct admission *a = mem_zalloc(sizeof *a);
    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    for (size_t i = 0; i < PRIORITIES; i++)
        list_init(&a->queue[i]);
    list_init(&a->patient);
    cut_init(&a->cut);
    a->gradient = 1;
    apply_config(a, config);
    return a;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    PRE(a->n_queue == 0 && a->n_patient == 0);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
}

/* ---- a place ---- */

static void raise_peak(atomic_uint *peak, unsigned n)
{
    if (n > atomic_load_explicit(peak, memory_order_relaxed))
        atomic_store_explicit(peak, n, memory_order_relaxed); /* a lost race costs nothing */
}

static bool take_all(struct admission *a)
{
    size_t n = atomic_load_explicit(&a->all, memory_order_relaxed);
    do {
        if (n >= atomic_load_explicit(&a->hard, memory_order_relaxed))
            return false;
    } while (!atomic_compare_exchange_weak(&a->all, &n, n + 1));
    return true;
}

static bool take_counted(struct admission *a, struct admission_place *p)
{
    struct admission_method *m = p->method;
    unsigned limit = atomic_load_explicit(&a->limit, memory_order_relaxed);
    unsigned cap = atomic_load_explicit(&m->cap, memory_order_relaxed);
    if (!inflight_take(&a->inflight, limit, p->epoch)) {
        atomic_store_explicit(&a->blocked, true, memory_order_relaxed);
        return false;
    }
    if (!inflight_take(&m->inflight, cap, p->epoch)) {
        atomic_store_explicit(&m->blocked, true, memory_order_relaxed);
        inflight_give(&a->inflight, p->epoch, 0);
        return false;
    }
    raise_peak(&a->peak, atomic_load_explicit(&a->inflight.n, memory_order_relaxed));
    raise_peak(&m->peak, atomic_load_explicit(&m->inflight.n, memory_order_relaxed));
    return true;
}

/* Deliveries leave places to those who can't wait. */
static bool take_patient(struct admission *a)
{
    unsigned n = atomic_load_explicit(&a->patient_in, memory_order_relaxed);
    do {
        if (n >= atomic_load_explicit(&a->patient_cap, memory_order_relaxed))
            return false;
    } while (!atomic_compare_exchange_weak(&a->patient_in, &n, n + 1));
    return true;
}

static bool take(struct admission *a, struct admission_place *p, uint64_t now_ns)
{
    p->epoch = now_ns / ADMISSION_EPOCH + 1;
    p->counted = !p->stream && !atomic_load_explicit(&p->method->is_long, memory_order_relaxed);
    if (p->patient && !take_patient(a)) {
        atomic_store_explicit(&a->blocked, true, memory_order_relaxed);
        return false;
    }
    bool taken = take_all(a);
    if (taken && p->counted && !take_counted(a, p)) {
        atomic_fetch_sub(&a->all, 1);
        taken = false;
    }
    if (!taken && p->patient)
        atomic_fetch_sub(&a->patient_in, 1);
    if (!taken)
        return false;
    p->verdict = ADMISSION_IN;
    p->start_ns = now_ns;
    atomic_fetch_add_explicit(&a->admitted, 1, memory_order_relaxed);
    return true;
}

static void give_counted(struct admission *a, struct admission_place *p)
{
    uint64_t long_before = atomic_load(&a->long_before);
    if (!p->counted)
        return;
    inflight_give(&p->method->inflight, p->epoch, long_before);
    inflight_give(&a->inflight, p->epoch, long_before);
    p->counted = false;
}

void admission_count_shed(struct admission *a, unsigned level, enum shed_reason reason)
{
    atomic_fetch_add_explicit(&a->shed[priority_class(level)][reason], 1, memory_order_relaxed);
}

static enum admission_verdict turn_away(struct admission *a, struct admission_place *p,
                                        enum shed_reason reason)
{
    p->verdict = ADMISSION_OUT;
    p->reason = reason;
    admission_count_shed(a, p->level, reason);
    return ADMISSION_OUT;
}

/* ---- the queue; under the lock ---- */

static void unqueue(struct admission *a, struct admission_place *p, uint64_t now_ns)
{
    list_remove(&p->node);
    *(p->patient ? &a->n_patient : &a->n_queue) -= 1;
    p->method->queued -= !p->patient;
    atomic_fetch_sub(&a->waiting, 1);
    if (!a->n_queue)
        a->empty_ns = now_ns;
}

static void decide(struct admission_place *p, struct list *done)
{
    p->told = true;
    list_append(done, &p->node);
}

static uint64_t stand_ns(const struct admission *a)
{
    double ns = a->baseline_ns * STAND_LATENCIES;
    return a->baseline_ns == 0 || ns > (double)STAND_MAX ? STAND_MAX
           : ns < (double)STAND_MIN                      ? STAND_MIN
                                                         : (uint64_t)ns;
}

static bool stands_by_itself(const struct admission *a, uint64_t now_ns)
{
    /* A number that somebody has set by hand: calls wait for it, as Dapr's do. */
    if (atomic_load(&a->hard) <= atomic_load(&a->limit))
        return false;
    if (adaptive_growing(&a->adaptive))
        return false;
    return a->overloaded || (a->n_queue && elapsed_ns(a->empty_ns, now_ns) > stand_ns(a));
}

static bool help_comes(struct admission *a, uint64_t now_ns)
{
    return relief_comes(&a->relief, a->n_queue ? a->empty_ns : now_ns, now_ns);
}

bool admission_stands(struct admission *a, uint64_t now_ns)
{
    return stands_by_itself(a, now_ns) && !help_comes(a, now_ns);
}

/* Of what there is too much the newest go first: they may still be in time. What all gets its place
 * is served in order, so that none of it waits for longer than it must. */
static bool newest_first(const struct admission *a, size_t class)
{
    unsigned cut = atomic_load_explicit(&a->cut.cut, memory_order_relaxed);
    return cut == PRIORITY_LEVELS || class >= (size_t)priority_class(cut - 1);
}

/* What a call of that class may wait. The more important wait longer: they are served first, so
 * that a long wait of theirs is a hiccup of the app and no sign of too many of them; least of all
 * where only what is less important is cut off. */
static uint64_t may_wait_ns(const struct admission *a, enum priority p, bool standing)
{
    double ns = a->config.target_ns ? (double)a->config.target_ns : a->baseline_ns;
    if (!standing)
        return STAND_MAX;
    if (!a->config.target_ns)
        ns = fmin(fmax(ns, (double)TARGET_MIN), (double)TARGET_MAX);
    return (uint64_t)(ns * (!newest_first(a, p) ? STAND_LATENCIES : p < PRIORITY_NORMAL ? 4 : 1));
}

/* The oldest of each class stand in front. */
static void drop_old(struct admission *a, uint64_t now_ns, bool standing, struct list *done)
{
    for (size_t i = 0; i < PRIORITIES; i++) {
        uint64_t most = may_wait_ns(a, (enum priority)i, standing);
        while (!list_empty(&a->queue[i])) {
            struct admission_place *p =
                CONTAINER_OF(a->queue[i].next, struct admission_place, node);
            bool late = p->deadline_ns <= now_ns;
            if (!late && elapsed_ns(p->start_ns, now_ns) <= most)
                break;
            unqueue(a, p, now_ns);
            (void)turn_away(a, p, late ? SHED_DEADLINE : SHED_LIMIT);
            decide(p, done);
        }
    }
}

static bool admit_from(struct admission *a, struct list *queue, bool newest_first, uint64_t now_ns,
                       struct list *done)
{
    unsigned skipped = 0;
    struct list *next, *at = newest_first ? queue->prev : queue->next;
    for (; at != queue && skipped < SKIPS; at = next, skipped++) {
        struct admission_place *p = CONTAINER_OF(at, struct admission_place, node);
        next = newest_first ? at->prev : at->next;
        if (!p->patient && p->deadline_ns <= now_ns) {
            unqueue(a, p, now_ns);
            (void)turn_away(a, p, SHED_DEADLINE);
            decide(p, done);
            continue;
        }
        if (!take(a, p, now_ns)) /* its method has enough inside; another's may still come */
            continue;
        unqueue(a, p, now_ns);
        decide(p, done);
        return true;
    }
    return false;
}

static bool is_full(struct admission *a)
{
    return atomic_load(&a->inflight.n) >= atomic_load(&a->limit) ||
           atomic_load(&a->all) >= atomic_load(&a->hard);
}

static bool admit_one(struct admission *a, bool standing, uint64_t now_ns, struct list *done)
{
    bool patient_first = ++a->turn % PATIENT_TURN == 0;
    if (patient_first && admit_from(a, &a->patient, false, now_ns, done))
        return true;
    for (size_t i = 0; i < PRIORITIES; i++)
        if (admit_from(a, &a->queue[i], standing && newest_first(a, i), now_ns, done))
            return true;
    return !patient_first && admit_from(a, &a->patient, false, now_ns, done);
}

void admission_serve(struct admission *a, uint64_t now_ns, struct list *done)
{
    bool standing = admission_stands(a, now_ns);
    if (atomic_load(&a->sheds))
        drop_old(a, now_ns, standing, done);
    while (atomic_load(&a->waiting) && !is_full(a) && admit_one(a, standing, now_ns, done))
        ;
    if (atomic_load(&a->waiting) && is_full(a))
        atomic_store_explicit(&a->blocked, true, memory_order_relaxed);
}

/* Whoever is the least important and less so than level gives way; the oldest of them. */
static bool displace(struct admission *a, unsigned level, uint64_t now_ns, struct list *done)
{
    for (size_t i = PRIORITIES; i-- > (size_t)priority_class(level) + 1;) {
        if (list_empty(&a->queue[i]))
            continue;
        struct admission_place *p = CONTAINER_OF(a->queue[i].next, struct admission_place, node);
        unqueue(a, p, now_ns);
        (void)turn_away(a, p, SHED_PRIORITY);
        decide(p, done);
        return true;
    }
    return false;
}

/* Others take what comes once they are there. What has come before, this app does, and in time. */
static size_t max_queue(struct admission *a, uint64_t now_ns)
{
    size_t max = a->config.max_queue;
    if (!stands_by_itself(a, now_ns) || !help_comes(a, now_ns))
        return max;
    double could = a->served_s * (double)a->relief.facts.patience_ns / 1e9;
    return could < (double)max ? (size_t)could : max;
}

/* One method's calls may not fill all of it. */
static bool queue_is_full(struct admission *a, const struct admission_method *m, uint64_t now_ns)
{
    size_t max = max_queue(a, now_ns);
    return a->n_queue >= max || (atomic_load(&a->active) > 1 && m->queued > max - max / 4);
}

static void wake_all(const struct admission *a, struct list *done)
{
    struct list *node;
    while ((node = list_pop(done)))
        a->config.wake(CONTAINER_OF(node, struct admission_place, node));
}

/* p itself learns it from the return value. */
static void unlock_and_tell(struct admission *a, struct list *done, struct admission_place *p)
{
    if (p && p->told && p->verdict != ADMISSION_WAIT) {
        LIST_EACH (done, node)
            if (node == &p->node) {
                list_remove(node);
                p->told = false;
                break;
            }
    }
    pthread_mutex_unlock(&a->lock);
    wake_all(a, done);
}

static enum admission_verdict enqueue(struct admission *a, struct admission_place *p,
                                      uint64_t now_ns)
{
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&a->lock);
    bool sheds = atomic_load(&a->sheds) && !p->patient;
    if (sheds && queue_is_full(a, p->method, now_ns) && !displace(a, p->level, now_ns, &done)) {
        (void)turn_away(a, p, SHED_QUEUE);
    } else {
        if (!a->n_queue)
            a->empty_ns = now_ns;
        /* Before anybody looks for a place: who leaves now either sees us waiting, or has left one.
         */
        atomic_fetch_add(&a->waiting, 1);
        list_append(p->patient ? &a->patient : &a->queue[priority_class(p->level)], &p->node);
        *(p->patient ? &a->n_patient : &a->n_queue) += 1;
        p->method->queued += !p->patient;
        admission_serve(a, now_ns, &done);
        if (p->verdict == ADMISSION_WAIT && take(a, p, now_ns)) {
            /* Those in front wait for places of their methods; this one's has one. */
            unqueue(a, p, now_ns);
        }
        if (p->verdict == ADMISSION_WAIT && !p->patient)
            atomic_store_explicit(&a->queued_lately, true, memory_order_relaxed);
    }
    enum admission_verdict v = p->verdict;
    unlock_and_tell(a, &done, p);
    return v;
}

/* ---- in and out ---- */

/* Within the class that is cut in part: a method that holds less than half of an equal share isn't
 * what there is too much of. */
static bool is_modest(const struct admission *a, const struct admission_place *p)
{
    unsigned active = atomic_load_explicit(&a->active, memory_order_relaxed);
    unsigned limit = atomic_load_explicit(&a->limit, memory_order_relaxed);
    unsigned cut = atomic_load_explicit(&a->cut.cut, memory_order_relaxed);
    unsigned inside = atomic_load_explicit(&p->method->inflight.n, memory_order_relaxed);
    return active > 1 && priority_class(p->level) == priority_class(cut - 1) &&
           2 * inside * active < limit;
}

enum admission_verdict admission_enter(struct admission *a, struct admission_place *p,
                                       const struct admission_ask *ask, uint64_t now_ns)
{
    *p = (struct admission_place){
        .method = method_of(a, ask->method),
        .start_ns = now_ns,
        .deadline_ns = ask->patient ? UINT64_MAX : ask->deadline_ns,
        .level = ask->level,
        .patient = ask->patient,
        .stream = ask->stream,
    };
    list_init(&p->node);
    if (admission_look_due(a, now_ns)) /* also when nothing ends any more */
        admission_look(a, now_ns);
    if (!p->patient && atomic_load_explicit(&a->sheds, memory_order_relaxed)) {
        if (p->deadline_ns <= now_ns)
            return turn_away(a, p, SHED_DEADLINE);
        if (!cut_passes(&a->cut, p->level) && !is_modest(a, p))
            return turn_away(a, p, SHED_PRIORITY);
    }
    if (atomic_load(&a->waiting) == 0 && take(a, p, now_ns))
        return ADMISSION_IN;
    return enqueue(a, p, now_ns);
}

enum admission_verdict admission_check(struct admission *a, struct admission_place *p,
                                       uint64_t now_ns)
{
    struct list done;
    list_init(&done);
    if (admission_look_due(a, now_ns))
        admission_look(a, now_ns);
    pthread_mutex_lock(&a->lock);
    bool waited = p->verdict == ADMISSION_WAIT;
    if (waited)
        admission_serve(a, now_ns, &done);
    enum admission_verdict v = p->verdict;
    unlock_and_tell(a, &done, waited ? p : NULL);
    return v;
}

enum admission_verdict admission_abandon(struct admission *a, struct admission_place *p,
                                         uint64_t now_ns)
{
    pthread_mutex_lock(&a->lock);
    if (p->verdict == ADMISSION_WAIT) {
        unqueue(a, p, now_ns);
        p->verdict = ADMISSION_OUT;
        p->reason = SHED_NONE;
    }
    enum admission_verdict v = p->verdict;
    pthread_mutex_unlock(&a->lock);
    return v;
}

static void serve_waiting(struct admission *a, uint64_t now_ns)
{
    struct list done;
    if (atomic_load(&a->waiting) == 0)
        return;
    list_init(&done);
    pthread_mutex_lock(&a->lock);
    admission_serve(a, now_ns, &done);
    unlock_and_tell(a, &done, NULL);
}

void admission_configure(struct admission *a, const struct admission_config *config,
                         uint64_t now_ns)
{
    pthread_mutex_lock(&a->lock);
    apply_config(a, config);
    pthread_mutex_unlock(&a->lock);
    serve_waiting(a, now_ns);
}

void admission_relief(struct admission *a, const struct relief_facts *facts, uint64_t now_ns)
{
    pthread_mutex_lock(&a->lock);
    relief_see(&a->relief, facts, now_ns);
    pthread_mutex_unlock(&a->lock);
}

static const uint64_t LONGEST = SEC(60); /* so that a million squares have room */

/* Only what began in this window has lived under its limit. */
static void sample(const struct admission_place *p, uint64_t now_ns)
{
    struct admission_method *m = p->method;
    if (p->stream || p->start_ns < atomic_load_explicit(&m->window_ns, memory_order_relaxed))
        return;
    uint64_t ns = now_ns - p->start_ns, us = min_u64(ns, LONGEST) / 1000;
    atomic_fetch_add_explicit(&m->sum_ns, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->squares_us2, us * us, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->n, 1, memory_order_relaxed);
}

void admission_leave(struct admission *a, struct admission_place *p, enum admission_outcome outcome,
                     uint64_t now_ns)
{
    PRE(p->verdict == ADMISSION_IN);
    if (outcome == ADMISSION_DONE)
        sample(p, now_ns);
    atomic_fetch_add_explicit(&a->served, 1, memory_order_relaxed);
    give_counted(a, p);
    if (p->patient)
        atomic_fetch_sub(&a->patient_in, 1);
    atomic_fetch_sub(&a->all, 1);
    if (admission_look_due(a, now_ns))
        admission_look(a, now_ns);
    serve_waiting(a, now_ns);
}

void admission_stream(struct admission *a, struct admission_place *p, uint64_t now_ns)
{
    PRE(p->verdict == ADMISSION_IN);
    atomic_store(&p->method->is_long, true);
    give_counted(a, p);
    serve_waiting(a, now_ns);
}

/* ---- what is shown ---- */

void admission_stats(struct admission *a, struct admission_stats *ret)
{
    *ret = (struct admission_stats){
        .limit = atomic_load(&a->limit),
        .inflight = atomic_load(&a->inflight.n),
        .all = atomic_load(&a->all),
        .cut = atomic_load(&a->cut.cut),
        .admitted = atomic_load(&a->admitted),
    };
    size_t hard = atomic_load(&a->hard);
    if (hard < ret->limit)
        ret->limit = (unsigned)hard;
    for (size_t i = 0; i < PRIORITIES; i++)
        for (size_t k = 0; k < SHED_REASONS; k++) {
            ret->shed[i][k] = atomic_load(&a->shed[i][k]);
            ret->by_class[i] += ret->shed[i][k];
            ret->by_reason[k] += ret->shed[i][k];
        }
    pthread_mutex_lock(&a->lock);
    ret->queued = a->n_queue;
    ret->patient = a->n_patient;
    ret->baseline_ns = a->baseline_ns;
    ret->gradient = a->gradient;
    pthread_mutex_unlock(&a->lock);
}

bool admission_cuts(const struct admission *a)
{
    return atomic_load_explicit(&a->cut.cut, memory_order_relaxed) < PRIORITY_LEVELS;
}

unsigned admission_load(const struct admission *a)
{
    size_t hard = atomic_load_explicit(&a->hard, memory_order_relaxed);
    size_t limit = atomic_load_explicit(&a->limit, memory_order_relaxed);
    size_t n = atomic_load_explicit(&a->inflight.n, memory_order_relaxed) +
               atomic_load_explicit(&a->waiting, memory_order_relaxed);
    limit = min_size(limit, hard);
    return n >= limit ? 1000 : (unsigned)(n * 1000 / limit);
}

unsigned admission_retry_after_s(const struct admission *a)
{
    double s = a->baseline_ns * STAND_LATENCIES / 1e9; /* a torn read is as good a guess */
    return s <= 1 ? 1 : s >= 30 ? 30 : (unsigned)ceil(s);
}
