#include "proa.h"
#include "test/testing.h"

static const char TEXT[] =
    "{\"order\":{\"items\":[{\"sku\":\"a\\u00e9\\n\",\"n\":3},{\"sku\":\"b\"}],"
    "\"total\":12.5,\"big\":9007199254740993,\"\":{\"x\":1},\"nul\":null}}";
enum { LEN = sizeof TEXT - 1 };

TEST(paths_lead_to_strings)
{
    static const struct {
        const char *path, *want; /* NULL: none */
    } row[] = {
        { "order.items.0.sku", "a\xc3\xa9\n" },
        { "order.items.1.sku", "b" },
        { "order.items.2.sku", NULL },
        { "order.items.-1.sku", NULL },
        { "order.items.x.sku", NULL },
        { "order.items.99999999999999999999.sku", NULL },
        { "order.items", NULL },
        { "order.total", NULL },
        { "order.nul", NULL },
        { "order.items.0.sku.more", NULL },
        { "nothing", NULL },
        { "", NULL },
        { ".", NULL },
        { "..", NULL },
        { "order.", NULL },
        { ".order", NULL },
        { "order..items", NULL },
    };
    EACH (row, r) {
        char out[32] = "canary";
        bool ok = proa_json_str(TEXT, LEN, r->path, out, sizeof out);
        CHECK_EQ(ok, r->want != NULL, "%s", r->path);
        CHECK_TEXT(out, r->want ? r->want : "canary", "%s", r->path);
    }
}

TEST(strings_that_do_not_fit_are_left_out)
{
    char out[6] = "canar";
    CHECK(proa_json_str("\"12345\"", 7, "", out, 6));
    CHECK_TEXT(out, "12345");
    CHECK(!proa_json_str("\"123456\"", 8, "", out, 6));
    CHECK_TEXT(out, "12345");
    CHECK(!proa_json_str("\"\"", 2, "", out, 0));
    CHECK(proa_json_str("\"\"", 2, "", out, 1));
}

TEST(numbers_and_raw_values)
{
    int64_t n = 77;
    CHECK(proa_json_int(TEXT, LEN, "order.items.0.n", &n) && n == 3);
    CHECK(proa_json_int(TEXT, LEN, "order.big", &n) && n == INT64_C(9007199254740993));
    n = 77;
    CHECK(!proa_json_int(TEXT, LEN, "order.total", &n));
    CHECK(!proa_json_int(TEXT, LEN, "order.items.0.sku", &n));
    CHECK(!proa_json_int("99999999999999999999", 20, "", &n));
    CHECK_EQ(n, 77);
    const char *raw = NULL;
    size_t len = 0;
    CHECK(proa_json_raw(TEXT, LEN, "order.total", &raw, &len));
    CHECK(str_eq(str_of(raw, len), S("12.5")));
    CHECK(raw > TEXT && raw < TEXT + LEN, "it points into the text");
}

TEST(no_text_makes_a_reader_crash)
{
    static const char *const bad[] = {
        "", "{", "[", "\"", "nul", "{\"a\":}", "\xff", "[1,]", "{}x"
    };
    char out[8];
    int64_t n;
    const char *raw;
    size_t len;
    EACH (bad, b) {
        CHECK(!proa_json_str(*b, strlen(*b), "a", out, sizeof out));
        CHECK(!proa_json_int(*b, strlen(*b), "a.b.0", &n));
        CHECK(!proa_json_raw(*b, strlen(*b), "", &raw, &len), "%s", *b);
    }
    for (size_t i = 0; i < LEN; i++) /* each prefix */
        CHECK(!proa_json_raw(TEXT, i, "order", &raw, &len), "%zu", i);
}

TEST(quoting_fits_or_is_empty)
{
    static const struct {
        const char *text;
        size_t size;
        const char *want;
    } row[] = {
        { "plain", 32, "\"plain\"" },
        { "a\"b\\c\n\t\x01", 32, "\"a\\\"b\\\\c\\n\\t\\u0001\"" },
        { "gr\xc3\xbc\xc3\x9f", 32, "\"gr\xc3\xbc\xc3\x9f\"" },
        { "12345", 8, "\"12345\"" },
        { "123456", 8, "\"\"" },
        { "", 3, "\"\"" },
        { "x", 3, "\"\"" },
    };
    EACH (row, r) {
        char out[33];
        memset(out, '#', sizeof out);
        CHECK(proa_json_quote(r->text, out, r->size) == out);
        CHECK_TEXT(out, r->want);
        for (size_t i = r->size; i < sizeof out; i++)
            CHECK_EQ(out[i], '#', "past the end of %zu", r->size);
    }
    char tiny[2] = "#";
    CHECK(proa_json_quote("x", tiny, 2) == tiny);
    CHECK_TEXT(tiny, "#");
}

TEST(calls_outside_of_fibers_say_what_to_do)
{
    struct proa_options o = { .app_id = "lonely" };
    struct proa *p = proa_new(&o);
    REQUIRE(p);
    PROA_RESULT res = { 0 };
    CHECK_EQ(proa_state_get(p, "s", "k", &res), -9 /* PRECONDITION */);
    CHECK(str_contains(str_c(res.error), S("proa_on_start")), "%s", res.error);
    CHECK_EQ(proa_spawn(p, NULL, NULL), -9);
    CHECK(!proa_sleep_ms(1));
    CHECK_TEXT(proa_app_id(p), "lonely");
    proa_free(p);
    proa_free(NULL);
}

static enum proa_verdict on_event(const struct proa_event *e, void *arg)
{
    return PROA_DONE;
}

static void on_call(struct proa_request *r, void *arg)
{
}

TEST(registering_has_limits_and_survives_without_memory)
{
    struct proa_options o = { .app_id = "a" };
    struct proa_topic_options dead = { .dead_letter = "d" };
    FAIL_EACH_ALLOC(n)
    {
        struct proa *p = proa_new(&o);
        if (!p)
            continue;
        int r = proa_method(p, "m", on_call, NULL);
        CHECK(r == 0 || r == -PROA_EXHAUSTED);
        r = proa_topic(p, "p", "t", on_event, NULL, &dead);
        CHECK(r == 0 || r == -PROA_EXHAUSTED);
        proa_free(p);
    }
    struct proa *p = proa_new(&o);
    REQUIRE(p);
    int ok = 0, full = 0;
    for (int i = 0; i < 300; i++) {
        ok += proa_method(p, "m", on_call, NULL) == 0;
        full += proa_topic(p, "p", "t", on_event, NULL, NULL) == -PROA_EXHAUSTED;
    }
    CHECK_EQ(ok, 256);
    CHECK_EQ(full, 44);
    proa_free(p);
}
