#include "policy/choice.h"

#include "base/hash.h"

#include <math.h>
#include <stdio.h>

#include "test/testing.h"

enum { N = 5, KEYS = 10000 };

static uint64_t dice(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    uint64_t h = *s ^ (*s >> 33);
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

static double unit(uint64_t *s)
{
    return (double)(dice(s) >> 11) / 9007199254740992.0;
}

struct box {
    struct traffic_rule rule;
    struct choice_call call;
    struct choice_instance v[CHOICE_MAX];
    struct outlier health[CHOICE_MAX];
    size_t n;
    _Atomic uint32_t turn;
    uint64_t now, seed;
    bool panic;
};

static void open(struct box *b, size_t n)
{
    *b = (struct box){ .rule = *traffic_defaults(), .n = n, .now = SEC(1000), .seed = 1 };
    for (size_t i = 0; i < n; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "10.0.0.%zu:50002", i);
        b->v[i] = (struct choice_instance){
            .health = &b->health[i],
            .hash = hash_stable(str_of(name, (size_t)len)),
            .zone_weight = 1000,
        };
    }
}

static size_t pick(struct box *b)
{
    b->call.rule = &b->rule;
    return choose(&b->call, b->v, b->n, &b->turn, b->now, dice(&b->seed), &b->panic);
}

static void count(struct box *b, int times, int hits[])
{
    for (size_t i = 0; i <= b->n; i++)
        hits[i] = 0;
    for (int i = 0; i < times; i++)
        hits[pick(b)]++;
}

static void eject(struct box *b, size_t i, bool unreachable)
{
    b->health[i].until_ns = b->now + SEC(10);
    b->health[i].unreachable = unreachable;
}

TEST(one_that_is_about_to_stop_gets_no_further_call)
{
    struct box b;
    int hits[N + 1];
    open(&b, N);
    b.v[0].draining = b.v[1].draining = b.v[2].draining = true;
    b.v[0].in_flight = b.v[1].in_flight = 0;
    b.v[3].in_flight = b.v[4].in_flight = 100;
    count(&b, 1000, hits);
    CHECK_EQ(hits[3] + hits[4], 1000);
    CHECK(!b.panic, "it isn't the fault of those that are left");
    b.call.sticky = b.v[0].hash; /* its session goes on elsewhere */
    count(&b, 100, hits);
    CHECK_EQ(hits[0], 0);
    b.call = (struct choice_call){ .key = 7 };
    count(&b, 100, hits);
    CHECK_EQ(hits[3] + hits[4], 100);
    b.v[3].draining = b.v[4].draining = true; /* all of them: it still serves */
    count(&b, 100, hits);
    CHECK_EQ(hits[N], 0);
}

TEST(equal_instances_get_equal_shares)
{
    struct box b;
    int hits[N + 1];
    open(&b, N);
    for (int k = TRAFFIC_LEAST_LOADED; k <= TRAFFIC_RANDOM; k++) {
        b.rule.balance = (enum traffic_balance)k;
        count(&b, 50000, hits);
        for (int i = 0; i < N; i++)
            CHECK(hits[i] > 9500 && hits[i] < 10500, "%d at %d by %d", hits[i], i, k);
    }
}

TEST(the_busiest_one_is_never_the_better_of_two)
{
    struct box b;
    int hits[N + 1];
    open(&b, N);
    b.v[2].in_flight = 3;
    count(&b, 10000, hits);
    CHECK_EQ(hits[2], 0);
    b.v[2].in_flight = 0;
    b.v[3].utilisation = 900; /* others keep it busy */
    count(&b, 10000, hits);
    CHECK_EQ(hits[3], 0);
}

TEST(slow_start_and_zone_weights_are_shares)
{
    struct box b;
    int hits[N + 1];
    open(&b, N);
    b.health[0].returned_ns = b.now;
    count(&b, 41000, hits);
    CHECK(hits[0] > 700 && hits[0] < 2500, "%d: about a tenth of a share", hits[0]);
    b.now += SEC(10);
    count(&b, 50000, hits);
    CHECK(hits[0] > 9500 && hits[0] < 10500, "%d", hits[0]);
    for (int i = 2; i < N; i++) {
        b.v[i].zone = 7;
        b.v[i].zone_weight = 0;
    }
    count(&b, 10000, hits);
    CHECK_EQ(hits[0] + hits[1], 10000);
    for (int i = 2; i < N; i++)
        b.v[i].zone_weight = 14; /* 2 % in all, however idle it is there */
    b.v[0].in_flight = b.v[1].in_flight = 50;
    count(&b, 100000, hits);
    int away = hits[2] + hits[3] + hits[4];
    CHECK(away > 1600 && away < 2600, "%d of 100,000", away);
    b.health[0].until_ns = b.health[1].until_ns = b.now + SEC(1);
    b.v[2].zone_weight = b.v[3].zone_weight = b.v[4].zone_weight = 0;
    CHECK(pick(&b) >= 2, "nobody else is there");
}

