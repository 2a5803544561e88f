/* instances.h — what is known of the apps that are called and of each of their instances, shared by
 * all workers: load, latency, failures, who is ejected.
 * Owner:  reference counted: the table, the workers' views of it (resolve.h), each call under way.
 * Thread: any. Looking an app up and updating its instances take a short mutex: once every few
 * seconds a worker and app, never in a call. All else is atomics.
 * Failure: NULL, or -EXHAUSTED: out of memory.
 * Limits: INSTANCES_APPS apps, RESOLVE_ADDRESSES instances each; UPSTREAM_METHODS latencies an app,
 * methods beyond share one.
 *
 * How zones plug in: a peer says where it is (zone, region), and zone_weight is what share of its
 * fair part it gets. Whoever decides about zones sets instances.zones before the first call: it is
 * called a few times a second for each app that is called, by one worker at a time, with all its
 * instances, and stores zone_weight of each (0 … 1000; 0 = only if there is nobody else). The
 * choice (policy/choice.h) multiplies it with the weight of slow start and leaves out who is
 * ejected. */
#pragma once

#include "base/map.h"
#include "component/kinds.h"
#include "format/json.h"
#include "policy/budget.h"
#include "policy/hedge.h"
#include "policy/refusals.h"
#include "policy/traffic.h"

#include <pthread.h>

enum { INSTANCES_APPS = 1000, INSTANCES_MAX = 64, UPSTREAM_METHODS = 32 };
static const uint64_t SWEEP_NS = 250000000;

enum traffic_stat {
    STAT_RETRY_UNSENT,  /* asked another at once: nothing had been sent, … */
    STAT_RETRY_BROKEN,  /* … the connection broke before an answer, … */
    STAT_RETRY_SHED,    /* … the instance had shed it */
    STAT_RETRY_REFUSED, /* a retry for which there was no budget */
    STAT_RETRY_MARKED,  /* none: the callee's own calls had been tried again in vain */
    STAT_HEDGE,
    STAT_HEDGE_WON,
    STAT_MIRROR,
    STAT_MIRROR_DROPPED, /* copies over the limit, or of a body too large */
    TRAFFIC_STATS
};

struct upstream;

/* One instance of an app. */
struct peer {
    atomic_uint refs;
    struct upstream *up; /* a reference */
    uint64_t hash;       /* hash_stable(address) */
    char address[64];    /* "10.0.0.7:50002" */
    char zone[64], region[64];
    uint32_t zone_hash;           /* of both */
    char apart[64];               /* what follows changes with each call */
    atomic_bool direct;           /* a Proa: takes calls as plain HTTP/1.1 on its internal port */
    _Atomic uint32_t zone_weight; /* 0 … 1000, see above */
    _Atomic uint64_t *_Atomic zone_calls; /* counts those of its zone; NULL = nobody does */
    _Atomic uint32_t in_flight;           /* our calls there */
    _Atomic uint32_t waiting;             /* of these, those whose answer should come soon */
    _Atomic uint32_t load;                /* permille, as it reports itself … */
    _Atomic uint64_t load_ns;             /* … at that time */
    _Atomic uint64_t draining_ns; /* when it last said that it is about to stop; 0 = never */
    _Atomic uint64_t progress_ns; /* the last answer, or when the first of .waiting began */
    _Atomic uint64_t latency_ns;  /* moving average of its good answers */
    struct refusals refusals;     /* calls that it has turned away lately */
    _Atomic uint64_t calls, failed, ejections;
    struct outlier health;
};

/* It will be gone from the registry, or be another program at the same address, before that ends.
 */
static inline bool peer_is_draining(const struct peer *p, uint64_t now_ns)
{
    uint64_t since = atomic_load_explicit(&p->draining_ns, memory_order_relaxed);
    return since && now_ns - since < SEC(10);
}

/* An app that we call. */
struct upstream {
    atomic_uint refs;
    atomic_bool panic; /* too few are available: all are used */
    str key, app_id;   /* "namespace/app id"; app_id is a part of it */
    uint64_t born_ns;
    struct outlier_group group;
    _Atomic uint64_t sweep_ns;  /* when the next sweep is due */
    _Atomic uint64_t median_ns; /* of the slowest method */
    _Atomic uint32_t turn;      /* round robin */
    _Atomic uint32_t mirrors;   /* copies under way */
    struct latency *_Atomic method[UPSTREAM_METHODS];
    _Atomic uint64_t stat[TRAFFIC_STATS];
    struct hedge_budget hedges;
    struct budget retries;
    struct zoned *zoned;              /* of zones.c: whoever sweeps; NULL = nothing yet */
    struct peer *peer[INSTANCES_MAX]; /* under the table's lock */
    size_t n_peers;
};

/* Weighs all instances of an app by their zones: see above. */
typedef void zones_fn(void *arg, struct upstream *u, const struct traffic_rule *rule,
                      struct peer *const *peer, size_t n, uint64_t now_ns);

struct instances {
    pthread_mutex_t lock;
    struct map by_key; /* → struct upstream */
    zones_fn *zones;   /* NULL = nobody cares for zones */
    void *zones_arg;
};

int instances_init(struct instances *t) WUR; /* -EXHAUSTED */
void instances_done(struct instances *t);    /* no call may be left */

/* The app, made when it's new; a reference for the caller. NULL: out of memory. */
struct upstream *instances_get(struct instances *t, str app_id, str namespace_, uint64_t now_ns)
    WUR;
void upstream_unref(struct upstream *u); /* NULL is fine */
struct upstream *upstream_ref(struct upstream *u);

/* These are its instances now; what is known of those that stay is kept. Fills ret with references
 * for the caller. An address of more than 63 bytes is none and is passed over. */
int upstream_update(struct instances *t, struct upstream *u, const struct registration *found,
                    size_t n, uint64_t now_ns, struct peer *ret[INSTANCES_MAX], size_t *ret_n) WUR;
struct peer *peer_ref(struct peer *p);
void peer_unref(struct peer *p); /* NULL is fine */

/* The latencies of a method by its hash; NULL: out of memory. */
struct latency *upstream_latency(struct upstream *u, uint64_t method);
/* Compares the instances, publishes quantiles, weighs zones: if it's time, and nobody else does. */
void upstream_sweep(struct instances *t, struct upstream *u, const struct traffic_rule *rule,
                    struct peer *const *peer, size_t n, uint64_t now_ns);

static inline void upstream_count(struct upstream *u, enum traffic_stat stat)
{
    atomic_fetch_add_explicit(&u->stat[stat], 1, memory_order_relaxed);
}

/* Writes the feed's member "instances", and an item for each ejected one into the open array
 * "breakers". */
void instances_write(struct instances *t, struct json_w *w, uint64_t now_ns);
void instances_write_breakers(struct instances *t, struct json_w *w, uint64_t now_ns);
/* Brings the metrics proa_traffic_* up to date; before each metrics_write(). */
void instances_metrics(struct instances *t);
