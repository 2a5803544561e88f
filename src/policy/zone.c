#include "policy/zone.h"

#include <math.h>

/* Loads are fractions of what an instance can take. */
static const double LOAD_LOW = 0.5;     /* up to here a zone has capacity by any measure */
static const double LOAD_FULL = 0.9;    /* for a level whose next one is far, or silent */
static const double LOAD_MARGIN = 0.1;  /* this much above the next level is worth staying near */
static const double LOAD_BAND = 0.05;   /* between giving away and taking back */
static const double GIVE_FASTEST = .75; /* a level keeps at least that much of its share a second */
/* Taking back, a second: the faster the more room there is. */
static const double TAKE_FASTEST = 1.25, TAKE_PART = 0.15, TAKE_LEAST = 0.005, KEEP_LEAST = 0.02;
static const double PROBE_FROM = 0.6, PROBE_MOST_AT = 0.8, PROBE_MOST = 0.03;
static const double PROBE_UNWELL = 0.1; /* most of them fail anyway: soon it's known who doesn't */
static const double RAMP_LEAST = 0.05, HEADROOM_LEAST = 0.05;
/* Healthy instances are trusted to do so many times their part: with those that say how loaded they
 * are, loads decide about the rest. */
static const double SPARE = 1.4, SPARE_KNOWN = 2;
static const double SMOOTH_S = 2;
static const uint64_t PERIOD_NS = SEC(1), HURRY_NS = MS(100), STALE_NS = SEC(30), RAMP_NS = SEC(30);

void zones_init(struct zones *z)
{
    memset(z, 0, sizeof *z);
    for (size_t i = 0; i < ZONE_LEVELS; i++)
        z->keep[i] = 1;
}

bool zones_due(const struct zones *z, bool health_changed, uint64_t now_ns)
{
    return !z->updated_ns || now_ns >= z->updated_ns + (health_changed ? HURRY_NS : PERIOD_NS);
}

/* ---- levels ---- */

static size_t position(const str *list, size_t n, str name)
{
    size_t i = 0;
    while (i < n && !str_eq(list[i], name))
        i++;
    return i;
}

/* First level of another region; before it: own zone, named zones, rest of the region. */
enum { LEVEL_FAR = ZONE_ORDER_MAX + 2 };

static size_t level_of(const struct zone_rules *r, str zone, str region)
{
    bool near = !region.n || !r->region.n || str_eq(region, r->region);
    if (near && (!r->zone.n || str_eq(zone, r->zone)))
        return 0;
    size_t i = position(r->zones, min_size(r->n_zones, ZONE_ORDER_MAX), zone);
    if (i < min_size(r->n_zones, ZONE_ORDER_MAX))
        return 1 + i;
    if (near)
        return LEVEL_FAR - 1;
    return LEVEL_FAR + position(r->regions, min_size(r->n_regions, ZONE_ORDER_MAX), region);
}

/* ---- what is known ---- */

struct sum { /* of the instances of a zone, or of a level */
    size_t hosts, healthy;
    size_t known;       /* of the healthy ones, those of zones whose load is known */
    double demand;      /* of the known ones: their load is .demand / .known */
    double trust;       /* by health: the share of the calls that it may take; of the best zone */
    double warmth;      /* 0 … 1: how far that has grown since it was less; of a zone */
    double load, heard; /* while counting: sums of loads, each times its weight, and of weights */
};

struct tally {
    struct sum zone[ZONES_MAX], level[ZONE_LEVELS];
    size_t level_of[ZONES_MAX];
    size_t n; /* zones */
    bool unwell;
};

/* Of an instance that isn't asked any more the last thing heard is from when it was: the newer the
 * more it weighs. */
static void count_host(struct sum *s, const struct zone_host *h, uint64_t now_ns)
{
    s->hosts++;
    if (!h->healthy)
        return;
    s->healthy++;
    if (!h->load_ns || now_ns > h->load_ns + STALE_NS)
        return;
    double weight = exp(-(double)(now_ns > h->load_ns ? now_ns - h->load_ns : 0) / 1e9 / SMOOTH_S);
    s->heard += weight;
    s->load += weight * h->load / 1000.0;
}

/* Demand is what is smoothed: when an instance goes, the load of those left is known at once. */
static void follow_load(struct zone_past *p, const struct sum *s, uint64_t since_ns,
                        uint64_t now_ns)
{
    if (s->heard > 0) {
        double demand = s->load / s->heard * (double)s->healthy;
        double part = p->heard_ns ? 1 - exp(-(double)since_ns / 1e9 / SMOOTH_S) : 1;
        p->demand += part * (demand - p->demand);
        p->heard_ns = now_ns;
    }
    if (!s->healthy || now_ns > p->heard_ns + STALE_NS)
        p->heard_ns = 0;
}

