#include "check.h"

#include "format/duration.h"

static void go_durations_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t want;
    } row[] = {
        { "0", 0 },
        { "0s", 0 },
        { "-0", 0 },
        { "+5s", (int64_t)SEC(5) },
        { "1h2m3.5s", (int64_t)(SEC(3723) + MS(500)) },
        { "300ms", (int64_t)MS(300) },
        { "-1.5h", -(int64_t)SEC(5400) },
        { "1.0s", (int64_t)SEC(1) },
        { ".5s", (int64_t)MS(500) },
        { "5.s", (int64_t)SEC(5) },
        { "1us", 1000 },
        { "2µs", 2000 },
        { "3μs", 3000 },
        { "10ns", 10 },
        { "1.000000001s", 1000000001 },
        { "0.100000000000000000000h", (int64_t)SEC(360) },
        { "0.3333333333333333333h", (int64_t)SEC(1200) },
        { "9223372036854775807ns", INT64_MAX },
        { "-9223372036854775808ns", INT64_MIN },
        { "9007199254740993ns", 9007199254740993 },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        int64_t got = 77;
        check_that(duration_parse(str_c(row[i].text), &got), row[i].text);
        if (got != row[i].want)
            fail_msg("%s: got %lld, want %lld", row[i].text, (long long)got,
                     (long long)row[i].want);
    }
}

static void malformed_durations_are_refused(void **state)
{
    static const char *const row[] = {
        "",
        "3",
        "-",
        "+",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "1.2.3s",
        "1d",
        "1 s",
        "s1",
        "1h ",
        "1ss",
        "9223372036854775808ns",
        "-9223372036854775809ns",
        "3000000h",
        "9223372036855ms0.9s",
        "99999999999999999999s",
        "1e3s",
        "0x1s",
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        int64_t got = 77;
        check_that(!duration_parse(str_c(row[i]), &got) && got == 77, row[i]);
    }
}

static void bare_numbers_count_the_unit_given(void **state)
{
    int64_t got = 77;
    assert_true(duration_parse_bare(S("250"), (int64_t)MS(1), &got));
    assert_int_equal(got, MS(250));
    assert_true(duration_parse_bare(S("-2"), (int64_t)SEC(1), &got));
    assert_int_equal(got, -(int64_t)SEC(2));
    assert_true(duration_parse_bare(S("1m"), (int64_t)MS(1), &got));
    assert_int_equal(got, SEC(60));
    got = 77;
    assert_false(duration_parse_bare(S("9223372036854775807"), (int64_t)MS(1), &got));
    assert_int_equal(got, 77);
}

static void durations_print_as_in_go(void **state)
{
    static const struct {
        int64_t ns;
        const char *want;
    } row[] = {
        { 0, "0s" },
        { 1, "1ns" },
        { 1100, "1.1µs" },
        { 2200000, "2.2ms" },
        { (int64_t)MS(500), "500ms" },
        { (int64_t)SEC(2), "2s" },
        { (int64_t)MS(3300), "3.3s" },
        { (int64_t)SEC(180), "3m0s" },
        { (int64_t)(SEC(245) + MS(1)), "4m5.001s" },
        { (int64_t)SEC(3600), "1h0m0s" },
        { (int64_t)(SEC(5 * 3600 + 6 * 60 + 7) + 8), "5h6m7.000000008s" },
        { -(int64_t)SEC(90), "-1m30s" },
        { INT64_MAX, "2562047h47m16.854775807s" },
        { INT64_MIN, "-2562047h47m16.854775808s" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        char text[DURATION_MAX];
        size_t n = duration_print(row[i].ns, text);
        check_str(str_of(text, n), str_c(row[i].want), "print");
        int64_t back = 77;
        assert_true(duration_parse(str_of(text, n), &back));
        assert_true(back == row[i].ns);
    }
}

static void quantities_round_away_from_zero(void **state)
{
    static const struct {
        const char *text;
        int64_t value, milli;
    } row[] = {
        { "0", 0, 0 },
        { "1", 1, 1000 },
        { "4Mi", 4 << 20, (int64_t)(4 << 20) * 1000 },
        { "1.5Gi", 1610612736, 1610612736000 },
        { "1500m", 2, 1500 },
        { "-1500m", -2, -1500 },
        { "1m", 1, 1 },
        { "100u", 1, 1 },
        { "1n", 1, 1 },
        { "2e3", 2000, 2000000 },
        { "2E3", 2000, 2000000 },
        { "2E", 2000000000000000000, -1 },
        { "1k", 1000, 1000000 },
        { "0.5", 1, 500 },
        { ".5", 1, 500 },
        { "5.", 5, 5000 },
        { "12e-1", 2, 1200 },
        { "1e-50", 1, 1 },
        { "0e90", 0, 0 },
        { "+3Ki", 3072, 3072000 },
        { "9223372036854775807", INT64_MAX, -1 },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        int64_t value = 77, milli = 77;
        check_that(quantity_parse(str_c(row[i].text), &value), row[i].text);
        check_that(value == row[i].value, row[i].text);
        bool fits = quantity_parse_milli(str_c(row[i].text), &milli);
        check_that(fits == (row[i].milli != -1), row[i].text);
        check_that(milli == (fits ? row[i].milli : 77), row[i].text);
    }
}

static void malformed_quantities_are_refused(void **state)
{
    static const char *const row[] = {
        "",     "-",    "Mi",    "4mi",
        "4 Mi", "4MiB", "1.2.3", "1e",
        "1ee3", "e3",   "1e101", "9223372036854775808",
        "10E",  "8Ei",  "1e99",  "1234567890123456789012345678901",
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        int64_t got = 77;
        check_that(!quantity_parse(str_c(row[i]), &got) && got == 77, row[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(go_durations_are_read),
        cmocka_unit_test(malformed_durations_are_refused),
        cmocka_unit_test(bare_numbers_count_the_unit_given),
        cmocka_unit_test(durations_print_as_in_go),
        cmocka_unit_test(quantities_round_away_from_zero),
        cmocka_unit_test(malformed_quantities_are_refused),
    };
    return cmocka_run_group_tests_name("duration", tests, NULL, NULL);
}
