/* zone.h — which zone a call goes to: the caller's own while it has capacity, then others by order.
 * Owner:  who keeps the instances of an app embeds a struct zones and hands the weights out as it
 * likes: they are a value.   Thread: one at a time; the weights may be read by any.
 * Failure: none: while there is an instance, some zone has weight.
 *
 * Levels: the own zone; zones that the rules name, in their order; the rest of the region; regions
 * that the rules name, in their order; all others. Calls go to the first level as far as it has
 * capacity, the rest to the next one, and so on.
 *   By health: a zone with less than half of its instances healthy gets less in proportion, one
 *   without any gets nothing, from one moment to the next. What comes back grows over ramp_ns.
 *   By load: a level keeps all calls while its load is low, or not much above that of the next one;
 *   above that it gives some away each second until it isn't, and takes them back more slowly.
 *   Without loads (daprd doesn't tell any) it gives away in proportion to what isn't healthy.
 *   A level under load sends a few calls to the next one, to hear of its load: none while it is
 * low. So does one where most calls fail, to see whether others do better. Panic: without any
 * healthy instance anywhere health counts for nothing. */
#pragma once

#include "policy/zone_map.h"

enum { ZONE_WHOLE = 1 << 16, ZONE_ORDER_MAX = 8, ZONE_LEVELS = 2 * ZONE_ORDER_MAX + 4 };

struct zone_rules {
    str zone, region;   /* the caller's own; empty = unknown: then zones play no part */
    const str *zones;   /* of failover, first to last */
    size_t n_zones;     /* at most ZONE_ORDER_MAX, as the regions */
    const str *regions; /* the own one needn't be named */
    size_t n_regions;
    uint64_t ramp_ns; /* 0 = 30 s */
    bool unwell;      /* most of the instances that get calls fail: outlier_peers_are_well() */
};

struct zone_host { /* an instance, as the caller sees it now */
    uint8_t zone;  /* zone_map_index() */
    bool healthy;
    uint32_t load;    /* permille of what it can take, as it said last */
    uint64_t load_ns; /* when; 0 = never */
};

struct zone_weights {
    uint8_t n;               /* zones that count */
    bool panic;              /* health is ignored */
    uint8_t zone[ZONES_MAX]; /* of each, nearest first */
    uint32_t end[ZONES_MAX]; /* cumulative; the last one is ZONE_WHOLE */
};

struct zone_past {     /* of one zone */
    double demand;     /* load × healthy instances, smoothed */
    uint64_t heard_ns; /* demand is from then; 0 = unknown */
    double trust;      /* the share of the calls that it may take by health */
    bool seen;
};

struct zones {
    struct zone_past past[ZONES_MAX];
    double keep[ZONE_LEVELS]; /* share of the calls that reach a level which it keeps */
    size_t healthy[ZONE_LEVELS];
    uint64_t updated_ns; /* 0 = never */
};

void zones_init(struct zones *z);
/* Whether the weights are a second old, or 100 ms and some instance's health has changed. */
bool zones_due(const struct zones *z, bool health_changed, uint64_t now_ns);
/* n may be 0: then the weights have no zone. */
void zones_update(struct zones *z, const struct zone_rules *rules, const struct zone_map *map,
                  const struct zone_host *host, size_t n, uint64_t now_ns,
                  struct zone_weights *ret);
/* The zone for a call; dice: 64 uniform bits. weights->n must not be 0. */
uint8_t zone_pick(const struct zone_weights *weights, uint64_t dice);
/* Its share of ZONE_WHOLE. */
uint32_t zone_share(const struct zone_weights *weights, uint8_t zone);
