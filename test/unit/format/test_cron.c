#include "check.h"

#include "base/clock.h"
#include "format/cron.h"

#include <time.h>

static uint64_t at(const char *rfc3339)
{
    uint64_t ns = 0;
    if (!clock_parse_rfc3339(str_c(rfc3339), &ns))
        fail_msg("bad time %s", rfc3339);
    return ns;
}

static void check_next(const char *schedule, const char *after, const char *want, bool local)
{
    struct cron c;
    struct error err = { 0 };
    if (cron_parse(str_c(schedule), &c, &err))
        fail_msg("%s: %s", schedule, err.text);
    uint64_t next = cron_next(&c, at(after), local);
    char text[RFC3339_MAX] = "never";
    if (next)
        (void)clock_rfc3339(next, false, 0, text);
    check_str(str_c(text), str_c(want), schedule);
}

static void next_time_is_found_in_utc(void **state)
{
    static const struct {
        const char *schedule, *after, *want;
    } row[] = {
        { "@every 1s", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01Z" },
        { "@every 1m30s", "2026-01-01T00:00:10Z", "2026-01-01T00:01:40Z" },
        { "@every 300ms", "2026-01-01T00:00:10Z", "2026-01-01T00:00:11Z" },
        { "@every 2500ms", "2026-01-01T00:00:10Z", "2026-01-01T00:00:12Z" },
        { "@hourly", "2026-01-01T10:59:59Z", "2026-01-01T11:00:00Z" },
        { "@hourly", "2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z" },
        { "@daily", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z" },
        { "@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z" },
        { "@monthly", "2026-01-31T05:00:00Z", "2026-02-01T00:00:00Z" },
        { "@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z" },
        { "* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z" },
        { "* * * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z" },
        { "*/15 * * * * *", "2026-01-01T00:00:46Z", "2026-01-01T00:01:00Z" },
        { "5 4 * * *", "2026-01-01T04:05:00Z", "2026-01-02T04:05:00Z" },
        { "0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z" },
        { "0 0 31 4 *", "2026-01-01T00:00:00Z", "never" },
        { "0 12 * * MON-FRI", "2026-01-02T12:00:00Z", "2026-01-05T12:00:00Z" },
        { "0 12 * * 7", "2026-01-02T12:00:00Z", "2026-01-04T12:00:00Z" },
        { "0 0 13 * 5", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z" },
        { "0 0 ? * fri", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z" },
        { "0 0 1 * ?", "2026-01-03T00:00:00Z", "2026-02-01T00:00:00Z" },
        { "0 0 */2 * 1", "2026-01-05T00:00:00Z", "2026-01-07T00:00:00Z" },
        { "10-20/5,40 8 1 jan,Jul *", "2026-01-01T08:20:00Z", "2026-01-01T08:40:00Z" },
        { "10-20/5,40 8 1 jan,Jul *", "2026-01-01T08:40:00Z", "2026-07-01T08:10:00Z" },
        { "50/5 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:50:00Z" },
        { " 0\t0  1 1 * ", "2026-06-01T00:00:00Z", "2027-01-01T00:00:00Z" },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        check_next(row[i].schedule, row[i].after, row[i].want, false);
}

static void malformed_schedules_are_refused(void **state)
{
    static const char *const row[] = {
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "1,,2 * * * *",
        "1- * * * *",
        "-1 * * * *",
        "@every",
        "@every ",
        "@every -1s",
        "@every 0s",
        "@every 1x",
        "@sometimes",
        "* * * jan-foo *",
        "1/99 * * * *",
        "**  * * * *",
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cron c = { .every_ns = 77 };
        struct error err = { 0 };
        if (cron_parse(str_c(row[i]), &c, &err) != -INVALID || c.every_ns != 77)
            fail_msg("\"%s\" taken", row[i]);
        check_that(str_starts(str_c(err.text), S("cron: ")), row[i]);
    }
}

static void errors_name_the_field(void **state)
{
    struct cron c;
    struct error err = { 0 };
    assert_int_equal(cron_parse(S("0 0 1 foo *"), &c, &err), -INVALID);
    assert_string_equal(err.text,
                        "cron: \"foo\" is no month: write 1 to 12, *, a range a-b, a step "
                        "*/n or a list a,b");
}

/* Two zones spelt out, so that no zone files are needed: Berlin's rules and Lord Howe's half hour.
 */
static void local_time_survives_clock_changes(void **state)
{
    assert_int_equal(setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1), 0);
    tzset();
    check_next("0 12 * * *", "2026-01-01T12:00:00Z", "2026-01-02T11:00:00Z", true);
    check_next("0 12 * * *", "2026-07-01T12:00:00Z", "2026-07-02T10:00:00Z", true);
    /* 02:30 on 29 March doesn't exist. */
    check_next("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z", true);
    /* 02:30 on 25 October comes twice. */
    check_next("30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", true);
    check_next("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", true);
    check_next("* * * * *", "2026-10-25T00:59:00Z", "2026-10-25T01:00:00Z", true);
    check_next("0 3 * * *", "2026-10-25T00:59:00Z", "2026-10-25T02:00:00Z", true);

    assert_int_equal(setenv("TZ", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 1), 0);
    tzset();
    check_next("15 2 * * *", "2026-10-03T00:00:00Z", "2026-10-04T15:15:00Z", true);
    check_next("0 2 * * *", "2026-04-04T12:00:00Z", "2026-04-04T15:30:00Z", true);
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_time_is_found_in_utc),
        cmocka_unit_test(malformed_schedules_are_refused),
        cmocka_unit_test(errors_name_the_field),
        cmocka_unit_test(local_time_survives_clock_changes),
    };
    return cmocka_run_group_tests_name("cron", tests, NULL, NULL);
}
