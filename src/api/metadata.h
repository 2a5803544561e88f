/* metadata.h — what a sidecar says about itself, for GET /v1.0/metadata and GetMetadata alike
 * (facts 2.11). Owner:  lists live in the arena that describe() got, texts in it or in the runtime.
 * Thread: any.   Failure: describe() returns -EXHAUSTED. */
#pragma once

#include "block/subscribe.h"

struct sidecar_component {
    str name, type, version;
    const str *capability;
    size_t n_capabilities;
};

struct sidecar_app {
    int64_t port;
    str protocol, address;
    int64_t max_concurrency; /* 0 = no limit */
    bool probed;
    str health_path;
    uint64_t health_interval_ns, health_timeout_ns;
    int64_t health_threshold;
};

struct sidecar_info {
    str id, version;
    struct sidecar_component *component;
    size_t n_components;
    struct kvs extended;
    struct subscription *const *subscription;
    size_t n_subscriptions;
    const struct endpoint *endpoint;
    size_t n_endpoints;
    const str *resiliency;
    size_t n_resiliencies;
    bool has_app;
    struct sidecar_app app;
};

/* The body of GET /v1.0/metadata. */
void metadata_json(const struct sidecar_info *i, struct buf *out);