TEST(ejected_ones_get_nothing_until_too_few_are_left)
{
    struct box b;
    int hits[N + 1];
    open(&b, N);
    eject(&b, 0, false);
    eject(&b, 1, true);
    count(&b, 10000, hits);
    CHECK_EQ(hits[0] + hits[1], 0);
    CHECK(!b.panic);
    eject(&b, 2, false);
    count(&b, 10000, hits);
    CHECK(b.panic, "2 of 5 are fewer than half");
    CHECK(hits[0] > 1500 && hits[2] > 1500, "%d %d", hits[0], hits[2]);
    CHECK_EQ(hits[1], 0, "panic doesn't make a dead one reachable");
    for (size_t i = 0; i < N; i++)
        eject(&b, i, true);
    CHECK(pick(&b) < N, "somebody must be tried");
}

TEST(one_that_was_tried_is_not_tried_again)
{
    struct box b;
    open(&b, 3);
    b.call.retry = true;
    b.v[1].tried = true;
    for (int i = 0; i < 1000; i++)
        CHECK(pick(&b) != 1);
    eject(&b, 0, false);
    b.v[2].tried = true;
    CHECK_EQ(pick(&b), 0, "rather one that is ejected than none");
    b.v[0].tried = true;
    CHECK_EQ(pick(&b), 3, "all have been tried");
    CHECK_EQ(choose_other(&b.rule, b.v, 3, b.now, 1), 3);
    b.v[2].tried = false;
    CHECK_EQ(choose_other(&b.rule, b.v, 3, b.now, 1), 2);
}

TEST(a_probe_goes_to_one_call_and_to_no_retry)
{
    struct box b;
    open(&b, 3);
    b.health[1].until_ns = b.now - 1;
    b.call.retry = true;
    for (int i = 0; i < 100; i++)
        CHECK(pick(&b) != 1);
    b.call.retry = false;
    CHECK_EQ(pick(&b), 1);
    for (int i = 0; i < 100; i++)
        CHECK(pick(&b) != 1);
}

TEST(a_session_sticks_while_its_instance_serves)
{
    struct box b;
    open(&b, N);
    b.call.sticky = b.v[3].hash;
    b.v[3].in_flight = 100;
    for (int i = 0; i < 100; i++)
        CHECK_EQ(pick(&b), 3);
    eject(&b, 3, false);
    CHECK(pick(&b) != 3);
}

/* ---- hashing ---- */

static size_t by_key(struct box *b, int key)
{
    char name[16];
    int len = snprintf(name, sizeof name, "user-%d", key);
    b->call.key = hash_stable(str_of(name, (size_t)len)) | 1;
    return pick(b);
}

TEST(a_key_keeps_its_instance_and_few_move_when_one_comes)
{
    struct box b, more;
    for (size_t n = 2; n <= 40; n += 6) {
        open(&b, n);
        open(&more, n + 1);
        int moved = 0;
        for (int k = 0; k < KEYS; k++) {
            size_t before = by_key(&b, k), after = by_key(&more, k);
            CHECK_EQ(by_key(&b, k), before);
            moved += before != after;
            CHECK(before == after || after == n, "key %d moved from %zu to %zu", k, before, after);
        }
        CHECK(moved <= 1.2 * KEYS / (double)(n + 1), "%d moved of %d at n = %zu", moved, KEYS, n);
    }
}

TEST(keys_of_an_ejected_instance_alone_move)
{
    struct box b;
    open(&b, N);
    size_t before[1000];
    for (int k = 0; k < 1000; k++)
        before[k] = by_key(&b, k);
    eject(&b, 2, false);
    for (int k = 0; k < 1000; k++) {
        size_t after = by_key(&b, k);
        CHECK(after != 2 && (after == before[k] || before[k] == 2), "key %d", k);
    }
}

