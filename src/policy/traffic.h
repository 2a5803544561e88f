/* traffic.h — what Traffic resources say about calls to other apps, and which of it is for a call.
 * Owner:  specs belong to the snapshot of the resources and are never written again.
 * Thread: any.   Failure: none: where nothing is said traffic_defaults() count.
 * Limits: TRAFFIC_SPLITS parts of a split. */
#pragma once

#include "base/str.h"
#include "policy/hedge.h"
#include "policy/outlier.h"

enum { TRAFFIC_SPLITS = 16 };

enum traffic_balance { TRAFFIC_LEAST_LOADED, TRAFFIC_ROUND_ROBIN, TRAFFIC_RANDOM };

struct traffic_part { /* of a split */
    str app;
    int64_t weight; /* relative to the others' */
};

struct traffic_mirror {
    str app; /* .n == 0: none */
    int64_t percent, max_concurrent;
};

/* What makes calls alike: by the first of these that is set and that the call has. */
struct traffic_key {
    str header, cookie, query;
};

struct traffic_sticky {
    str cookie, header; /* that names the instance; neither: off */
    uint64_t ttl_ns;    /* of the cookie; 0 = of the session */
};

struct traffic_rule {
    enum traffic_balance balance;
    struct traffic_key hash;
    int64_t bounded_percent; /* of the mean load: what a hashed instance takes at most; 0 = all */
    struct traffic_sticky sticky;
    const struct traffic_part *part;
    size_t n_parts; /* 0 = no split */
    struct traffic_mirror mirror;
    struct hedge_config hedge;
    struct outlier_config outlier;
    uint32_t retry_percent; /* retries per 100 calls */
    bool retry;             /* at another instance at once, where that is safe */
    const str *zone;        /* in which order others take over: zone.h; of the spec, not a route */
    size_t n_zones;
    const str *region;
    size_t n_regions;
    uint64_t zone_ramp_ns; /* 0 = zone.h's own */
};

struct traffic_route {
    str path;   /* "/orders/123" or "/orders/..." with a final *; gRPC: "/package.Service/..." */
    str method; /* "GET"; empty = any */
    struct traffic_rule rule;
};

struct traffic_spec {
    str name;
    const str *app; /* it is about calls to these; none = to all */
    size_t n_apps;
    struct traffic_rule rule;
    const struct traffic_route *route; /* the first that fits counts instead of .rule */
    size_t n_routes;
};

/* Least loaded of two, ejection of outliers, a retry elsewhere within a budget of 20 %; no hashing,
 * no splits, no mirror, and no hedging: only who owns a route knows that two copies of a call do no
 * harm. */
const struct traffic_rule *traffic_defaults(void);

/* For a call to app: of several specs the last one that names it counts, else the last one for all.
 * path begins with a slash. */
const struct traffic_rule *traffic_find(const struct traffic_spec *const *spec, size_t n, str app,
                                        str method, str path);

/* Which app gets the call: one of the split's parts by 64 uniform bits, or by a key's hash, so that
 * the same key always meets the same version; app where there is no split. */
str traffic_split(const struct traffic_rule *r, str app, uint64_t random);
