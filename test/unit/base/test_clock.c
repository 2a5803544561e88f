#include "base/clock.h"

#include "test/testing.h"

TEST(rfc3339_is_parsed)
{
    static const struct {
        const char *text;
        uint64_t want;
    } row[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "1970-01-01T00:00:01.5Z", 1500000000 },
        { "1970-01-01T00:00:00.123456789Z", 123456789 },
        { "1970-01-01T00:00:00.1234567891Z", 123456789 },
        { "1970-01-01T01:30:00+01:30", 0 },
        { "2024-02-29T12:00:00z", SEC(1709208000) },
        { "2000-02-29t00:00:00Z", SEC(951782400) },
        { "2026-11-23T15:00:00-05:00", SEC(1795464000) },
        { "2016-12-31T23:59:60Z", SEC(1483228800) },
    };
    EACH (row, r) {
        uint64_t got = 99;
        CHECK(clock_parse_rfc3339(str_c(r->text), &got), "%s", r->text);
        CHECK_EQ(got, r->want, "%s", r->text);
    }
}

TEST(what_is_no_time_is_refused)
{
    static const char *const row[] = {
        "",
        "2024",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01 00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-32T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-04-31T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00Zx",
        "-024-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
    };
    EACH (row, r) {
        uint64_t got = 99;
        CHECK(!clock_parse_rfc3339(str_c(*r), &got), "%s", *r);
        CHECK_EQ(got, 99, "%s", *r);
    }
}

TEST(text_and_number_go_round)
{
    static const struct {
        int digits;
        const char *want;
    } row[] = {
        { 0, "2026-01-02T03:04:05Z" },
        { 3, "2026-01-02T03:04:05.006Z" },
        { 6, "2026-01-02T03:04:05.006007Z" },
        { 9, "2026-01-02T03:04:05.006007008Z" },
    };
    const uint64_t t = SEC(1767323045) + 6007008;
    EACH (row, r) {
        char text[RFC3339_MAX];
        CHECK_EQ(clock_rfc3339(t, false, r->digits, text), strlen(r->want));
        CHECK_TEXT(text, r->want);
    }
    char text[RFC3339_MAX];
    uint64_t back = 0;
    size_t n = clock_rfc3339(t, true, 9, text);
    CHECK(clock_parse_rfc3339(str_of(text, n), &back), "local: %s", text);
    CHECK_EQ(back, t);
}

TEST(clocks_run)
{
    uint64_t a = clock_now_ns(), b = clock_now_ns();
    CHECK(b >= a);
    CHECK(clock_wall_ns() > SEC(1700000000));
}
