#include "block/call/zones.h"

#include "base/mem.h"
#include "telemetry/metrics.h"

#include <math.h>
#include <stdio.h>

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

enum { WEIGHT_FULL = 1000, LABEL_MAX = 2 * ZONE_NAME_MAX };

/* What we know of the zones of one app. */
struct zoned {
    struct zones zones;
    struct zone_weights weights;
    uint64_t health; /* of whom it is, and who is healthy */
};

static struct metric_family calls_total = {
    .name = "proa_zone_calls_total",
    .help = "Calls to instances of other apps, by their zone.",
    .label = { "zone", "region" },
};
static struct metric_family share_permille = {
    .name = "proa_zone_share_permille",
    .help = "Share of an app's calls that goes to a zone, in thousandths.",
    .kind = METRIC_GAUGE,
    .label = { "target_app_id", "zone", "region" },
};

struct zoning *zoning_new(const char *zone, const char *region)
{
    struct zoning *z = mem_zalloc(sizeof *z);
    if (!z)
        return NULL;
    zone_map_init(&z->map);
    if (strlen(zone) < sizeof z->zone)
        snprintf(z->zone, sizeof z->zone, "%s", zone);
    if (strlen(region) < sizeof z->region)
        snprintf(z->region, sizeof z->region, "%s", region);
    return z;
}

void zoning_free(struct zoning *z)
{
    if (!z)
        return;
    zone_map_done(&z->map);
    mem_free(z);
}

void zoned_free(struct zoned *z)
{
    mem_free(z);
}

/* ---- weights ---- */

static struct zoned *zoned_of(struct upstream *u)
{
    if (!u->zoned && (u->zoned = mem_zalloc(sizeof *u->zoned)))
        zones_init(&u->zoned->zones);
    return u->zoned;
}

/* Returns what changes when an instance comes, goes, falls ill or recovers. */
static uint64_t look(struct zoning *z, struct peer *const *peer, size_t n, uint64_t now_ns,
                     struct zone_host *ret)
{
    uint64_t all = n;
    for (size_t i = 0; i < n; i++) {
        struct peer *p = peer[i];
        ret[i] = (struct zone_host){
            .zone = zone_map_index(&z->map, str_c(p->zone), str_c(p->region)),
            .healthy = !GET(p->health.until_ns) && !peer_is_draining(p, now_ns),
            .load = GET(p->load),
            .load_ns = GET(p->load_ns),
        };
        all += (p->hash | 1) * (ret[i].healthy ? 3 : 5);
        SET(p->zone_calls, &z->calls[ret[i].zone].n);
    }
    return all;
}

/* A zone's share is divided among those in it that take calls. */
static void hand_out(const struct zone_weights *w, struct peer *const *peer,
                     const struct zone_host *host, size_t n)
{
    double weight[ZONES_MAX] = { 0 }, most = 0;
    size_t healthy[ZONES_MAX] = { 0 }, all[ZONES_MAX] = { 0 };
    for (size_t i = 0; i < n; i++) {
        all[host[i].zone]++;
        healthy[host[i].zone] += host[i].healthy;
    }
    for (size_t i = 0; i < w->n; i++) {
        uint8_t z = w->zone[i];
        size_t shared = healthy[z] ? healthy[z] : all[z];
        weight[z] = shared ? (double)zone_share(w, z) / (double)shared : 0;
        most = fmax(most, weight[z]);
    }
    for (size_t i = 0; i < n; i++) {
        double full = most > 0 ? weight[host[i].zone] / most * WEIGHT_FULL : WEIGHT_FULL;
        SET(peer[i]->zone_weight, (uint32_t)ceil(full));
    }
}

static void show_shares(const struct zoning *z, const struct upstream *u,
                        const struct zone_weights *w)
{
    for (size_t i = 0; i < zone_map_count(&z->map); i++) {
        const str label[] = { u->app_id, zone_map_zone(&z->map, (uint8_t)i),
                              zone_map_region(&z->map, (uint8_t)i) };
        uint32_t share = zone_share(w, (uint8_t)i);
        if (i != ZONE_UNKNOWN || share)
            metric_set(metric_cell(&share_permille, label), share * 1000 / ZONE_WHOLE);
    }
}

void zones_weigh(void *arg, struct upstream *u, const struct traffic_rule *rule,
                 struct peer *const *peer, size_t n, uint64_t now_ns)
{
    struct zoning *z = arg;
    struct zoned *d = zoned_of(u);
    struct zone_host host[INSTANCES_MAX];
    if (!d)
        return;
    uint64_t health = look(z, peer, n, now_ns, host);
    if (zones_due(&d->zones, health != d->health, now_ns)) {
        const struct zone_rules rules = {
            .zone = str_c(z->zone),
            .region = str_c(z->region),
            .zones = rule->zone,
            .n_zones = rule->n_zones,
            .regions = rule->region,
            .n_regions = rule->n_regions,
            .ramp_ns = rule->zone_ramp_ns,
            .unwell = !outlier_peers_are_well(&u->group),
        };
        zones_update(&d->zones, &rules, &z->map, host, n, now_ns, &d->weights);
        d->health = health;
        show_shares(z, u, &d->weights);
    }
    hand_out(&d->weights, peer, host, n);
}

/* ---- what the page and metrics show ---- */

/* "b", and "us/b" when it is of another region than ours. */
static str label_of(const struct zoning *z, uint8_t i, char text[LABEL_MAX])
{
    str zone = zone_map_zone(&z->map, i), region = zone_map_region(&z->map, i);
    if (i == ZONE_UNKNOWN)
        return S("unknown");
    bool near = !region.n || str_eq(region, str_c(z->region));
    int n = snprintf(text, LABEL_MAX, STR_FMT "%s" STR_FMT, STR_ARG(near ? S("") : region),
                     near ? "" : "/", STR_ARG(zone));
    return str_of(text, (size_t)n);
}

void zoning_write(const struct zoning *z, struct json_w *w)
{
    json_w_key(w, S("zones"));
    json_w_object(w);
    json_w_kv(w, S("own"), str_c(z->zone));
    json_w_kv(w, S("region"), str_c(z->region));
    json_w_key(w, S("calls"));
    json_w_object(w);
    for (size_t i = 0; i < zone_map_count(&z->map); i++) {
        char text[LABEL_MAX];
        uint64_t n = GET(z->calls[i].n);
        if (!n)
            continue;
        json_w_key(w, label_of(z, (uint8_t)i, text));
        json_w_u64(w, n);
    }
    json_w_object_end(w);
    json_w_object_end(w);
}

void zoning_metrics(const struct zoning *z)
{
    for (size_t i = 0; i < zone_map_count(&z->map); i++) {
        const str label[] = { zone_map_zone(&z->map, (uint8_t)i),
                              zone_map_region(&z->map, (uint8_t)i) };
        uint64_t n = GET(z->calls[i].n);
        if (n)
            metric_set(metric_cell(&calls_total, label), (int64_t)n);
    }
}
