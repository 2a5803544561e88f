#include "policy/zone.h"

#include <math.h>

#include "test/testing.h"

enum { HOSTS_MAX = 64, TICK_MS = 1000 };

/* A fleet in virtual time: zones of equal instances, called from each zone by a caller that does as
 * its weights say. */
struct fleet {
    struct zone_map map;
    uint64_t now;
    size_t n_zones, n_hosts;
    uint8_t zone[ZONES_MAX];
    struct zone_host host[HOSTS_MAX];
    double offered[ZONES_MAX]; /* calls made in each zone, in instances' worth; by zone number */
    struct zones caller[ZONES_MAX];
    struct zone_rules rules[ZONES_MAX];
    struct zone_weights weights[ZONES_MAX];
    bool silent; /* instances don't tell their loads */
};

static void add_zone(struct fleet *f, str zone, str region, size_t hosts)
{
    uint8_t z = zone_map_index(&f->map, zone, region);
    f->zone[f->n_zones++] = z;
    f->rules[z] = (struct zone_rules){ .zone = zone, .region = region };
    zones_init(&f->caller[z]);
    for (size_t i = 0; i < hosts; i++)
        f->host[f->n_hosts++] = (struct zone_host){ .zone = z, .healthy = true };
}

static struct fleet fleet_of_three(double offered)
{
    struct fleet f = { .now = SEC(1000) };
    zone_map_init(&f.map);
    add_zone(&f, S("a"), S("eu"), 2);
    add_zone(&f, S("b"), S("eu"), 2);
    add_zone(&f, S("c"), S("eu"), 2);
    for (size_t i = 0; i < f.n_zones; i++)
        f.offered[f.zone[i]] = offered;
    return f;
}

static size_t hosts_in(const struct fleet *f, uint8_t zone, bool healthy)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n_hosts; i++)
        n += f->host[i].zone == zone && (f->host[i].healthy || !healthy);
    return n;
}

static double share(const struct fleet *f, uint8_t from, uint8_t to)
{
    return (double)zone_share(&f->weights[from], to) / ZONE_WHOLE;
}

static double load(const struct fleet *f, uint8_t zone)
{
    double demand = 0;
    for (size_t i = 0; i < f->n_zones; i++)
        demand += f->offered[f->zone[i]] * share(f, f->zone[i], zone);
    size_t n = hosts_in(f, zone, true);
    return n ? demand / (double)n : 0;
}

/* Whoever got calls tells its load. */
static void tell_loads(struct fleet *f)
{
    double now[ZONES_MAX] = { 0 };
    for (size_t i = 0; i < f->n_zones; i++)
        now[f->zone[i]] = load(f, f->zone[i]);
    for (size_t i = 0; i < f->n_hosts; i++) {
        struct zone_host *h = &f->host[i];
        if (!h->healthy || now[h->zone] <= 0 || f->silent)
            continue;
        h->load = (uint32_t)lround(fmin(1, now[h->zone]) * 1000);
        h->load_ns = f->now;
    }
}

static void update(struct fleet *f)
{
    for (size_t i = 0; i < f->n_zones; i++) {
        uint8_t z = f->zone[i];
        zones_update(&f->caller[z], &f->rules[z], &f->map, f->host, f->n_hosts, f->now,
                     &f->weights[z]);
    }
}

static void tick(struct fleet *f)
{
    update(f);
    tell_loads(f);
    f->now += MS(TICK_MS);
}

static void run(struct fleet *f, int seconds)
{
    for (int i = 0; i < seconds; i++)
        tick(f);
}

static void set_health(struct fleet *f, uint8_t zone, bool healthy)
{
    for (size_t i = 0; i < f->n_hosts; i++)
        if (f->host[i].zone == zone)
            f->host[i].healthy = healthy;
}

static double away(const struct fleet *f, uint8_t zone)
{
    return 1 - share(f, zone, zone);
}

TEST(calls_stay_in_their_zone_while_it_has_capacity)
{
    static const double offered[] = { 0.02, 0.6, 1.0, 1.2 }; /* of two instances */
    EACH (offered, o) {
        struct fleet f = fleet_of_three(*o);
        for (int i = 0; i < 120; i++) {
            tick(&f);
            for (size_t k = 0; k < 3; k++)
                CHECK(away(&f, f.zone[k]) <= 0.02, "%f left at load %f", away(&f, f.zone[k]), *o);
        }
    }
}

