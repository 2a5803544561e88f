/* Queries of the state API as messages for a pluggable store. */
#include "components/pluggable/grpc/query.h"
#include "test/testing.h"

static int convert(const char *text, struct arena *a, WIRE(Query) * q, struct error *err)
{
    arena_init(a, MIB(1));
    return plugin_query_to(str_c(text), a, q, err);
}

TEST(query_keeps_filter_texts_sort_and_page)
{
    WIRE(Query) q;
    struct arena a;
    struct error err = { 0 };
    CHECK_OK(convert("{\"filter\":{\"EQ\":{\"a\": 1.0},\"A\\u004eD\":[ ]},"
                     "\"sort\":[{\"key\":\"x\"},{\"key\":\"y\",\"order\":\"DESC\"}],"
                     "\"page\":{\"limit\":7,\"token\":\"t\"}}",
                     &a, &q, &err),
             "%s", err.text);
    CHECK_EQ(q.n_filter, 2);
    CHECK_STR(str_c(q.filter[0]->key), "EQ");
    CHECK_STR(wire_slice(q.filter[0]->value->value), "{\"a\": 1.0}");
    CHECK_STR(str_c(q.filter[1]->key), "AND");
    CHECK_STR(wire_slice(q.filter[1]->value->value), "[ ]");
    CHECK_EQ(q.n_sort, 2);
    CHECK_EQ(q.sort[0]->order, 0);
    CHECK_STR(str_c(q.sort[1]->key), "y");
    CHECK_EQ(q.sort[1]->order, 1);
    CHECK_EQ(q.pagination->limit, 7);
    CHECK_STR(str_c(q.pagination->token), "t");
    arena_done(&a);
}

TEST(empty_query_asks_for_everything)
{
    WIRE(Query) q;
    struct arena a;
    struct error err = { 0 };
    CHECK_OK(convert("{}", &a, &q, &err), "%s", err.text);
    CHECK_EQ(q.n_filter + q.n_sort + (size_t)q.pagination->limit, 0);
    arena_done(&a);
}

TEST(bad_queries_say_what_is_wrong)
{
    static const struct {
        const char *text, *want;
    } row[] = {
        { "", "query: unexpected end" },
        { "[]", "expected an object, found array" },
        { "{\"sort\":[{}]}", "needs a key" },
        { "{\"page\":{\"limit\":\"1\"}}", "page.limit" },
        { "{\"page\":{\"token\":1}}", "page.token" },
    };
    EACH (row, r) {
        WIRE(Query) q;
        struct arena a;
        struct error err = { 0 };
        CHECK_EQ(convert(r->text, &a, &q, &err), -INVALID, "%s", r->text);
        CHECK(str_contains(str_c(err.text), str_c(r->want)), "%s: %s", r->text, err.text);
        arena_done(&a);
    }
}

TEST(queries_without_memory_are_errors)
{
    FAIL_EACH_ALLOC(n)
    {
        WIRE(Query) q;
        struct arena a;
        struct error err = { 0 };
        int r = convert("{\"filter\":{\"EQ\":{}},\"sort\":[{\"key\":\"x\"}]}", &a, &q, &err);
        CHECK(r == 0 || (r == -EXHAUSTED && err.text[0]), "allocation %zu", n);
        arena_done(&a);
    }
}
