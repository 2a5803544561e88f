/* fleet.h — instances of apps and the sidecars that call them, over the real control laws of
 * src/policy/: admission at an instance; choice, outliers, budgets, hedges and zones at a caller.
 * What src/block/ does with them over sockets and fibers is done here by events.
 * Owner:  the simulation; all of it ends with sim_done(), but servers_done() for admissions.
 * Thread: one.   Failure: aborts. */
#pragma once

#include "test/sim/sim.h"

#include "policy/admission.h"
#include "policy/budget.h"
#include "policy/refusals.h"
#include "policy/retry.h"
#include "policy/traffic.h"
#include "policy/zone.h"

enum { METHODS_MAX = 4, PEERS_MAX = 64, TRIES_MAX = 3, CELL_ZONES = 8 };

struct call;
struct client;
struct attempt;
struct fleet;

/* ---- an instance ---- */

struct method { /* what a call of it takes of a worker */
    double service_ns;
    bool exponential; /* else always the same */
};

struct server {
    struct fleet *fleet;
    struct admission *admission;
    struct client *client; /* its own calls: one for each that it gets; NULL = none */
    uint8_t zone;
    unsigned workers, running;
    struct method method[METHODS_MAX];
    double slow; /* service takes so many times as long; 1 = healthy */
    double fail; /* share of its calls that fail, at once */
    double late; /* share of its calls that take .late_factor times as long */
    double late_factor;
    bool down;         /* nobody takes connections there */
    bool frozen;       /* nothing comes out of it */
    uint64_t stall_ns; /* no call is begun or ended before */
    uint64_t done;     /* calls that it has ended well */
    uint64_t arrived, began_late;
    struct event look;         /* at those that wait for a place */
    struct list waiting, held; /* for a place; all others in it */
    struct attempt *first, *last;
};

/* ---- a caller ---- */

struct peer {
    struct server *server;
    struct outlier health;
    struct refusals refusals;
    uint64_t hash, load_ns, progress_ns;
    uint32_t in_flight, load, zone_weight, ejections;
};

struct client { /* a sidecar that calls one app */
    struct fleet *fleet;
    const struct traffic_rule *rule;
    const struct retry_policy *retry; /* a Resiliency resource's; NULL = none */
    uint8_t zone;
    bool idempotent, panic;
    struct peer *peer[PEERS_MAX];
    size_t n_peers;
    struct outlier_group group;
    struct latency latency[METHODS_MAX];
    struct hedge_budget hedges;
    struct budget retries;
    uint64_t sweep_ns, health;
    _Atomic uint32_t turn;
    struct zones zones;
    struct zone_weights weights;
    uint64_t calls, attempts, copies, failures;
    uint64_t to_zone[CELL_ZONES];
};

/* ---- calls ---- */

enum outcome { CALL_GOOD, CALL_SHED, CALL_FAILED, CALL_TIMEOUT, OUTCOMES };

struct order { /* what a call is */
    enum priority priority;
    unsigned method;
    uint64_t timeout_ns; /* 0 = none */
    bool patient;
    void (*ended)(struct call *c, enum outcome outcome);
    void *arg;
};

struct attempt {
    struct event event; /* what happens to it next */
    struct admission_place place;
    struct list at_server; /* in .waiting or .held */
    struct attempt *next;  /* in the app's own queue */
    struct call *call;     /* NULL: its caller has gone */
    struct peer *peer;
    struct server *server;
    struct client *client;
    unsigned method;
    uint64_t start_ns;
    uint32_t load; /* that its answer tells */
    int result;    /* enum answer */
    bool is_copy, running;
    bool retried; /* a failure: what was called for it has been tried again in vain */
};

struct call {
    struct event deadline, next; /* next: a copy, or another try */
    struct order order;
    struct client *client;
    unsigned level;
    uint64_t start_ns, deadline_ns;
    struct attempt *live[2]; /* the first copy and the second */
    struct peer *tried[TRIES_MAX];
    size_t n_tried;
    struct retry_state retry;
    struct call *free;
    enum outcome failure; /* of the last try */
    bool spent;           /* it has failed, and trying is no use any more */
};

/* ---- all of it ---- */

struct fleet {
    struct sim *sim;
    struct zone_map zones;
    struct server *server;
    size_t n_servers;
    double delay_ns, far_ns; /* one way: within a zone, between two */
    struct call *free_call;
    struct list free_attempts;
    uint64_t calls_under_way;
};

/* n instances, spread over that many zones (0 = none is known) one by one. limits: with an
 * adaptive limit, else nobody is ever turned away. */
void fleet_init(struct fleet *f, struct sim *s, size_t n, unsigned zones, bool limits);
/* Lets all calls end first, for at most a minute. */
void fleet_done(struct fleet *f);
/* Workers and methods of all instances. */
void fleet_work(struct fleet *f, unsigned workers, double service_ms, bool exponential);
uint8_t fleet_zone(struct fleet *f, unsigned i); /* 0 … zones - 1 → its number */

/* A new caller of servers[from … from + n). */
struct client *client_new(struct fleet *f, uint8_t zone, size_t from, size_t n);
/* It has found another instance, which begins with little; one that it knows is fine. */
void client_meet(struct client *c, struct server *s);
void client_forget(struct client *c, const struct server *s); /* calls that are there stay */
void client_call(struct client *c, const struct order *o);

/* The process is gone, with all it was doing; or is there again, with a fresh limit. */
void server_kill(struct server *s);
void server_start(struct server *s);
void server_freeze(struct server *s, bool frozen);
