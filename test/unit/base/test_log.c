#include "base/log.h"

#include "test/testing.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

static int ends[2];

static void capture(bool json, enum log_level level)
{
    if (!ends[0]) {
        REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    }
    log_setup(&(struct log_config){ .level = level,
                                    .json = json,
                                    .fd = ends[1],
                                    .app_id = "my app",
                                    .instance = "host-1",
                                    .version = "1.0" });
}

/* What was logged since the last call, without the time's digits. */
static str captured(void)
{
    static char line[65536];
    ssize_t n = read(ends[0], line, sizeof line);
    str s = str_of(line, n > 0 ? (size_t)n : 0);
    ptrdiff_t at = str_find(s, S("T")); /* 2026-01-02T… */
    return at < 0 ? s : str_skip(s, (size_t)at);
}

static str after_time(str s)
{
    ptrdiff_t at = str_find(s, S("Z\""));
    return at < 0 ? s : str_skip(s, (size_t)at + 2);
}

TEST(text_lines_are_those_of_logrus)
{
    capture(false, LOG_INFO);
    log_info("dapr.runtime", "hello %d", 5);
    CHECK_STR(after_time(captured()),
              " level=info msg=\"hello 5\" app_id=\"my app\" instance=host-1 scope=dapr.runtime "
              "type=log ver=1.0\n");
    static const char *const kv[] = { "key", "plain", "other", "with space", NULL };
    log_fields(LOG_WARN, "s", kv, "tab\there \"quoted\" \\ \x01 \xff \xc3\xa9 line\nend");
    CHECK_STR(
        after_time(captured()),
        " level=warning msg=\"tab\\there \\\"quoted\\\" \\\\ \\x01 \\xff \xc3\xa9 line\\nend\""
        " app_id=\"my app\" key=plain other=\"with space\" instance=host-1 scope=s type=log "
        "ver=1.0\n");
}

TEST(json_lines_are_json)
{
    capture(true, LOG_INFO);
    log_error("s", "a \"b\" \x02 \xff\xc3 \xf0\x9f\x98\x80 \xed\xa0\x80");
    CHECK_STR(
        after_time(captured()),
        ",\"level\":\"error\",\"msg\":\"a \\\"b\\\" \\u0002 \\ufffd\\ufffd \xf0\x9f\x98\x80 "
        "\\ufffd\\ufffd\\ufffd\",\"app_id\":\"my app\",\"instance\":\"host-1\",\"scope\":\"s\","
        "\"type\":\"log\",\"ver\":\"1.0\"}\n");
    char line[4096];
    log_error("s", "x");
    ssize_t n = read(ends[0], line, sizeof line);
    CHECK(n > 10 && memcmp(line, "{\"time\":\"20", 11) == 0, "%.*s", (int)n, line);
}

TEST(level_of_the_nearest_scope_counts)
{
    capture(false, LOG_INFO);
    CHECK(log_enabled(LOG_INFO, "a.b") && !log_enabled(LOG_DEBUG, "a.b"));
    CHECK(log_set_scope("a", LOG_DEBUG));
    CHECK(log_set_scope("a.b.c", LOG_ERROR));
    CHECK(log_enabled(LOG_DEBUG, "a"));
    CHECK(log_enabled(LOG_DEBUG, "a.b"));
    CHECK(!log_enabled(LOG_WARN, "a.b.c.d"), "the longest name wins");
    CHECK(!log_enabled(LOG_DEBUG, "ab"), "not under a");
    CHECK(log_set_scope("a", LOG_FATAL), "and may be changed");
    CHECK(!log_enabled(LOG_ERROR, "a.b"));
    log_info("a", "not written");
    CHECK_STR(captured(), "");
    static const char *const name[] = { "s3",  "s4",  "s5",  "s6",  "s7",  "s8",  "s9",
                                        "s10", "s11", "s12", "s13", "s14", "s15", "s16" };
    EACH (name, n)
        CHECK(log_set_scope(*n, LOG_INFO));
    CHECK(!log_set_scope("one too many", LOG_INFO));
}

TEST(levels_are_parsed)
{
    enum log_level level = LOG_FATAL;
    CHECK(log_parse_level(S("DeBug"), &level) && level == LOG_DEBUG);
    CHECK(log_parse_level(S("warn"), &level) && level == LOG_WARN);
    CHECK(!log_parse_level(S("verbose"), &level) && level == LOG_WARN);
}

TEST(long_text_is_cut_but_the_line_is_whole)
{
    capture(true, LOG_INFO);
    char big[6000];
    memset(big, '\x01', sizeof big - 1); /* six bytes each when escaped */
    big[sizeof big - 1] = 0;
    log_info("s", "%s", big);
    str s = captured();
    CHECK(str_ends(s, S("\"}\n")));
    CHECK(s.n > 4095 * 6 && s.n < 4095 * 6 + 500, "%zu", s.n);
}

TEST(lost_lines_are_counted)
{
    capture(false, LOG_INFO);
    uint64_t before = log_lost();
    mem_fail_at(1);
    log_info("s", "no memory for this");
    mem_fail_at(0);
    log_setup(&(struct log_config){ .level = LOG_INFO, .fd = -1 });
    log_info("s", "nowhere to go");
    CHECK_EQ(log_lost() - before, 2);
}

TEST(rate_limit_lets_one_through_and_counts_the_rest)
{
    struct log_limit l = { 0 };
    uint64_t missed = 99;
    CHECK(log_allow(&l, SEC(3600), &missed));
    CHECK_EQ(missed, 0);
    for (int i = 0; i < 5; i++)
        CHECK(!log_allow(&l, SEC(3600), &missed));
    atomic_store(&l.next_ns, 0);
    CHECK(log_allow(&l, SEC(3600), &missed));
    CHECK_EQ(missed, 5);
}
