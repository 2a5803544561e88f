#include "policy/retry.h"

#include "test/testing.h"

TEST(constant_waits_are_equal_and_end_after_max_retries)
{
    struct retry_policy p = retry_defaults();
    p.interval_ns = SEC(2);
    p.max_retries = 2;
    struct retry_state s;
    uint64_t wait = 77;
    retry_start(&p, &s, SEC(100));
    CHECK(retry_next(&p, &s, SEC(101), 0.9, &wait));
    CHECK_EQ(wait, SEC(2));
    CHECK(retry_next(&p, &s, SEC(102), 0.1, &wait));
    CHECK_EQ(wait, SEC(2));
    wait = 77;
    CHECK(!retry_next(&p, &s, SEC(103), 0.1, &wait));
    CHECK_EQ(wait, 77);
}

TEST(defaults_are_five_seconds_for_ever)
{
    struct retry_policy p = retry_defaults();
    struct retry_state s;
    retry_start(&p, &s, 0);
    for (int i = 0; i < 10000; i++) {
        uint64_t wait = 0;
        CHECK(retry_next(&p, &s, SEC(86400), 0.5, &wait));
        CHECK_EQ(wait, SEC(5));
    }
}

TEST(zero_retries_means_one_try)
{
    struct retry_policy p = retry_defaults();
    struct retry_state s;
    uint64_t wait;
    p.max_retries = 0;
    retry_start(&p, &s, 0);
    CHECK(!retry_next(&p, &s, 0, 0, &wait));
}

TEST(exponential_waits_grow_within_their_jitter)
{
    static const struct {
        double unit;
        uint64_t want_ms;
    } row[] = {
        { 0.5, 500 },       { 0.5, 750 },  { 0.5, 1125 }, { 0, 843 },
        { 0.999999, 3796 }, { 0.5, 3000 }, { 0.5, 3000 },
    };
    struct retry_policy p = retry_defaults();
    p.exponential = true;
    p.max_interval_ns = SEC(3);
    struct retry_state s;
    retry_start(&p, &s, 0);
    for (size_t i = 0; i < COUNT(row); i++) {
        uint64_t wait = 0;
        CHECK(retry_next(&p, &s, 0, row[i].unit, &wait));
        CHECK_EQ(wait / 1000000, row[i].want_ms);
    }
}

TEST(exponential_ends_where_the_wait_would_pass_max_elapsed)
{
    struct retry_policy p = retry_defaults();
    p.exponential = true;
    p.max_elapsed_ns = SEC(10);
    struct retry_state s;
    uint64_t wait;
    retry_start(&p, &s, SEC(5));
    CHECK(retry_next(&p, &s, SEC(14), 0.5, &wait));
    CHECK(!retry_next(&p, &s, SEC(14) + MS(300), 0.5, &wait));
    CHECK(!retry_next(&p, &s, SEC(16), 0, &wait));
}

TEST(a_huge_back_off_does_not_overflow)
{
    struct retry_policy p = retry_defaults();
    p.exponential = true;
    p.max_interval_ns = UINT64_MAX;
    p.max_elapsed_ns = 0;
    p.factor = 1e9;
    struct retry_state s;
    uint64_t wait = 0;
    retry_start(&p, &s, 0);
    for (int i = 0; i < 50; i++)
        CHECK(retry_next(&p, &s, 0, 0.99, &wait));
    CHECK(wait >= (uint64_t)INT64_MAX / 2);
}

TEST(code_lists_are_read_or_refused)
{
    static const struct {
        const char *name, *http, *grpc;
        int want;
        const char *text;
    } row[] = {
        { "empty", "", "", 0, "" },
        { "codes and ranges", "429,500-504,100", "0,14,1-5", 0, "" },
        { "empty items", ",500,,", ",", 0, "" },
        { "limits", "100-599", "0-16", 0, "" },
        { "space", "500, 501", "", -INVALID,
          "\" 501\" is not a status code in 100 … 599 or a range such as 500-504 (no spaces)" },
        { "too high", "600", "", -INVALID,
          "\"600\" is not a status code in 100 … 599 or a range such as 500-504 (no spaces)" },
        { "backwards", "504-500", "", -INVALID,
          "\"504-500\" is not a status code in 100 … 599 or a range such as 500-504 (no spaces)" },
        { "two dashes", "1-2-3", "", -INVALID,
          "\"1-2-3\" is not a status code in 100 … 599 or a range such as 500-504 (no spaces)" },
        { "word", "", "UNAVAILABLE", -INVALID,
          "\"UNAVAILABLE\" is not a status code in 0 … 16 or a range such as 500-504 (no spaces)" },
        { "open range", "", "3-", -INVALID,
          "\"3-\" is not a status code in 0 … 16 or a range such as 500-504 (no spaces)" },
        { "negative", "", "-1", -INVALID,
          "\"-1\" is not a status code in 0 … 16 or a range such as 500-504 (no spaces)" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct arena a;
        struct error err = { 0 };
        struct retry_match m = { .n_http = 77 };
        arena_init(&a, KIB(16));
        int r = retry_match_parse(&a, str_c(row[i].http), str_c(row[i].grpc), &m, &err);
        if (r != row[i].want || strcmp(err.text, row[i].text) != 0 || (r < 0 && m.n_http != 77))
            CHECK(false, "%s: %d %s", row[i].name, r, err.text);
        arena_done(&a);
    }
}

TEST(only_listed_codes_are_tried_again)
{
    struct arena a;
    struct retry_match m, all = { 0 };
    arena_init(&a, KIB(16));
    CHECK_EQ(retry_match_parse(&a, S("429,500-504"), S("14"), &m, NULL), 0);
    CHECK(retry_wants(&m, 429, 0));
    CHECK(retry_wants(&m, 504, 0));
    CHECK(!retry_wants(&m, 505, 0));
    CHECK(!retry_wants(&m, 404, 14));
    CHECK(retry_wants(&m, 0, 14));
    CHECK(!retry_wants(&m, 0, 4));
    CHECK(retry_wants(&m, 0, 0)); /* no status at all: a broken connection */
    CHECK(retry_wants(&all, 404, 0));
    CHECK(retry_wants(&all, 0, 3));
    arena_done(&a);
}

TEST(no_memory_for_a_list_is_exhausted)
{
    struct arena a;
    struct retry_match m;
    arena_init(&a, 0);
    CHECK_EQ(retry_match_parse(&a, S("500"), S(""), &m, NULL), -EXHAUSTED);
}
