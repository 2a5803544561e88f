#include "check.h"

#include "base/clock.h"
#include "format/regex.h"

static struct arena arena;

static int start(void **state)
{
    arena_init(&arena, MIB(64));
    return 0;
}

static int finish(void **state)
{
    arena_done(&arena);
    return 0;
}

static bool matches(const char *pattern, str text)
{
    arena_reset(&arena);
    const char *why = NULL;
    struct regex *re = regex_compile(&arena, str_c(pattern), &why);
    if (!re)
        fail_msg("%s: %s", pattern, why);
    void *scratch = arena_alloc(&arena, regex_scratch(re));
    assert_non_null(scratch);
    return regex_match(re, text, scratch);
}

static void replaces_each_leftmost_longest_match(void **state)
{
    static const struct {
        const char *pattern, *text, *with, *want;
    } row[] = {
        { "b", "abcb", "-", "a-c-" },
        { "x", "abc", "-", "abc" },
        { "orders/.+", "orders/17/items", "orders/", "orders/" },
        { "/orders/[^/]+", "/orders/17/x/orders/18", "/orders/{id}", "/orders/{id}/x/orders/{id}" },
        { "a|ab", "abab", "-", "--" },
        { "a+", "baaab", "<$1>", "b<$1>b" },
        { "^a", "aaa", "-", "-aa" },
        { "a$", "aaa", "-", "aa-" },
        { "\\d+", "a1b22c333", "#", "a#b#c#" },
        { "x*", "abc", "-", "-a-b-c-" },
        { "b*", "abc", "-", "-a-c-" },
        { "", "ab", "-", "-a-b-" },
        { "a.*z", "abzcz-", "", "-" },
        { "\\bcat\\b", "cat concat cat", "dog", "dog concat dog" },
        { "ü", "aüb", "ue", "aueb" },
        { "", "üx", "-", "-ü-x-" },
        { "foo", "", "-", "" },
        { "(ab|abcd)(cde)?", "abcde", "-", "-" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct buf out;
        const char *why = NULL;
        arena_reset(&arena);
        buf_init(&out, 1000);
        struct regex *re = regex_compile(&arena, str_c(row[i].pattern), &why);
        assert_non_null(re);
        regex_replace(re, str_c(row[i].text), str_c(row[i].with),
                      arena_alloc(&arena, regex_scratch(re)), &out);
        if (!str_eq(buf_str(&out), str_c(row[i].want)))
            fail_msg("%s in %s: " STR_FMT, row[i].pattern, row[i].text, STR_ARG(buf_str(&out)));
        buf_done(&out);
    }
}

static void patterns_match_what_they_should(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool want;
    } row[] = {
        { "", "", true },
        { "", "x", true },
        { "b", "abc", true },
        { "x", "abc", false },
        { "^b", "abc", false },
        { "^a.c$", "abc", true },
        { "^a.c$", "a\nc", false },
        { "(?s)^a.c$", "a\nc", true },
        { "a|b|c", "xxc", true },
        { "^(a|b|c)$", "d", false },
        { "^(|a)b$", "b", true },
        { "^a*$", "aaaa", true },
        { "^a*$", "aab", false },
        { "^a+$", "", false },
        { "^a+b+$", "aabb", true },
        { "^ab?c$", "ac", true },
        { "^ab?c$", "abbc", false },
        { "^(ab)*$", "ababab", true },
        { "^(ab)*$", "ababa", false },
        { "^(a*)*$", "aaa", true },
        { "^(a*)+b$", "b", true },
        { "^(a|)*c$", "aac", true },
        { "^a{3}$", "aaa", true },
        { "^a{3}$", "aa", false },
        { "^a{3}$", "aaaa", false },
        { "^a{2,}$", "aaaa", true },
        { "^a{2,}$", "a", false },
        { "^a{1,3}$", "aaa", true },
        { "^a{1,3}$", "aaaa", false },
        { "^a{0,2}b$", "b", true },
        { "^a{0}b$", "b", true },
        { "^(ab){2}$", "abab", true },
        { "^(a|bc){2,3}$", "abca", true },
        { "^a{,2}$", "a{,2}", true },
        { "^a{x", "a{x", true },
        { "^a+?b*?$", "aab", true },
        { "^[abc]+$", "cab", true },
        { "^[^abc]+$", "xyz", true },
        { "^[^abc]+$", "xaz", false },
        { "^[a-f0-9]+$", "deadbeef01", true },
        { "^[]a]+$", "a]a", true },
        { "^[^]a]+$", "b", true },
        { "^[a-]+$", "a-a", true },
        { "^[-a]+$", "a-a", true },
        { "^[\\]\\\\]+$", "]\\", true },
        { "^[\\d\\s]+$", "1 2", true },
        { "^[[:alpha:][:digit:]]+$", "a1", true },
        { "^[[:^alpha:]]+$", "1-", true },
        { "^[^[:space:]]+$", "a b", false },
        { "^\\d+$", "123", true },
        { "^\\D+$", "abc", true },
        { "^\\w+\\W\\w+$", "ab-cd", true },
        { "^\\S+$", "a b", false },
        { "\\bfoo\\b", "a foo b", true },
        { "\\bfoo\\b", "afoo", false },
        { "\\Boo\\b", "foo", true },
        { "\\Aa", "ba", false },
        { "a\\z", "a\n", false },
        { "^b$", "a\nb\nc", false },
        { "(?m)^b$", "a\nb\nc", true },
        { "(?i)hello", "say HeLLo", true },
        { "(?i)[a-c]+z", "ABCZ", true },
        { "(?i:a)b", "Ab", true },
        { "(?i:a)b", "AB", false },
        { "((?i)a)b", "AB", false },
        { "(?i)a(?-i)b", "AB", false },
        { "(?:ab)+", "abab", true },
        { "(?P<year>\\d{4})", "in 2026", true },
        { "\\x41\\x{1F6F6}", "A🛶", true },
        { "^.$", "é", true },
        { "^..$", "é", false },
        { "^[à-ü]+$", "éè", true },
        { "^[^a]$", "é", true },
        { "\\.\\*\\(\\)", ".*()", true },
        { "\\t\\n\\r", "\t\n\r", true },
        { "a|^$", "", true },
        { "x*", "aaa", true },
        { "^(foo|foobar)baz$", "foobarbaz", true },
        { "^(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (matches(row[i].pattern, str_c(row[i].text)) != row[i].want)
            fail_msg("/%s/ on \"%s\": not %d", row[i].pattern, row[i].text, row[i].want);
}

static void malformed_patterns_are_refused(void **state)
{
    static const char *const row[] = {
        "(",
        ")",
        "a)",
        "(a",
        "[",
        "[a",
        "[]",
        "*",
        "+a",
        "?",
        "a**",
        "a{2}{3}",
        "(?=a)",
        "(?x)",
        "(?P<a",
        "\\",
        "\\1",
        "\\pL",
        "\\q",
        "[z-a]",
        "a{1001}",
        "a{5,2}",
        "\\xg1",
        "\\x{110000}",
        "[[:x:]]",
        "\xff",
        "[\xff]",
        "(?i",
        "((a{100}){100}){100}",
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        const char *why = NULL;
        arena_reset(&arena);
        if (regex_compile(&arena, str_c(row[i]), &why) || !why || !*why)
            fail_msg("/%s/ taken", row[i]);
    }
}

static void limits_hold(void **state)
{
    char text[REGEX_OPS_MAX + 2];
    const char *why = NULL;
    memset(text, '(', sizeof text);
    arena_reset(&arena);
    assert_null(regex_compile(&arena, str_of(text, REGEX_DEPTH_MAX + 1), &why));
    assert_non_null(strstr(why, "nested"));
    memset(text, 'a', sizeof text);
    assert_null(regex_compile(&arena, str_of(text, sizeof text), &why));
    assert_non_null(strstr(why, "longer"));

    AUTO(arena_done) struct arena tiny;
    arena_init(&tiny, 100);
    assert_null(regex_compile(&tiny, S("a"), &why));
}

static void hostile_pattern_takes_linear_time(void **state)
{
    static char text[20000];
    memset(text, 'a', sizeof text);
    uint64_t begin = clock_now_ns();
    assert_false(matches("^(a|a)*(a|a)*(a?){20}a{20}b$", str_of(text, sizeof text)));
    assert_true(clock_now_ns() - begin < SEC(10)); /* 2^20000 steps otherwise */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_what_they_should),
        cmocka_unit_test(replaces_each_leftmost_longest_match),
        cmocka_unit_test(malformed_patterns_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(hostile_pattern_takes_linear_time),
    };
    return cmocka_run_group_tests_name("regex", tests, start, finish);
}
