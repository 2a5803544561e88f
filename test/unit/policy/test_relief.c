#include "policy/relief.h"

#include "test/testing.h"

static const uint64_t START = SEC(100), PATIENCE = SEC(4);

static void see(struct relief *r, unsigned instances, unsigned max, uint64_t now)
{
    relief_see(r, &(struct relief_facts){ instances, max, PATIENCE }, now);
}

TEST(nobody_comes_to_an_app_that_is_not_scaled)
{
    struct relief r = { 0 };
    CHECK(!relief_comes(&r, START, START));
    relief_see(&r, &(struct relief_facts){ .instances = 1 }, START);
    relief_see(&r, &(struct relief_facts){ .instances = 2 }, START);
    CHECK(!relief_comes(&r, START, START));
}

TEST(while_there_may_be_more_they_are_hoped_for)
{
    struct relief r = { 0 };
    see(&r, 1, 3, START);
    CHECK(relief_comes(&r, START, START));
    CHECK(relief_comes(&r, START, START + PATIENCE - 1));
    CHECK(!relief_comes(&r, START, START + PATIENCE));
}

TEST(who_comes_with_a_clock_that_is_behind_is_helped_as_well)
{
    struct relief r = { 0 };
    see(&r, 1, 2, START);
    CHECK(relief_comes(&r, START, START - 1));
    see(&r, 2, 2, START + 1);
    CHECK(relief_comes(&r, START, START));
    see(&r, 2, 2, START);
    CHECK(relief_comes(&r, START, START));
}

TEST(all_there_may_be_are_no_hope)
{
    struct relief r = { 0 };
    see(&r, 3, 3, START);
    CHECK(!relief_comes(&r, START, START));
    see(&r, 4, 3, START); /* a rule that has become smaller */
    CHECK(!relief_comes(&r, START + PATIENCE, START + PATIENCE));
}

TEST(what_waited_in_vain_is_not_hoped_for_again_soon)
{
    struct relief r = { 0 };
    see(&r, 1, 3, START);
    CHECK(!relief_comes(&r, START, START + PATIENCE));
    uint64_t now = START + PATIENCE + 1;
    CHECK(!relief_comes(&r, now, now));
    CHECK(!relief_comes(&r, now, START + 5 * PATIENCE));
    now = START + 7 * PATIENCE;
    CHECK(relief_comes(&r, now, now));
}

TEST(one_that_comes_counts_anew_the_last_one_too)
{
    struct relief r = { 0 };
    see(&r, 1, 2, START);
    uint64_t came = START + PATIENCE - 1;
    see(&r, 2, 2, came);
    CHECK(relief_comes(&r, START, came + PATIENCE - 1));
    CHECK(!relief_comes(&r, START, came + PATIENCE));
}

TEST(one_that_comes_late_ends_a_vain_hope)
{
    struct relief r = { 0 };
    see(&r, 1, 5, START);
    CHECK(!relief_comes(&r, START, START + PATIENCE));
    uint64_t came = START + 2 * PATIENCE;
    see(&r, 2, 5, came);
    CHECK(relief_comes(&r, START, came));
    CHECK(relief_comes(&r, came, came + PATIENCE - 1));
}

/* It registers and dies, again and again. */
TEST(one_that_comes_back_is_no_help)
{
    struct relief r = { 0 };
    uint64_t hopeful = 0, now = START;
    see(&r, 1, 3, now);
    for (unsigned i = 0; i < 1000; i++, now += PATIENCE / 10) {
        see(&r, 1 + i % 2, 3, now);
        hopeful += relief_comes(&r, START, now);
    }
    CHECK(hopeful > 0 && hopeful <= 220, "%ju of 1000", (uintmax_t)hopeful);
}

TEST(one_that_is_replaced_much_later_is_help)
{
    struct relief r = { 0 };
    see(&r, 2, 2, START);
    uint64_t now = START + SEC(1000);
    see(&r, 1, 2, now);
    CHECK(relief_comes(&r, now, now));
    see(&r, 2, 2, now + 1);
    CHECK(relief_comes(&r, now, now + PATIENCE));
    CHECK(!relief_comes(&r, now, now + 1 + PATIENCE));
}
