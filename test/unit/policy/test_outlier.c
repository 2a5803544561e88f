#include "policy/outlier.h"

#include "test/testing.h"

#include <math.h>

enum { FULL = 1000 };
static const struct outlier_config defaults = OUTLIER_DEFAULTS;

static uint64_t dice(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s ^ (*s >> 29);
}

static double unit(uint64_t *s)
{
    return (double)(dice(s) >> 11) / 9007199254740992.0;
}

struct box {
    struct outlier_group g;
    struct outlier o[5], *all[5];
    uint64_t now;
};

static void open(struct box *b)
{
    *b = (struct box){ .now = SEC(100) };
    for (int i = 0; i < 5; i++)
        b->all[i] = &b->o[i];
    b->g.n = 5;
}

static bool call(struct box *b, int i, enum outlier_result r)
{
    return outlier_record(&defaults, &b->g, &b->o[i], r, b->now, b->now, 0.5);
}

TEST(five_failures_in_a_row_eject_while_the_peers_are_well)
{
    struct box b;
    open(&b);
    for (int i = 0; i < 4; i++)
        CHECK(!call(&b, 0, OUTLIER_FAILED), "failure %d", i);
    CHECK(call(&b, 0, OUTLIER_FAILED));
    CHECK_EQ(outlier_state(&defaults, &b.o[0], b.now), OUTLIER_EJECTED);
    CHECK_EQ(outlier_weight(&defaults, &b.o[0], b.now), 0);
    CHECK_EQ(outlier_state(&defaults, &b.o[1], b.now), OUTLIER_IN);
}

TEST(slow_calls_count_half)
{
    struct box b;
    open(&b);
    for (int i = 0; i < 9; i++)
        CHECK(!call(&b, 0, OUTLIER_SLOW), "call %d", i);
    CHECK(call(&b, 0, OUTLIER_SLOW));
    for (int i = 0; i < 6; i++)
        CHECK(!call(&b, 1, i % 2 ? OUTLIER_SLOW : OUTLIER_FAILED), "call %d", i);
    CHECK(call(&b, 1, OUTLIER_FAILED));
}

TEST(what_cannot_be_reached_is_ejected_at_once)
{
    struct box b;
    open(&b);
    CHECK(call(&b, 0, OUTLIER_UNREACHABLE));
    CHECK(b.o[0].unreachable);
}

TEST(the_only_instance_is_not_ejected_for_failures)
{
    struct box b;
    open(&b);
    b.g.n = 1;
    for (int i = 0; i < 100; i++)
        CHECK(!call(&b, 0, OUTLIER_FAILED));
    struct outlier_config off = defaults;
    off.failures = 0;
    b.g.n = 5;
    for (int i = 0; i < 100; i++)
        CHECK(!outlier_record(&off, &b.g, &b.o[1], OUTLIER_FAILED, b.now, b.now, 0.5), "off");
}

/* As many calls to each; the first one that is ejected by the n-th: *ret_at, its index. */
static int calls_until_ejected(double bad, double others, int max, uint64_t *seed, int *ret_at)
{
    enum { BETWEEN_SWEEPS = 25, GETTING_TO_KNOW = 20 * BETWEEN_SWEEPS };
    struct box b;
    open(&b);
    for (int n = 1 - GETTING_TO_KNOW; n <= max; n++) {
        for (int i = 0; i < 5; i++) {
            double share = i || n <= 0 ? others : bad;
            bool out = call(&b, i, unit(seed) < share ? OUTLIER_FAILED : OUTLIER_OK);
            *ret_at = i;
            if (out && n > 0)
                return n;
            if (out) /* in the beginning failures are taken for unusual */
                b.o[i].until_ns = 0;
        }
        if (n % BETWEEN_SWEEPS == 0) {
            b.now += MS(250);
            outlier_sweep(&b.g, b.all, 5);
        }
    }
    return 0;
}

TEST(a_worse_instance_is_found_and_a_like_one_is_not)
{
    static const struct {
        const char *name;
        double bad, others;
        int within; /* calls; 0 = never, in 5,000 */
    } row[] = {
        { "all fail here", 1, 0, 5 },
        { "half of them fail here", .5, 0, 60 },
        { "a third fails here", .33, 0, 400 },
        { "one of 100 fails everywhere", .01, .01, 0 },
        { "a tenth fails everywhere", .1, .1, 0 },
        { "a third fails everywhere", .33, .33, 0 },
        { "all fail everywhere", 1, 1, 0 },
    };
    EACH (row, r)
        for (uint64_t first = 1; first <= 20; first++) {
            uint64_t seed = first;
            int at, n = calls_until_ejected(r->bad, r->others, 5000, &seed, &at);
            if (r->within)
                CHECK(at == 0 && n > 0 && n <= r->within, "%s, seed %d: %d at %d", r->name,
                      (int)first, n, at);
            else
                CHECK_EQ(n, 0, "%s, seed %d: at %d", r->name, (int)first, at);
        }
}

