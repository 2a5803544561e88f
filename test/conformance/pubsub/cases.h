/* cases.h — helpers of the pub/sub cases: a sink that records what a subscription was given.
 * Owner:  the case; sink_done() after its subscriptions have ended.
 * Thread: handlers of any worker fill it, the case's fiber reads it.   Failure: CHECK() reports. */
#pragma once

#include "component/pubsub.h"
#include "fiber/fiber.h"
#include "test/conformance/suite.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SINK_MAX = 4096 };

struct sink_entry {
    char *data; /* owned; NUL behind it */
    size_t n;
    str topic, type, mark; /* mark: the message's metadata "mark"; all owned by data's block */
    uint64_t at;
};

struct sink {
    pthread_mutex_t lock;
    struct sink_entry v[SINK_MAX];
    size_t n, want;
    atomic_int running, peak, fail_first, fail_code; /* fails the first n calls with fail_code */
    _Atomic uint64_t hold_ns;                        /* each call takes that long */
    atomic_bool gate;                                /* calls wait while it is closed */
    atomic_size_t bulks;
};

struct sink *sink_new(void);
void sink_free(struct sink *k);
int sink_handle(void *arg, const struct pubsub_message *m, struct error *err);
int sink_handle_bulk(void *arg, const struct pubsub_message *m, size_t n, int *ret_codes,
                     struct error *err);
size_t sink_count(struct sink *k);
size_t sink_count_of(struct sink *k, const char *data);
/* Until n messages have come, at most 5 s. */
bool sink_wait(struct sink *k, size_t n);
/* Lets the engine do what it would do wrong: no further message comes for ms. */
bool sink_stays(struct sink *k, size_t n, uint64_t ms);

static inline const struct pubsub_ops *ops_of(const struct suite *s)
{
    return CONTAINER_OF(s->type, const struct pubsub_ops, t);
}

void *pubsub_subscribe(struct suite *s, const char *topic, struct sink *k);
void *pubsub_subscribe_dead(struct suite *s, const char *topic, const char *dead, struct sink *k);
void pubsub_unsubscribe(struct suite *s, void *sub);
int pubsub_publish(struct suite *s, const char *topic, const char *data);
/* With one metadata entry. */
int pubsub_publish_with(struct suite *s, const char *topic, const char *data, const char *key,
                        const char *value);
/* Adds a field and opens again. */
bool pubsub_configure(struct suite *s, const char *field, const char *value);

extern const struct suite_case pubsub_durable_cases[], pubsub_feature_cases[];
extern const size_t n_pubsub_durable_cases, n_pubsub_feature_cases;
