#include "policy/priority.h"

#include <stdio.h>

#include "test/testing.h"

TEST(priorities_are_read_and_written)
{
    static const struct {
        const char *name, *text;
        bool ok;
        enum priority priority;
        int sub;
    } row[] = {
        { "a class", "high", true, PRIORITY_HIGH, -1 },
        { "in capitals, with blanks", " Critical ", true, PRIORITY_CRITICAL, -1 },
        { "with a sub-level", "background/127", true, PRIORITY_BACKGROUND, 127 },
        { "first sub-level", "low/0", true, PRIORITY_LOW, 0 },
        { "sub-level too large", "low/128", false, 0, 0 },
        { "far too large", "low/99999999999999999999", false, 0, 0 },
        { "sub-level missing", "low/", false, 0, 0 },
        { "negative", "low/-1", false, 0, 0 },
        { "no class", "urgent", false, 0, 0 },
        { "empty", "", false, 0, 0 },
        { "number", "0", false, 0, 0 },
        { "two", "high/1/2", false, 0, 0 },
    };
    EACH (row, r) {
        enum priority p = 77;
        int sub = 77;
        CHECK_EQ(priority_parse(str_c(r->text), &p, &sub), r->ok, "%s", r->name);
        CHECK_EQ(p, r->ok ? r->priority : 77, "%s", r->name);
        CHECK_EQ(sub, r->ok ? r->sub : 77, "%s", r->name);
    }
    char to[PRIORITY_TEXT];
    for (unsigned level = 0; level < PRIORITY_LEVELS; level++) {
        enum priority p;
        int sub;
        CHECK(priority_parse(priority_format(level, to), &p, &sub));
        CHECK_EQ(priority_level(p, (unsigned)sub), level);
    }
}

TEST(a_key_keeps_its_sub_level_for_an_hour_and_not_for_ever)
{
    static unsigned seen[PRIORITY_SUBS];
    const uint64_t hour = SEC(3600);
    unsigned moved = 0;
    for (int i = 0; i < 1000; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "user-%d", i);
        str k = str_of(key, (size_t)n);
        unsigned sub = priority_sub(k, hour * 7);
        REQUIRE(sub < PRIORITY_SUBS);
        seen[sub]++;
        CHECK_EQ(priority_sub(k, hour * 7 + hour - 1), sub);
        moved += priority_sub(k, hour * 8) != sub;
    }
    CHECK(moved > 900, "%u", moved);
    for (size_t i = 0; i < PRIORITY_SUBS; i++)
        CHECK(seen[i] < 40, "sub-level %zu has %u of 1000", i, seen[i]);
}

/* n calls of each sub-level of a class. */
static unsigned arrive(struct priority_cut *c, enum priority p, unsigned n)
{
    unsigned passed = 0;
    for (unsigned i = 0; i < n * PRIORITY_SUBS; i++)
        passed += cut_passes(c, priority_level(p, i));
    return passed;
}

TEST(cut_goes_through_the_least_important_class_that_fits_in_part)
{
    struct priority_cut c;
    cut_init(&c);
    for (int i = 0; i < 20; i++) { /* 128 high, 1280 low in each 100 ms; 256 can be done */
        (void)arrive(&c, PRIORITY_HIGH, 1);
        (void)arrive(&c, PRIORITY_LOW, 10);
        cut_move(&c, true, 2560, MS(100));
    }
    CHECK_EQ(arrive(&c, PRIORITY_HIGH, 1), PRIORITY_SUBS);
    unsigned low = arrive(&c, PRIORITY_LOW, 10);
    CHECK(low >= 128 && low < 256, "%u", low); /* 256 - 128, and a margin */
    cut_move(&c, false, 2560, MS(100));
    CHECK_EQ(arrive(&c, PRIORITY_LOW, 10), 1280);
}

TEST(cut_spares_the_first_level_even_when_nothing_is_served)
{
    struct priority_cut c;
    cut_init(&c);
    (void)arrive(&c, PRIORITY_NORMAL, 3);
    cut_move(&c, true, 0, MS(100));
    CHECK(!cut_passes(&c, priority_level(PRIORITY_NORMAL, 1)));
    CHECK(cut_passes(&c, priority_level(PRIORITY_NORMAL, 0)));
    CHECK(cut_passes(&c, priority_level(PRIORITY_CRITICAL, 0)));
}

TEST(calls_under_what_is_served_are_not_cut)
{
    struct priority_cut c;
    cut_init(&c);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(arrive(&c, PRIORITY_BACKGROUND, 1), PRIORITY_SUBS);
        cut_move(&c, true, 1280, MS(100));
    }
}
