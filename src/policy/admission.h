/* admission.h — who comes in to our app now, who waits, and who is turned away: a concurrency limit
 * that finds itself, for the app and for each method, and a short queue in front of it.
 * Owner:  the runtime; a place is in the frame of its call, which tells when it has left.
 * Thread: any. While nobody waits, coming in and leaving are a few atomics; else a short mutex.
 * Limits: METHODS methods with a limit of their own (later ones share one), max_queue waiting
 * calls. A call that runs for more than a second or two holds no place any more: long polls,
 * streams and stuck calls are no measure of how many calls an app can do. Failure: ADMISSION_OUT
 * with the reason; out of memory admission_new() is NULL.
 *
 * The queue (Nichols and Jacobson's CoDel as it is used for servers): as long as it runs empty now
 * and then, calls wait as long as a burst needs, the first come first. Once it has stood for an
 * interval, more is asked for than can be done: then the newest go first, who waits longer than the
 * target is turned away, and the cut keeps away what would never get a place. Always the most
 * important class first. Patient calls (deliveries, input bindings) are never turned away.
 *
 * While more instances of the app are on their way (relief.h) a standing queue is none: calls wait
 * for them, in order, as many as the app can do in the time that help may take. */
#pragma once

#include "policy/adaptive.h"
#include "policy/priority.h"
#include "policy/relief.h"

#include "base/list.h"

enum shed_reason {
    SHED_NONE,
    SHED_LIMIT,    /* waited too long for a place */
    SHED_QUEUE,    /* the queue is full */
    SHED_DEADLINE, /* the call's deadline has passed before it was begun */
    SHED_PRIORITY, /* under the cut, or had to give way to a more important call */
    SHED_RATE,     /* more calls of its key than its rate limit allows */
    SHED_REASONS
};
const char *shed_name(enum shed_reason reason); /* "limit"; "" for none */
enum shed_reason shed_parse(str name);          /* SHED_NONE for any other word */

struct admission_place;

struct admission_config {
    bool adaptive;          /* false: .max_concurrency alone, and nobody is turned away */
    unsigned min, max;      /* bounds of the adaptive limit; 0 = the built-in ones */
    size_t max_concurrency; /* calls in the app at once, long ones too; 0 = no limit of that kind */
    size_t max_queue;       /* calls that may wait, patient ones aside; 0 = ADMISSION_QUEUE */
    uint64_t target_ns;     /* what a call may wait while the queue stands; 0 = by latency */
    /* What became of a call that waited: .verdict is set. Called without a lock, once a place,
     * unless one of the functions below has said so already. */
    void (*wake)(struct admission_place *p);
};
enum { ADMISSION_QUEUE = 10000 };

struct admission;

struct admission *admission_new(const struct admission_config *config) WUR; /* NULL: no memory */
void admission_free(struct admission *a); /* nobody is in it; NULL is fine */
/* Other numbers from now on; calls inside and waiting stay. */
void admission_configure(struct admission *a, const struct admission_config *config,
                         uint64_t now_ns);

/* What is known of help; now and then, and at once when it has changed. */
void admission_relief(struct admission *a, const struct relief_facts *facts, uint64_t now_ns);

enum admission_verdict { ADMISSION_WAIT, ADMISSION_IN, ADMISSION_OUT };

struct admission_ask {
    uint64_t method; /* a hash that stands for it */
    unsigned level;  /* of priority.h */
    bool patient;
    uint64_t deadline_ns; /* by the same clock as now; UINT64_MAX = none */
    bool stream; /* lasts as long as its caller sends: holds no place, and isn't measured */
};

struct admission_place { /* private but .verdict and .reason */
    enum admission_verdict verdict;
    enum shed_reason reason;
    struct admission_method *method;
    struct list node;
    uint64_t start_ns, epoch;
    uint64_t deadline_ns;
    unsigned level;
    bool patient, stream;
    bool counted; /* among those that the limits are for */
    bool told;    /* .wake has been or will be called */
};

/* ADMISSION_WAIT: p is in the queue until .wake, admission_check() or admission_abandon(). */
enum admission_verdict admission_enter(struct admission *a, struct admission_place *p,
                                       const struct admission_ask *ask, uint64_t now_ns) WUR;
/* Now and then while it waits, ADMISSION_LOOK_NS apart. With p->told the wake is still to come. */
enum admission_verdict admission_check(struct admission *a, struct admission_place *p,
                                       uint64_t now_ns) WUR;
#define ADMISSION_LOOK_NS MS(100)
/* The caller has gone. ADMISSION_OUT: p is out of the queue. Otherwise it has been decided: as for
 * admission_check(), and a place that was given must be left. */
enum admission_verdict admission_abandon(struct admission *a, struct admission_place *p,
                                         uint64_t now_ns) WUR;

enum admission_outcome {
    ADMISSION_DONE,   /* its time tells about the app */
    ADMISSION_FAILED, /* it doesn't: failures are quick or slow for reasons of their own */
};
void admission_leave(struct admission *a, struct admission_place *p, enum admission_outcome outcome,
                     uint64_t now_ns);
/* The call turned out to be a stream: it and its method hold no places from now on. */
void admission_stream(struct admission *a, struct admission_place *p, uint64_t now_ns);
/* Counts a call that was turned away before it came here (rate limits). */
void admission_count_shed(struct admission *a, unsigned level, enum shed_reason reason);

struct admission_stats {
    unsigned limit, inflight; /* inflight: those the limit is for */
    size_t all;               /* all in the app, long ones too */
    size_t queued, patient;   /* waiting */
    unsigned cut;             /* PRIORITY_LEVELS = nothing is cut off */
    uint64_t admitted, by_class[PRIORITIES], by_reason[SHED_REASONS]; /* shed; cumulative */
    uint64_t shed[PRIORITIES][SHED_REASONS];
    double baseline_ns, gradient;
};
void admission_stats(struct admission *a, struct admission_stats *ret);
/* Something is cut off now. */
bool admission_cuts(const struct admission *a);
/* How much of what the app can do is in use: 0 … 1000. */
unsigned admission_load(const struct admission *a);
/* The seconds after which a caller that was turned away may come back. */
unsigned admission_retry_after_s(const struct admission *a);