TEST(loaded_zone_sends_few_to_hear_of_others)
{
    struct fleet f = fleet_of_three(1.9);
    run(&f, 60);
    CHECK(away(&f, f.zone[0]) > 0.01 && away(&f, f.zone[0]) < 0.04, "%f", away(&f, f.zone[0]));
}

TEST(zone_where_most_calls_fail_sends_few_to_hear_of_others)
{
    struct fleet f = fleet_of_three(0.4);
    uint8_t a = f.zone[0];
    run(&f, 5);
    CHECK(share(&f, a, a) == 1);
    f.rules[a].unwell = true;
    run(&f, 2);
    CHECK(fabs(share(&f, a, a) - 0.9) < 0.001, "%.4f", share(&f, a, a));
    f.n_zones = 1; /* there are no others to ask */
    f.n_hosts = 2;
    run(&f, 2);
    CHECK(share(&f, a, a) == 1);
    zone_map_done(&f.map);
}

TEST(lost_zone_gets_nothing_at_once_and_its_calls_are_shared_fairly)
{
    struct fleet f = fleet_of_three(1.0);
    uint8_t a = f.zone[0], b = f.zone[1], c = f.zone[2];
    run(&f, 20);
    set_health(&f, a, false);
    CHECK(zones_due(&f.caller[a], true, f.now));
    tick(&f);
    CHECK_EQ(zone_share(&f.weights[a], a), 0);
    CHECK_EQ(zone_share(&f.weights[b], a), 0);
    run(&f, 20);
    CHECK(fabs(load(&f, b) / load(&f, c) - 1) < 0.1, "%f %f", load(&f, b), load(&f, c));
    CHECK(load(&f, b) < 0.8, "%f", load(&f, b));
    CHECK(!f.weights[a].panic);
}

TEST(returning_zone_is_filled_step_by_step)
{
    struct fleet f = fleet_of_three(1.0);
    uint8_t a = f.zone[0];
    run(&f, 20);
    set_health(&f, a, false);
    run(&f, 60);
    set_health(&f, a, true);
    double before = 0;
    for (int i = 0; i < 60; i++) {
        tick(&f);
        double now = share(&f, a, a);
        CHECK(now - before < 0.1, "from %f to %f in a second", before, now);
        CHECK(load(&f, a) < 0.65, "%f", load(&f, a));
        before = now;
    }
    CHECK(before > 0.98, "%f", before);
}

TEST(zone_whose_instances_left_comes_back_like_a_lost_one)
{
    struct fleet f = fleet_of_three(1.0);
    uint8_t a = f.zone[0];
    run(&f, 20);
    struct zone_host kept[2] = { f.host[0], f.host[1] };
    memmove(f.host, f.host + 2, 4 * sizeof f.host[0]);
    f.n_hosts = 4;
    run(&f, 20);
    CHECK_EQ(zone_share(&f.weights[a], a), 0);
    memcpy(f.host + 4, kept, sizeof kept);
    f.n_hosts = 6;
    tick(&f);
    CHECK(share(&f, a, a) > 0 && share(&f, a, a) < 0.15, "%f", share(&f, a, a));
    run(&f, 60);
    CHECK(share(&f, a, a) > 0.98, "%f", share(&f, a, a));
}

TEST(first_instances_of_a_zone_are_used_at_once)
{
    struct fleet f = { .now = SEC(1000) };
    zone_map_init(&f.map);
    add_zone(&f, S("a"), S(""), 0);
    add_zone(&f, S("b"), S(""), 2);
    run(&f, 20);
    CHECK_EQ(zone_share(&f.weights[f.zone[0]], f.zone[1]), ZONE_WHOLE);
    f.host[f.n_hosts++] = (struct zone_host){ .zone = f.zone[0], .healthy = true };
    tick(&f);
    CHECK_EQ(zone_share(&f.weights[f.zone[0]], f.zone[0]), ZONE_WHOLE);
}

TEST(zone_with_too_many_calls_gives_away_what_it_cannot_do)
{
    struct fleet f = fleet_of_three(0.6);
    uint8_t a = f.zone[0], b = f.zone[1];
    f.offered[a] = 3.0; /* of two instances */
    run(&f, 60);
    double low = 1, high = 0;
    for (int i = 0; i < 60; i++) {
        tick(&f);
        low = fmin(low, share(&f, a, a));
        high = fmax(high, share(&f, a, a));
    }
    /* In all 4.2 of 6: a is to be a little above the others, and everything to be done. */
    CHECK(load(&f, a) < 0.95 && load(&f, a) > load(&f, b), "%f", load(&f, a));
    CHECK(load(&f, b) < 0.85 && away(&f, b) < 0.05, "%f %f", load(&f, b), away(&f, b));
    CHECK(high - low < 0.1, "its share goes from %f to %f", low, high);
    f.offered[a] = 0.6;
    run(&f, 60);
    CHECK(away(&f, a) <= 0.001, "%f", away(&f, a));
}

