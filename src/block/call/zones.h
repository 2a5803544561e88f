/* zones.h — which share of an app's calls goes to the instances of each zone, and how many went
 * there: policy/zone.h, applied to instances.h.
 * Owner:  the invoker; what is known of an app's zones belongs to the app (upstream.zoned).
 * Thread: zones_weigh() one worker at a time for an app (upstream_sweep() sees to that), the rest
 * any.   Failure: out of memory: zones play no part until there is some. */
#pragma once

#include "block/call/instances.h"
#include "policy/zone.h"

struct zoning {
    struct zone_map map;
    char zone[ZONE_NAME_MAX], region[ZONE_NAME_MAX]; /* ours; empty = unknown */
    struct {
        _Atomic uint64_t n;
        char apart[56]; /* a line of the cache for each */
    } calls[ZONES_MAX];
};

/* Names that are too long count as unknown. NULL: out of memory. */
struct zoning *zoning_new(const char *zone, const char *region) WUR;
void zoning_free(struct zoning *z); /* NULL is fine */

/* The zones_fn of instances.h; arg: the zoning. */
void zones_weigh(void *arg, struct upstream *u, const struct traffic_rule *rule,
                 struct peer *const *peer, size_t n, uint64_t now_ns);
void zoned_free(struct zoned *z); /* NULL is fine */

/* Writes the feed's member "zones". */
void zoning_write(const struct zoning *z, struct json_w *w);
/* Brings proa_zone_calls_total up to date; before each metrics_write(). */
void zoning_metrics(const struct zoning *z);
