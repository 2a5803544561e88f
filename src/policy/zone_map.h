/* zone_map.h — small numbers for the zones of a fleet, so that a hot path handles no names.
 * Owner:  the runtime: one for the process. A zone is named by itself and its region, and keeps its
 * number for good.   Thread: any, at the same time; only a new name takes the lock.
 * Failure: past ZONES_MAX, and for names longer than ZONE_NAME_MAX - 1 bytes, a zone counts as
 * unknown. */
#pragma once

#include "base/str.h"

#include <pthread.h>

enum { ZONES_MAX = 32, ZONE_NAME_MAX = 64, ZONE_UNKNOWN = 0 };

struct zone_map {
    pthread_mutex_t lock; /* who adds */
    _Atomic uint32_t n;   /* those before are complete; 0 = nothing but ZONE_UNKNOWN */
    struct {
        char zone[ZONE_NAME_MAX], region[ZONE_NAME_MAX];
    } name[ZONES_MAX]; /* [ZONE_UNKNOWN]: both empty */
};

void zone_map_init(struct zone_map *m);
void zone_map_done(struct zone_map *m);
/* The zone's number; a new one is added. Both empty = ZONE_UNKNOWN. */
uint8_t zone_map_index(struct zone_map *m, str zone, str region);
size_t zone_map_count(const struct zone_map *m); /* at least 1: ZONE_UNKNOWN */
str zone_map_zone(const struct zone_map *m, uint8_t index);
str zone_map_region(const struct zone_map *m, uint8_t index);