/* Trust goes at once and comes back slowly. A zone whose instances have all gone is lost like one
 * where none is healthy. */
static void follow_health(struct zone_past *p, struct sum *s, double ramps)
{
    if (!s->healthy) {
        p->seen = p->seen || s->hosts;
        p->trust = 0;
        return;
    }
    double fit = fmin(1, SPARE_KNOWN * (double)s->healthy / (double)s->hosts);
    p->trust = p->seen ? fmin(fit, fmax(p->trust + ramps, RAMP_LEAST)) : fit;
    p->seen = true;
    s->trust = p->trust;
    s->warmth = p->trust / fit;
}

static void add_up(struct sum *level, const struct sum *zone)
{
    level->hosts += zone->hosts;
    level->healthy += zone->healthy;
    level->known += zone->known;
    level->demand += zone->demand;
    level->trust = fmax(level->trust, zone->trust);
}

static void take_stock(struct zones *z, struct tally *t, const struct zone_rules *rules,
                       const struct zone_map *map, uint64_t now_ns)
{
    uint64_t since_ns = z->updated_ns ? now_ns - z->updated_ns : 0;
    double ramps = (double)since_ns / (double)(rules->ramp_ns ? rules->ramp_ns : RAMP_NS);
    t->n = zone_map_count(map);
    t->unwell = rules->unwell;
    for (size_t i = 0; i < t->n; i++) {
        struct sum *s = &t->zone[i];
        struct zone_past *p = &z->past[i];
        follow_health(p, s, ramps);
        follow_load(p, s, since_ns, now_ns);
        s->known = p->heard_ns ? s->healthy : 0;
        s->demand = s->known ? p->demand : 0;
        t->level_of[i] =
            level_of(rules, zone_map_zone(map, (uint8_t)i), zone_map_region(map, (uint8_t)i));
        add_up(&t->level[t->level_of[i]], s);
    }
}

static bool load_of(const struct sum *s, double *ret)
{
    if (!s->known)
        return false;
    *ret = s->demand / (double)s->known;
    return true;
}

/* ---- how much each level keeps ---- */

static size_t next_usable(const struct tally *t, size_t level)
{
    do
        level++;
    while (level < ZONE_LEVELS && !t->level[level].healthy);
    return level;
}

/* The load up to which a level gives nothing away: not much above that of the next one, which in
 * turn passes on what is above its own limit. Far levels get what can't be done near. */
static double load_limit(const struct tally *t, size_t next, double next_limit)
{
    double low = next < LEVEL_FAR ? LOAD_LOW : LOAD_FULL, there;
    if (next == ZONE_LEVELS)
        return INFINITY;
    if (!load_of(&t->level[next], &there))
        return LOAD_FULL;
    return fmax(low, fmin(there + LOAD_MARGIN, next_limit));
}

/* What instances did that are gone now the others can't do: that is known before it is felt. Else
 * loads are followed slowly, for they are old when they are heard. */
static void follow_keep(double *keep, const struct sum *level, double limit, bool shrunk,
                        double seconds)
{
    double load = 0;
    bool known = load_of(level, &load);
    if (known && load > limit) {
        *keep *= shrunk ? limit / load : pow(fmax(GIVE_FASTEST, limit / load), fmin(seconds, 1));
    } else if (!known || load < limit - LOAD_BAND) {
        double room = known && load > 0 ? (limit - LOAD_BAND) / load : INFINITY;
        *keep *= pow(fmin(TAKE_FASTEST, 1 + TAKE_PART * (room - 1)), fmin(seconds, 60));
        *keep += TAKE_LEAST * fmin(seconds, 1);
    }
    *keep = fmin(1, fmax(KEEP_LEAST, *keep));
}

/* From the last level to the first. */
static void follow_keeps(struct zones *z, const struct tally *t, double seconds)
{
    size_t next = ZONE_LEVELS;
    double limit = INFINITY;
    for (size_t level = ZONE_LEVELS; level-- > 0;) {
        double l = load_limit(t, next, limit);
        size_t healthy = t->level[level].healthy;
        follow_keep(&z->keep[level], &t->level[level], l, healthy < z->healthy[level], seconds);
        z->healthy[level] = healthy;
        if (!healthy)
            continue;
        next = level;
        limit = l;
    }
}