TEST(all_zones_overloaded_send_each_other_nothing_but_probes)
{
    struct fleet f = fleet_of_three(4.0);
    run(&f, 120);
    for (size_t i = 0; i < 3; i++)
        CHECK(away(&f, f.zone[i]) < 0.04, "%f", away(&f, f.zone[i]));
}

TEST(half_of_a_zone_goes_and_the_rest_is_not_crushed)
{
    struct fleet f = fleet_of_three(1.0);
    uint8_t a = f.zone[0];
    run(&f, 20);
    f.host[0].healthy = false;
    run(&f, 10);
    CHECK(load(&f, a) < 0.85, "%f", load(&f, a));
    CHECK(share(&f, a, a) > 0.4, "%f", share(&f, a, a));
}

/* So many of the ten instances of zone a are healthy; what it gets, by what its callers know. */
static double share_with(size_t healthy, bool silent)
{
    struct fleet f = { .now = SEC(1000), .silent = silent };
    zone_map_init(&f.map);
    add_zone(&f, S("a"), S(""), 10);
    add_zone(&f, S("b"), S(""), 10);
    f.offered[f.zone[0]] = f.offered[f.zone[1]] = 2;
    run(&f, 20);
    for (size_t i = healthy; i < 10; i++)
        f.host[i].healthy = false;
    tick(&f);
    zone_map_done(&f.map);
    return share(&f, f.zone[0], f.zone[0]);
}

TEST(zone_gets_less_in_proportion_to_who_is_healthy_there)
{
    double before = 1;
    for (size_t healthy = 10; healthy <= 10; healthy--) {
        double part = (double)healthy / 10;
        double known = share_with(healthy, false), silent = share_with(healthy, true);
        CHECK(fabs(silent - fmin(1, 1.4 * part)) < 0.02, "%zu of 10: %f", healthy, silent);
        CHECK(known <= fmin(1, 2 * part) + 0.01, "%zu of 10: %f", healthy, known);
        CHECK(known >= fmin(1, part), "%zu of 10: %f", healthy, known);
        CHECK(known > before - 0.35, "%zu of 10: %f, one more %f", healthy, known, before);
        before = known;
    }
}

/* 12 of 20 instances are left, and there are calls for 11: none of them may be idle. */
TEST(less_than_half_of_a_zone_still_works_where_the_rest_is_short)
{
    struct fleet f = { .now = SEC(1000) };
    zone_map_init(&f.map);
    add_zone(&f, S("a"), S(""), 10);
    add_zone(&f, S("b"), S(""), 10);
    uint8_t a = f.zone[0], b = f.zone[1];
    f.offered[a] = f.offered[b] = 5.5;
    run(&f, 20);
    for (size_t i = 4; i < 10; i++)
        f.host[i].healthy = false;
    f.host[10].healthy = f.host[11].healthy = false;
    run(&f, 1);
    CHECK(load(&f, a) < 1.1 && load(&f, b) < 1.1, "%f %f at once", load(&f, a), load(&f, b));
    run(&f, 30);
    CHECK(load(&f, a) < 1 && load(&f, b) < 1, "%f %f", load(&f, a), load(&f, b));
    zone_map_done(&f.map);
}

TEST(zone_takes_its_calls_back_soon_after_a_spike)
{
    static const double spike[] = { 3, 6, 20 };
    EACH (spike, times) {
        struct fleet f = fleet_of_three(0.6);
        uint8_t a = f.zone[0];
        int seconds = 0;
        f.offered[a] = *times; /* of two instances */
        run(&f, 30);
        f.offered[a] = 0.6;
        for (; away(&f, a) > 0.02 && seconds < 100; seconds++) {
            tick(&f);
            CHECK(load(&f, a) < 0.6, "%f after %d s", load(&f, a), seconds);
        }
        CHECK(seconds <= 8, "%d s after %.0f", seconds, *times);
    }
}

