#include "policy/zone_map.h"

#include <stdatomic.h>

void zone_map_init(struct zone_map *m)
{
    memset(m->name, 0, sizeof m->name);
    pthread_mutex_init(&m->lock, NULL);
    atomic_init(&m->n, 1);
}

void zone_map_done(struct zone_map *m)
{
    pthread_mutex_destroy(&m->lock);
}

size_t zone_map_count(const struct zone_map *m)
{
    return atomic_load_explicit(&m->n, memory_order_acquire);
}

str zone_map_zone(const struct zone_map *m, uint8_t index)
{
    PRE(index < zone_map_count(m));
    return str_c(m->name[index].zone);
}

str zone_map_region(const struct zone_map *m, uint8_t index)
{
    PRE(index < zone_map_count(m));
    return str_c(m->name[index].region);
}

static uint8_t find(const struct zone_map *m, str zone, str region)
{
    size_t n = zone_map_count(m);
    for (size_t i = 1; i < n; i++)
        if (str_eq(str_c(m->name[i].zone), zone) && str_eq(str_c(m->name[i].region), region))
            return (uint8_t)i;
    return ZONE_UNKNOWN;
}

static uint8_t add(struct zone_map *m, str zone, str region)
{
    size_t n = zone_map_count(m);
    if (n == ZONES_MAX)
        return ZONE_UNKNOWN;
    memcpy(m->name[n].zone, zone.p, zone.n);
    memcpy(m->name[n].region, region.p, region.n);
    atomic_store_explicit(&m->n, (uint32_t)n + 1, memory_order_release);
    return (uint8_t)n;
}

uint8_t zone_map_index(struct zone_map *m, str zone, str region)
{
    if ((!zone.n && !region.n) || zone.n >= ZONE_NAME_MAX || region.n >= ZONE_NAME_MAX)
        return ZONE_UNKNOWN;
    uint8_t i = find(m, zone, region);
    if (i != ZONE_UNKNOWN)
        return i;
    pthread_mutex_lock(&m->lock);
    i = find(m, zone, region); /* somebody may have been quicker */
    if (i == ZONE_UNKNOWN)
        i = add(m, zone, region);
    pthread_mutex_unlock(&m->lock);
    return i;
}