/* How loaded a far level is makes no difference: nobody asks it. */
static double probes(const struct tally *t, size_t level)
{
    double load;
    size_t next = next_usable(t, level);
    if (t->unwell && next < ZONE_LEVELS)
        return PROBE_UNWELL;
    if (next >= LEVEL_FAR || !load_of(&t->level[level], &load) || load < PROBE_FROM)
        return 0;
    return PROBE_MOST * fmin(1, (load - PROBE_FROM) / (PROBE_MOST_AT - PROBE_FROM));
}

/* Of the calls that reach this level, 0 … 1. */
static double capacity(const struct zones *z, const struct tally *t, size_t level)
{
    const struct sum *s = &t->level[level];
    if (!s->healthy)
        return 0;
    double most = s->known ? 1 : SPARE * (double)s->healthy / (double)s->hosts;
    return fmin(fmin(most, s->trust), fmin(z->keep[level], 1 - probes(t, level)));
}

/* ---- weights ---- */

static double headroom(const struct tally *t, size_t zone)
{
    double load;
    if (!load_of(&t->zone[zone], &load) && !load_of(&t->level[t->level_of[zone]], &load))
        return 1;
    return fmax(HEADROOM_LEAST, 1 - load);
}

struct shares {
    double zone[ZONES_MAX], sum;
};

/* What one level takes, shared by its zones. */
static void share_level(struct shares *s, const struct tally *t, size_t level, double take)
{
    double weight[ZONES_MAX], sum = 0;
    for (size_t i = 0; i < t->n; i++) {
        bool in = t->level_of[i] == level;
        weight[i] = in ? (double)t->zone[i].healthy * t->zone[i].warmth * headroom(t, i) : 0;
        sum += weight[i];
    }
    for (size_t i = 0; i < t->n && sum > 0; i++)
        s->zone[i] += take * weight[i] / sum;
    s->sum += sum > 0 ? take : 0;
}

/* Nobody is healthy: everybody. */
static void share_in_panic(struct shares *s, const struct tally *t)
{
    for (size_t i = 0; i < t->n; i++)
        s->sum += s->zone[i] = (double)t->zone[i].hosts;
}

static void put_zone(struct zone_weights *w, const struct shares *s, size_t zone, double *before)
{
    if (s->zone[zone] <= 0)
        return;
    *before += s->zone[zone] / s->sum;
    uint32_t end = (uint32_t)lround(fmin(1, *before) * ZONE_WHOLE);
    if (end == (w->n ? w->end[w->n - 1] : 0))
        return; /* less than can be said */
    w->zone[w->n] = (uint8_t)zone;
    w->end[w->n++] = end;
}

static void put_weights(struct zone_weights *w, const struct shares *s, const struct tally *t)
{
    double before = 0;
    for (size_t level = 0; level < ZONE_LEVELS; level++)
        for (size_t i = 0; i < t->n; i++)
            if (t->level_of[i] == level)
                put_zone(w, s, i, &before);
    if (w->n)
        w->end[w->n - 1] = ZONE_WHOLE;
}

void zones_update(struct zones *z, const struct zone_rules *rules, const struct zone_map *map,
                  const struct zone_host *host, size_t n, uint64_t now_ns, struct zone_weights *ret)
{
    struct tally t = { 0 };
    struct shares s = { 0 };
    double seconds = z->updated_ns ? (double)(now_ns - z->updated_ns) / 1e9 : 0, rest = 1;
    for (size_t i = 0; i < n; i++) {
        PRE(host[i].zone < zone_map_count(map));
        count_host(&t.zone[host[i].zone], &host[i], now_ns);
    }
    take_stock(z, &t, rules, map, now_ns);
    follow_keeps(z, &t, seconds);
    for (size_t level = 0; level < ZONE_LEVELS; level++) {
        double take = fmin(rest, capacity(z, &t, level));
        share_level(&s, &t, level, take);
        rest -= take;
    }
    z->updated_ns = now_ns;
    *ret = (struct zone_weights){ .panic = n && s.sum <= 0 };
    if (ret->panic)
        share_in_panic(&s, &t);
    put_weights(ret, &s, &t);
}

uint8_t zone_pick(const struct zone_weights *weights, uint64_t dice)
{
    PRE(weights->n);
    uint32_t at = (uint32_t)(dice >> 48); /* 0 … ZONE_WHOLE - 1 */
    size_t i = 0;
    while (at >= weights->end[i])
        i++;
    return weights->zone[i];
}

uint32_t zone_share(const struct zone_weights *weights, uint8_t zone)
{
    for (size_t i = 0; i < weights->n; i++)
        if (weights->zone[i] == zone)
            return weights->end[i] - (i ? weights->end[i - 1] : 0);
    return 0;
}