/* One of the two isn't asked any more, because it said that it's full. */
TEST(load_of_who_is_not_asked_any_more_fades)
{
    struct fleet f = fleet_of_three(0.6);
    uint8_t a = f.zone[0];
    f.offered[a] = 6.0;
    run(&f, 30);
    f.offered[a] = 0.3;
    f.host[0].load = 1000;
    uint64_t last = f.now;
    for (int i = 0; i < 12; i++) {
        tick(&f);
        f.host[0].load = 1000;
        f.host[0].load_ns = last;
    }
    CHECK(away(&f, a) < 0.02, "%f", away(&f, a));
}

TEST(flapping_zone_is_not_trusted)
{
    struct fleet f = fleet_of_three(1.0);
    uint8_t a = f.zone[0];
    run(&f, 20);
    double most = 0;
    for (int i = 0; i < 120; i++) {
        set_health(&f, a, i / 3 % 2);
        tick(&f);
        most = fmax(most, share(&f, a, a));
    }
    CHECK(most < 0.25, "%f", most);
}

TEST(without_loads_health_decides)
{
    struct fleet f = fleet_of_three(1.0);
    f.silent = true;
    uint8_t a = f.zone[0];
    run(&f, 20);
    CHECK_EQ(zone_share(&f.weights[a], a), ZONE_WHOLE);
    f.host[0].healthy = false;
    tick(&f);
    CHECK(fabs(share(&f, a, a) - 0.7) < 0.01, "%f", share(&f, a, a));
    CHECK(fabs(share(&f, a, f.zone[1]) - share(&f, a, f.zone[2])) < 0.01);
}

TEST(old_loads_are_forgotten)
{
    struct fleet f = fleet_of_three(0.6);
    uint8_t a = f.zone[0];
    f.offered[a] = 3.0;
    run(&f, 60);
    CHECK(away(&f, a) > 0.1);
    f.silent = true;
    run(&f, 150);
    CHECK_EQ(zone_share(&f.weights[a], a), ZONE_WHOLE);
}

static struct fleet fleet_of_two_regions(double offered)
{
    static const str name[] = { { "a", 1 }, { "b", 1 }, { "c", 1 } };
    struct fleet f = { .now = SEC(1000) };
    zone_map_init(&f.map);
    for (size_t i = 0; i < 6; i++) {
        add_zone(&f, name[i % 3], i < 3 ? S("eu") : S("us"), 2);
        f.offered[f.zone[i]] = offered;
    }
    return f;
}

TEST(region_keeps_its_calls_until_it_is_lost)
{
    struct fleet f = fleet_of_two_regions(1.0);
    uint8_t a = f.zone[0];
    run(&f, 20);
    set_health(&f, f.zone[0], false);
    run(&f, 20);
    for (size_t i = 3; i < 6; i++)
        CHECK_EQ(zone_share(&f.weights[a], f.zone[i]), 0);
    set_health(&f, f.zone[1], false);
    set_health(&f, f.zone[2], false);
    run(&f, 20);
    double sum = 0;
    for (size_t i = 3; i < 6; i++) {
        sum += share(&f, a, f.zone[i]);
        CHECK(fabs(share(&f, a, f.zone[i]) - 1.0 / 3) < 0.05, "%f", share(&f, a, f.zone[i]));
    }
    CHECK(fabs(sum - 1) < 0.001);
}

TEST(full_region_spills_to_the_next_one)
{
    struct fleet f = fleet_of_two_regions(0.6);
    for (size_t i = 0; i < 3; i++)
        f.offered[f.zone[i]] = 2.6;
    run(&f, 120);
    double eu = 0, us = 0;
    for (size_t i = 0; i < 3; i++) {
        eu = fmax(eu, load(&f, f.zone[i]));
        us = fmax(us, load(&f, f.zone[i + 3]));
    }
    CHECK(eu < 1.05, "%f", eu);
    CHECK(us < 1.0 && us > 0.4, "%f", us);
}

TEST(rules_give_the_order)
{
    static const str zones[] = { { "c", 1 }, { "b", 1 } }, regions[] = { { "us", 2 } };
    struct fleet f = { .now = SEC(1000) };
    zone_map_init(&f.map);
    add_zone(&f, S("a"), S("eu"), 1);
    add_zone(&f, S("b"), S("eu"), 1);
    add_zone(&f, S("c"), S("eu"), 1);
    add_zone(&f, S("d"), S("eu"), 1);
    add_zone(&f, S("e"), S("us"), 1);
    add_zone(&f, S("f"), S("asia"), 1);
    uint8_t a = f.zone[0];
    static const size_t want[] = { 0, 2, 1, 3, 4, 5 };
    f.rules[a].zones = zones;
    f.rules[a].n_zones = 2;
    f.rules[a].regions = regions;
    f.rules[a].n_regions = 1;
    for (size_t i = 0; i < COUNT(want); i++) {
        tick(&f);
        CHECK_EQ(zone_share(&f.weights[a], f.zone[want[i]]), ZONE_WHOLE, "step %zu", i);
        set_health(&f, f.zone[want[i]], false);
    }
}

