#include "base/str.h"

#include "base/list.h"
#include "test/testing.h"

TEST(comparisons)
{
    CHECK(str_eq(S("a"), S("a")) && !str_eq(S("a"), S("b")) && !str_eq(S("a"), S("ab")));
    CHECK(str_eq((str){ 0 }, S("")));
    CHECK(str_ieq(S("aBc-9"), S("AbC-9")) && !str_ieq(S("[a"), S("{A")), "letters only");
    CHECK(str_cmp(S("a"), S("b")) < 0 && str_cmp(S("b"), S("a")) > 0 && !str_cmp(S("a"), S("a")));
    CHECK(str_cmp(S("a"), S("ab")) < 0 && str_cmp(S("\xff"), S("a")) > 0);
    CHECK(str_starts(S("abc"), S("ab")) && str_starts(S("abc"), S("")));
    CHECK(!str_starts(S("a"), S("ab")) && str_istarts(S("ABc"), S("ab")));
    CHECK(str_ends(S("abc"), S("bc")) && !str_ends(S("c"), S("bc")) && str_ends(S("x"), S("")));
}

TEST(parts)
{
    CHECK_STR(str_skip(S("abc"), 1), "bc");
    CHECK_STR(str_skip(S("abc"), 9), "");
    CHECK_STR(str_take(S("abc"), 2), "ab");
    CHECK_STR(str_take(S("abc"), 9), "abc");
    CHECK_STR(str_trim(S(" \t\r\n a b \v\f")), "a b");
    CHECK_STR(str_trim(S("   ")), "");
    CHECK_EQ(str_find(S("hello"), S("l")), 2);
    CHECK_EQ(str_find(S("hello"), S("lo")), 3);
    CHECK_EQ(str_find(S("hello"), S("x")), -1);
    CHECK_EQ(str_find(S("hello"), S("")), 0);
    CHECK_EQ(str_find((str){ 0 }, S("x")), -1);
    CHECK_EQ(str_find_c(S("a,b"), ','), 1);
    CHECK_EQ(str_find_c((str){ 0 }, ','), -1);
    CHECK(str_contains(S("hello"), S("ell")) && !str_contains(S("hello"), S("z")));
}

TEST(cut_and_next)
{
    str head, tail;
    CHECK(str_cut(S("a=b=c"), '=', &head, &tail));
    CHECK_STR(head, "a");
    CHECK_STR(tail, "b=c");
    CHECK(!str_cut(S("abc"), '=', &head, &tail));
    CHECK_STR(head, "abc");
    CHECK_STR(tail, "");
    static const struct {
        const char *list;
        size_t n;
        const char *joined;
    } row[] = {
        { "a, b ,c", 3, "<a><b><c>" }, { "", 1, "<>" }, { "a,", 2, "<a><>" }, { ",", 2, "<><>" }
    };
    EACH (row, r) {
        str rest = str_c(r->list), item;
        char joined[64] = "";
        size_t n = 0, at = 0;
        while (str_next(&rest, ',', &item)) {
            at += (size_t)snprintf(joined + at, sizeof joined - at, "<" STR_FMT ">", STR_ARG(item));
            n++;
        }
        CHECK_EQ(n, r->n, "%s", r->list);
        CHECK_TEXT(joined, r->joined);
    }
}

TEST(numbers)
{
    static const struct {
        const char *text;
        bool ok_u, ok_i;
        uint64_t u;
        int64_t i;
    } row[] = {
        { "0", true, true, 0, 0 },
        { "42", true, true, 42, 42 },
        { "007", true, true, 7, 7 },
        { "+5", false, true, 0, 5 },
        { "-5", false, true, 0, -5 },
        { "9223372036854775807", true, true, INT64_MAX, INT64_MAX },
        { "9223372036854775808", true, false, (uint64_t)INT64_MAX + 1, 0 },
        { "-9223372036854775808", false, true, 0, INT64_MIN },
        { "-9223372036854775809", false, false, 0, 0 },
        { "18446744073709551615", true, false, UINT64_MAX, 0 },
        { "18446744073709551616", false, false, 0, 0 },
        { "99999999999999999999", false, false, 0, 0 },
        { "", false, false, 0, 0 },
        { "-", false, false, 0, 0 },
        { "+-1", false, false, 0, 0 },
        { " 1", false, false, 0, 0 },
        { "1 ", false, false, 0, 0 },
        { "0x1", false, false, 0, 0 },
        { "1.0", false, false, 0, 0 },
    };
    EACH (row, r) {
        uint64_t u = 99;
        int64_t i = 99;
        CHECK_EQ(str_to_u64(str_c(r->text), &u), r->ok_u, "%s", r->text);
        CHECK_EQ(str_to_i64(str_c(r->text), &i), r->ok_i, "%s", r->text);
        CHECK_EQ(u, r->ok_u ? r->u : 99, "%s", r->text);
        CHECK_EQ(i, r->ok_i ? r->i : 99, "%s", r->text);
    }
}

TEST(booleans_and_truth)
{
    static const struct {
        const char *text;
        int parsed; /* -1 = not one */
        bool truthy;
    } row[] = {
        { "1", 1, true },     { "t", 1, true },       { "true", 1, true }, { "TRUE", 1, true },
        { "tRue", -1, true }, { "y", -1, true },      { "Yes", -1, true }, { " on ", -1, true },
        { "0", 0, false },    { "False", 0, false },  { "no", -1, false }, { "", -1, false },
        { "2", -1, false },   { "truee", -1, false },
    };
    EACH (row, r) {
        bool got = false;
        CHECK_EQ(str_to_bool(str_c(r->text), &got) ? got : -1, r->parsed, "'%s'", r->text);
        CHECK_EQ(str_truthy(str_c(r->text)), r->truthy, "'%s'", r->text);
    }
}

TEST(distance_counts_edits)
{
    static const struct {
        const char *a, *b;
        size_t want;
    } row[] = {
        { "", "", 0 },
        { "abc", "", 3 },
        { "kitten", "sitting", 3 },
        { "redisHost", "redisHost", 0 },
        { "rdeis", "redis", 1 },
        { "ca", "abc", 3 },
        { "flaw", "lawn", 2 },
    };
    EACH (row, r) {
        CHECK_EQ(str_distance(str_c(r->a), str_c(r->b)), r->want, "%s %s", r->a, r->b);
        CHECK_EQ(str_distance(str_c(r->b), str_c(r->a)), r->want, "%s %s", r->b, r->a);
    }
    char big[200];
    memset(big, 'x', sizeof big);
    CHECK_EQ(str_distance(str_of(big, 200), S("")), 64, "cut");
}

TEST(list_keeps_order)
{
    struct list head, node[4];
    list_init(&head);
    CHECK(list_empty(&head) && !list_pop(&head));
    for (size_t i = 0; i < 3; i++)
        list_append(&head, &node[i]);
    list_push(&head, &node[3]);
    list_remove(&node[1]);
    list_remove(&node[1]);
    size_t n = 0;
    LIST_EACH (&head, at)
        n++;
    CHECK_EQ(n, 3);
    CHECK(list_pop(&head) == &node[3]);
    CHECK(list_pop(&head) == &node[0]);
    CHECK(list_pop(&head) == &node[2]);
    CHECK(list_empty(&head));
}
