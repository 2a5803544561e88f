/* admission_private.h — what admission.c (who comes in, who waits) and admission_window.c (what is
 * learned from those that left) share.
 * Owner:  admission_new().   Thread: as said at each field.   Failure: none. */
#pragma once

#include "policy/admission.h"

#include <pthread.h>

enum { METHODS = 64, EPOCHS = 8 };
#define ADMISSION_EPOCH SEC(1)

/* Those that began two epochs ago are long: they are taken out of .n by whoever turns the epoch,
 * and find nothing of theirs to take out when they end. */
struct inflight {
    atomic_uint n;
    atomic_int of_epoch[EPOCHS];
};

void inflight_turn(struct inflight *f, uint64_t epoch);

struct admission_method {
    _Atomic uint64_t key; /* 0 = free */
    struct inflight inflight;
    atomic_uint cap;              /* how many of its calls may be inside */
    atomic_uint peak, n;          /* of the window: most inside at once, samples */
    _Atomic uint64_t sum_ns;      /* of the samples */
    _Atomic uint64_t squares_us2; /* of their squares: says how much they scatter */
    /* The begin of its own window: open until it has samples, so that it may be longer than the
     * app's, and its calls too. */
    _Atomic uint64_t window_ns;
    atomic_bool blocked; /* its limit held a call back in this window */
    atomic_bool is_long; /* streams and long polls: no limit */
    /* under the lock */
    struct baseline baseline;
    struct adaptive limit;
    bool shared;    /* .cap is its share of the app's limit, not a limit of its own */
    size_t queued;  /* of its calls, not patient ones */
    double mean_ns; /* of its last window; 0 = it had too few calls in it */
    uint64_t used_ns;
};

struct admission {
    struct admission_config config;
    atomic_bool sheds;
    atomic_uint limit; /* as it is now */
    struct inflight inflight;
    atomic_size_t all, hard; /* hard: config.max_concurrency, SIZE_MAX = none */
    atomic_uint patient_in, patient_cap;
    atomic_uint active;                  /* methods that were called in the last window */
    _Atomic uint64_t long_before;        /* epoch */
    _Atomic uint64_t next_ns, window_ns; /* the next look at the window; its begin */
    atomic_bool blocked, queued_lately;
    atomic_uint peak, served; /* of the window: most inside at once; calls that have ended */
    atomic_size_t waiting;    /* patient ones too */
    struct admission_method method[METHODS + 1]; /* the last is shared by all others */
    struct priority_cut cut;
    _Atomic uint64_t admitted, shed[PRIORITIES][SHED_REASONS];

    pthread_mutex_t lock; /* of what follows */
    struct list queue[PRIORITIES], patient;
    size_t n_queue, n_patient;
    uint64_t empty_ns; /* when the queue was empty last */
    unsigned turn;
    struct adaptive adaptive;
    double baseline_ns, gradient, served_s;
    uint64_t cut_ns;
    bool overloaded; /* the queue has stood, and not yet all who came since then got their place */
    struct relief relief;
    double opened; /* by how much more than what is served the cut lets through */
};

/* Both under the lock. Waiting calls that may come in, or waited too long, go onto done. */
bool admission_stands(struct admission *a, uint64_t now_ns);
void admission_serve(struct admission *a, uint64_t now_ns, struct list *done);
/* What the calls since the last look tell, when it's time for one. */
void admission_look(struct admission *a, uint64_t now_ns);
void method_init(struct admission *a, struct admission_method *m);
/* Whether it is time for it; without the lock. */
static inline bool admission_look_due(const struct admission *a, uint64_t now_ns)
{
    return now_ns >= atomic_load_explicit(&a->next_ns, memory_order_relaxed);
}