/* Zipf 1.1: the most frequent of 1,000 keys has about a seventh of the calls. */
TEST(a_hot_key_spills_over_at_the_bound)
{
    struct box b;
    double sum = 0, cumulative[1000];
    open(&b, 10);
    for (int k = 0; k < 1000; k++)
        cumulative[k] = sum += 1 / pow(k + 1, 1.1);
    uint32_t total = 0;
    for (int i = 0; i < 5000; i++) { /* none of them ends */
        double at = unit(&b.seed) * sum;
        int k = 0;
        while (cumulative[k] < at)
            k++;
        size_t to = by_key(&b, k);
        total++;
        b.v[to].in_flight++;
        CHECK(b.v[to].in_flight <= ceil(1.25 * total / 10), "%u of %u", b.v[to].in_flight, total);
    }
    b.rule.bounded_percent = 0;
    for (size_t i = 0; i < 10; i++)
        b.v[i].in_flight = 0;
    for (int i = 0; i < 100; i++)
        b.v[by_key(&b, 1)].in_flight++;
    uint32_t most = 0;
    for (size_t i = 0; i < 10; i++)
        most = b.v[i].in_flight > most ? b.v[i].in_flight : most;
    CHECK_EQ(most, 100, "not bounded");
}

/* ---- a caller, its instances, and time: all virtual ---- */

enum sick { WELL, FAILS, SLOW, STUCK };
enum { RATE = 300, STEPS = RATE * 20, FLIGHT_MAX = 4096 };
static const uint64_t USUAL = MS(8), SWEEP = MS(250);

struct flight {
    uint64_t start, end;
    size_t at;
    bool bad;
};

struct world {
    struct box b;
    struct flight flight[FLIGHT_MAX];
    size_t n_flights;
    uint64_t answered[N]; /* since the last sweep */
    uint64_t sweep;
    enum sick sick[N];
    struct outlier_group group;
};

static void end(struct world *w, const struct flight *f)
{
    struct box *b = &w->b;
    bool slow = f->end - f->start > 5 * USUAL;
    enum outlier_result r = f->bad ? OUTLIER_FAILED : slow ? OUTLIER_SLOW : OUTLIER_OK;
    b->v[f->at].in_flight--;
    (void)outlier_record(&b->rule.outlier, &w->group, &b->health[f->at], r, f->start, f->end,
                         unit(&b->seed));
}

static void land(struct world *w)
{
    for (size_t i = 0; i < w->n_flights;)
        if (w->flight[i].end <= w->b.now) {
            end(w, &w->flight[i]);
            w->flight[i] = w->flight[--w->n_flights];
        } else {
            i++;
        }
}

static void sweep(struct world *w)
{
    struct outlier *all[N];
    if (w->b.now < w->sweep)
        return;
    w->sweep = w->b.now + SWEEP;
    for (size_t i = 0; i < N; i++) {
        all[i] = &w->b.health[i];
        if (w->sick[i] == STUCK && w->b.v[i].in_flight &&
            w->b.now > SEC(1000) + MS(500)) /* as instances.c judges it */
            (void)outlier_record(&w->b.rule.outlier, &w->group, all[i], OUTLIER_FAILED, w->b.now,
                                 w->b.now, unit(&w->b.seed));
    }
    outlier_sweep(&w->group, all, N);
}

/* Share of the calls of [from, to) seconds that met the sick instance. */
static double affected(enum sick sick, uint64_t seed, unsigned from)
{
    static struct world w;
    w = (struct world){ .group = { .n = N }, .sick = { [2] = sick } };
    open(&w.b, N);
    w.b.seed = seed;
    uint64_t begin = w.b.now, calls = 0, bad = 0;
    for (int i = 0; i < STEPS; i++) {
        w.b.now = begin + (uint64_t)i * SEC(1) / RATE;
        land(&w);
        sweep(&w);
        size_t at = pick(&w.b);
        uint64_t took = (uint64_t)((double)USUAL * (0.5 + unit(&w.b.seed)));
        took = w.sick[at] == SLOW ? 20 * took : w.sick[at] == STUCK ? SEC(30) : took;
        w.b.v[at].in_flight++;
        REQUIRE(w.n_flights < FLIGHT_MAX);
        w.flight[w.n_flights++] =
            (struct flight){ w.b.now, w.b.now + took, at, w.sick[at] == FAILS };
        if (w.b.now >= begin + SEC(from)) {
            calls++;
            bad += at == 2;
        }
    }
    return (double)bad / (double)calls;
}

TEST(a_sick_instance_loses_its_calls_within_two_seconds)
{
    static const struct {
        const char *name;
        enum sick sick;
    } row[] = { { "fails", FAILS }, { "20 times slower", SLOW }, { "never answers", STUCK } };
    EACH (row, r)
        for (uint64_t seed = 1; seed <= 50; seed++) {
            double share = affected(r->sick, seed, 2);
            CHECK(share < 0.01, "%s, seed %d: %.4f of the calls", r->name, (int)seed, share);
        }
    for (uint64_t seed = 1; seed <= 50; seed++) {
        double share = affected(WELL, seed, 2);
        CHECK(share > 0.17 && share < 0.23, "well, seed %d: %.4f", (int)seed, share);
    }
}