TEST(caller_without_a_zone_spreads_over_all)
{
    struct fleet f = fleet_of_three(1.0);
    struct zone_rules none = { 0 };
    struct zones z;
    struct zone_weights w;
    zones_init(&z);
    zones_update(&z, &none, &f.map, f.host, f.n_hosts, f.now, &w);
    CHECK_EQ(w.n, 3);
    for (size_t i = 0; i < 3; i++)
        CHECK(abs((int)zone_share(&w, f.zone[i]) - ZONE_WHOLE / 3) <= 1);
}

TEST(nobody_healthy_is_a_panic)
{
    struct fleet f = fleet_of_three(1.0);
    run(&f, 5);
    for (size_t i = 0; i < 3; i++)
        set_health(&f, f.zone[i], false);
    tick(&f);
    CHECK(f.weights[f.zone[0]].panic);
    for (size_t i = 0; i < 3; i++)
        CHECK(zone_share(&f.weights[f.zone[0]], f.zone[i]) > 0);
}

TEST(no_instance_no_weight)
{
    struct fleet f = fleet_of_three(1.0);
    struct zones z;
    struct zone_weights w;
    zones_init(&z);
    zones_update(&z, &f.rules[f.zone[0]], &f.map, NULL, 0, f.now, &w);
    CHECK_EQ(w.n, 0);
    CHECK(!w.panic);
}

TEST(weights_are_due_each_second_and_sooner_when_health_changes)
{
    struct fleet f = fleet_of_three(1.0);
    struct zones *z = &f.caller[f.zone[0]];
    CHECK(zones_due(z, false, f.now));
    update(&f);
    CHECK(!zones_due(z, true, f.now + MS(99)));
    CHECK(zones_due(z, true, f.now + MS(100)));
    CHECK(!zones_due(z, false, f.now + MS(999)));
    CHECK(zones_due(z, false, f.now + MS(1000)));
}

TEST(picks_follow_the_weights)
{
    struct zone_weights w = { .n = 3, .zone = { 4, 1, 9 }, .end = { 60000, 60001, ZONE_WHOLE } };
    CHECK_EQ(zone_pick(&w, 0), 4);
    CHECK_EQ(zone_pick(&w, (uint64_t)59999 << 48 | 0xffff), 4);
    CHECK_EQ(zone_pick(&w, (uint64_t)60000 << 48), 1);
    CHECK_EQ(zone_pick(&w, (uint64_t)60001 << 48), 9);
    CHECK_EQ(zone_pick(&w, UINT64_MAX), 9);
    CHECK_EQ(zone_share(&w, 1), 1);
    CHECK_EQ(zone_share(&w, 2), 0);
}

static uint64_t dice(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s ^ (*s >> 29);
}

/* Random fleets, healths and loads: what must hold whatever happens. */
TEST(weights_are_whole_and_never_of_the_dead)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t s = seed;
        struct fleet f = fleet_of_two_regions(1.0);
        f.n_hosts = 1 + dice(&s) % 24;
        for (size_t i = 0; i < f.n_hosts; i++)
            f.host[i] = (struct zone_host){ .zone = f.zone[dice(&s) % 6] };
        for (int round = 0; round < 40; round++) {
            for (size_t i = 0; i < f.n_hosts; i++) {
                f.host[i].healthy = dice(&s) % 4 != 0;
                f.host[i].load = (uint32_t)(dice(&s) % 1001);
                f.host[i].load_ns = dice(&s) % 3 ? f.now : 0;
            }
            update(&f);
            f.now += MS(100 + dice(&s) % 5000);
            const struct zone_weights *w = &f.weights[f.zone[0]];
            REQUIRE(w->n > 0, "seed %llu", (unsigned long long)seed);
            CHECK_EQ(w->end[w->n - 1], ZONE_WHOLE, "seed %llu", (unsigned long long)seed);
            for (size_t i = 0; i < w->n; i++) {
                CHECK(w->end[i] > (i ? w->end[i - 1] : 0), "seed %llu", (unsigned long long)seed);
                CHECK(w->panic || hosts_in(&f, w->zone[i], true), "seed %llu",
                      (unsigned long long)seed);
            }
        }
    }
}
