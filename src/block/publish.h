/* publish.h — what a publish means: scopes, the CloudEvent around the data, the broker's promise.
 * Owner:  slices are the caller's during the call.   Thread: any worker; suspends until the broker
 * has it. Failure: *err has the contract's tag and details. */
#pragma once

#include "block/core/block.h"
#include "block/topics.h"
#include "policy/resiliency.h"
#include "telemetry/trace.h"

struct policy;

/* What the block keeps with each broker: instance.extra. */
struct broker {
    struct topics topics;
    struct list hubs; /* what streams subscribe to: streaming.c; worker 0 */
};
/* Once, after the component was opened. */
int publish_attach(struct blocks *b, struct instance *i, bool namespaced, struct error *err) WUR;

struct publish_request {
    str pubsub, topic;
    str data, content_type; /* empty = text/plain */
    struct kvs metadata;    /* request metadata: rawPayload, ttlInSeconds, cloudevent.*, and the
                               engine's own */
    struct trace_context trace;
};
CO int block_publish(struct blocks *b, const struct publish_request *p, struct arena *a,
                     struct error *err) WUR;

struct publish_entry {
    str id, data, content_type;
    struct kvs metadata; /* already merged as the API's rules say */
    struct error err;    /* filled when this one failed */
};
/* The contract's checks only, so that the API can refuse before it reads the body. */
int block_publish_check(struct blocks *b, str pubsub, str topic, struct instance **ret,
                        struct error *err) WUR;
/* Each entry has an id of its own (ERR_PUBSUB_EVENTS_SER). */
int block_publish_check_entries(const struct publish_request *common, const struct publish_entry *e,
                                size_t n, struct error *err) WUR;
/* Returns 0, or negative when any entry failed (entries' err) or the whole (*err). */
CO int block_publish_bulk(struct blocks *b, const struct publish_request *common,
                          struct publish_entry *entries, size_t n, struct arena *a,
                          struct error *err) WUR;
/* What an event says of its trace: the context's traceparent, or zeros where tracing is off. */
str publish_trace_parent(const struct blocks *b, const struct trace_context *t);
/* Bytes as they are to a topic, no envelope: dead letters. */
CO int block_publish_raw(struct blocks *b, struct instance *pubsub, const struct pubsub_message *m,
                         struct error *err) WUR;