TEST(when_all_fail_failures_stop_being_evidence)
{
    struct box b;
    open(&b);
    for (int s = 0; s < 40; s++) { /* below the threshold, then sweeps learn what is usual */
        for (int i = 0; i < 5; i++)
            (void)call(&b, i, OUTLIER_FAILED);
        b.now += MS(250);
        outlier_sweep(&b.g, b.all, 5);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(b.o[i].in_a_row <= 3, "ejected %u times in 10 s", b.o[i].in_a_row);
        CHECK(!call(&b, i, OUTLIER_FAILED));
    }
    CHECK(b.g.expected >= 500, "%u", b.g.expected);
}

/* Two of the three that get all calls fail; the two others were called once. */
TEST(peers_that_get_few_calls_count_for_ten_seconds)
{
    struct box b;
    open(&b);
    for (int sweep = 0; sweep < 60; sweep++) {
        for (int i = 0; i < 5; i++)
            if (i < 3 || sweep == 0)
                (void)call(&b, i, i < 2 ? OUTLIER_FAILED : OUTLIER_OK);
        outlier_sweep(&b.g, b.all, 5);
        if (sweep == 39) /* of those that were called in each sweep most fail, of all they don't */
            CHECK(outlier_peers_are_well(&b.g));
        b.o[0].until_ns = b.o[1].until_ns = 0; /* nobody leaves */
    }
    CHECK(!outlier_peers_are_well(&b.g));
}

TEST(after_its_time_one_probe_decides)
{
    struct box b;
    open(&b);
    for (int i = 0; i < 5; i++)
        (void)call(&b, 0, OUTLIER_FAILED);
    struct outlier *o = &b.o[0];
    b.now += SEC(1);
    CHECK_EQ(outlier_state(&defaults, o, b.now), OUTLIER_PROBE_DUE);
    CHECK(outlier_probe(o));
    CHECK(!outlier_probe(o), "one at a time");
    (void)call(&b, 0, OUTLIER_FAILED);
    CHECK_EQ(outlier_state(&defaults, o, b.now + MS(1900)), OUTLIER_EJECTED, "twice as long");
    b.now += MS(2000);
    CHECK_EQ(outlier_state(&defaults, o, b.now), OUTLIER_PROBE_DUE);
    CHECK(outlier_probe(o));
    (void)call(&b, 0, OUTLIER_OK);
    CHECK_EQ(outlier_state(&defaults, o, b.now), OUTLIER_SLOW_START);
    CHECK_EQ(outlier_weight(&defaults, o, b.now), FULL / 10);
    CHECK_EQ(outlier_weight(&defaults, o, b.now + SEC(5)), FULL * 55 / 100);
    CHECK_EQ(outlier_weight(&defaults, o, b.now + SEC(10)), FULL);
    CHECK_EQ(outlier_state(&defaults, o, b.now + SEC(10)), OUTLIER_IN);
}

TEST(a_probe_that_was_cancelled_is_given_to_the_next_call)
{
    struct box b;
    open(&b);
    (void)call(&b, 0, OUTLIER_UNREACHABLE);
    b.now += SEC(2);
    CHECK(outlier_probe(&b.o[0]));
    outlier_forget(&b.o[0]);
    CHECK(outlier_probe(&b.o[0]));
}

TEST(calls_that_began_before_the_ejection_do_not_end_it)
{
    struct box b;
    open(&b);
    for (int i = 0; i < 5; i++)
        (void)call(&b, 0, OUTLIER_FAILED);
    b.now += MS(100);
    (void)outlier_record(&defaults, &b.g, &b.o[0], OUTLIER_OK, b.now - MS(200), b.now, 0.5);
    CHECK_EQ(outlier_state(&defaults, &b.o[0], b.now), OUTLIER_EJECTED);
    (void)call(&b, 0, OUTLIER_OK); /* in panic it gets calls: this one went well */
    CHECK_EQ(outlier_state(&defaults, &b.o[0], b.now), OUTLIER_SLOW_START);
}

TEST(times_grow_to_their_maximum_and_differ_by_jitter)
{
    struct box b;
    open(&b);
    struct outlier *o = &b.o[0];
    (void)call(&b, 0, OUTLIER_UNREACHABLE);
    for (int i = 0; i < 12; i++) {
        b.now = o->until_ns;
        CHECK(outlier_probe(o));
        (void)call(&b, 0, OUTLIER_UNREACHABLE);
    }
    CHECK_EQ(o->until_ns - b.now, SEC(60));
    b.now = o->until_ns;
    (void)outlier_record(&defaults, &b.g, o, OUTLIER_FAILED, b.now, b.now, 0);
    CHECK_EQ(o->until_ns - b.now, SEC(54));
    b.now = o->until_ns;
    (void)outlier_record(&defaults, &b.g, o, OUTLIER_FAILED, b.now, b.now, 0.999);
    CHECK(o->until_ns - b.now > SEC(65) && o->until_ns - b.now <= SEC(66));
    CHECK(outlier_probe(o));
    (void)call(&b, 0, OUTLIER_OK);
    b.now += SEC(3600); /* a long good time */
    (void)call(&b, 0, OUTLIER_UNREACHABLE);
    CHECK_EQ(o->until_ns - b.now, SEC(1));
}

/* ---- the same once more, written down as simply as can be ---- */

struct model {
    double evidence, until, ejected_at, returned_at; /* seconds; until 0 = in service */
    int row;
    bool unreachable;
};

static double gain(bool bad, double expected)
{
    double broken = fmax(0.5, (1 + expected) / 2);
    return bad ? log(broken / expected) : log((1 - broken) / (1 - expected));
}

static double model_time(int row, double u)
{
    return fmin(60, pow(2, row)) * (0.9 + 0.2 * u);
}

static void model_eject(struct model *m, double expected, bool again, double now, double u)
{
    if (expected >= 0.5 || (!again && now - m->returned_at > 10 * model_time(m->row, 0.5)))
        m->row = 0;
    m->until = now + model_time(m->row, u);
    m->row++;
    m->evidence = 0;
    m->ejected_at = now;
}

static void model_call(struct model *m, enum outlier_result r, double start, double now,
                       double expected, double u)
{
    double enough = 5 * gain(true, 0.02);
    if (m->until) {
        if (start < m->ejected_at)
            return;
        if (r == OUTLIER_OK) {
            m->until = 0;
            m->returned_at = now;
            m->evidence = enough / 2;
            m->unreachable = false;
            return;
        }
        if (now >= m->until)
            model_eject(m, expected, true, now, u);
        m->unreachable = r == OUTLIER_UNREACHABLE;
        return;
    }
    double part = r == OUTLIER_SLOW ? 0.5 : 1;
    m->evidence = fmin(enough, fmax(0, m->evidence + part * gain(r != OUTLIER_OK, expected)));
    if (r == OUTLIER_UNREACHABLE || (r != OUTLIER_OK && m->evidence >= enough - 0.005)) {
        m->unreachable = r == OUTLIER_UNREACHABLE;
        model_eject(m, expected, false, now, u);
    }
}

/* Random streams of replies whose quality drifts: state and times must be the model's. */
TEST(states_match_the_reference_model)
{
    size_t ejections = 0, returns = 0;
    for (uint64_t first = 1; first <= 200; first++) {
        struct box b;
        uint64_t seed = first;
        struct model m = { 0 };
        double bad = 0;
        open(&b);
        for (int i = 0; i < 500; i++) {
            double u = unit(&seed), now = (double)b.now / 1e9;
            if (unit(&seed) < 0.02)
                bad = unit(&seed) < 0.5 ? 0 : unit(&seed);
            uint64_t start = b.now - dice(&seed) % MS(300);
            enum outlier_result r =
                unit(&seed) >= bad ? OUTLIER_OK : (enum outlier_result)(1 + dice(&seed) % 3);
            bool was_out = b.o[0].until_ns;
            (void)outlier_record(&defaults, &b.g, &b.o[0], r, start, b.now, u);
            model_call(&m, r, (double)start / 1e9, now, b.g.expected ? b.g.expected / 1e3 : 0.02,
                       u);
            bool out = b.o[0].until_ns;
            REQUIRE(out == (m.until > 0));
            CHECK(!out || fabs((double)b.o[0].until_ns / 1e9 - m.until) < 1e-6,
                  "seed %d, call %d: %f, model %f", (int)first, i, (double)b.o[0].until_ns / 1e9,
                  m.until);
            CHECK_EQ(b.o[0].unreachable, m.unreachable, "seed %d, call %d", (int)first, i);
            ejections += !was_out && out;
            returns += was_out && !out;
            b.now += dice(&seed) % MS(400);
        }
    }
    CHECK(ejections > 1000 && returns > 1000, "%zu ejections, %zu returns: too dull a test",
          ejections, returns);
}
