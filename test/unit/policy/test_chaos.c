#include "policy/chaos.h"

#include "test/testing.h"

static struct chaos_fault make(const char *name, enum chaos_kind kind, double percent)
{
    struct chaos_fault f = { .kind = kind, .percent = percent, .for_ns = SEC(10) };
    snprintf(f.name, sizeof f.name, "%s", name);
    if (kind == CHAOS_DELAY)
        f.delay_ns = f.delay_max_ns = MS(50);
    if (kind == CHAOS_ERROR)
        f.status = 503;
    return f;
}

static void put(struct chaos_table *t, const char *name, enum chaos_kind kind, double percent,
                uint64_t now)
{
    struct chaos_fault f = make(name, kind, percent);
    CHECK_OK(chaos_put(t, &f, 0, now, NULL), "%s", name);
}

static const struct chaos_call any_call = { S("orders"), S("GET"), S("/orders/1"), S("a") };

/* ---- words ---- */

TEST(words_become_a_fault_or_say_which_is_wrong)
{
    static const struct {
        const char *name;
        struct chaos_words words;
        const char *wrong; /* part of the error; NULL = it's fine */
    } row[] = {
        { "least", { .name = S("x"), .fault = S("reset") }, NULL },
        { "no name", { .fault = S("reset") }, "needs a name" },
        { "name with a slash", { .name = S("a/b"), .fault = S("reset") }, "letters, digits" },
        { "no fault", { .name = S("x") }, "none of delay, error, reset, blackhole" },
        { "other fault", { .name = S("x"), .fault = S("slow") }, "fault \"slow\"" },
        { "delay", { .name = S("x"), .fault = S("delay"), .delay = S("50ms") }, NULL },
        { "range", { .name = S("x"), .fault = S("delay"), .delay = S("50ms-1s") }, NULL },
        { "range backwards",
          { .name = S("x"), .fault = S("delay"), .delay = S("1s-50ms") },
          "delay \"1s-50ms\"" },
        { "open range", { .name = S("x"), .fault = S("delay"), .delay = S("50ms-") }, "delay" },
        { "no delay", { .name = S("x"), .fault = S("delay") }, "must be such as 50ms" },
        { "delay of a reset",
          { .name = S("x"), .fault = S("reset"), .delay = S("1s") },
          "for the fault delay alone" },
        { "too long a delay",
          { .name = S("x"), .fault = S("delay"), .delay = S("2h") },
          "at most 1h" },
        { "status", { .name = S("x"), .fault = S("error"), .status = S("418") }, NULL },
        { "good status", { .name = S("x"), .fault = S("error"), .status = S("200") }, "status" },
        { "status of a reset",
          { .name = S("x"), .fault = S("reset"), .status = S("500") },
          "for the fault error alone" },
        { "no code", { .name = S("x"), .fault = S("error"), .status = S("17") }, "status \"17\"" },
        { "no percent", { .name = S("x"), .fault = S("reset"), .percent = S("0") }, "percent" },
        { "percents", { .name = S("x"), .fault = S("reset"), .percent = S("100.5") }, "percent" },
        { "percent in words",
          { .name = S("x"), .fault = S("reset"), .percent = S("all") },
          "percent \"all\"" },
        { "for ever", { .name = S("x"), .fault = S("reset"), .length = S("61m") }, "at most 1h" },
        { "component", { .name = S("x"), .fault = S("reset"), .component = S("db") }, NULL },
        { "component of an app",
          { .name = S("x"), .fault = S("reset"), .component = S("db"), .app = S("a") },
          "of components or of calls to apps" },
        { "component in a zone",
          { .name = S("x"), .fault = S("reset"), .component = S("db"), .zone = S("a") },
          "of components or of calls to apps" },
        { "never", { .name = S("x"), .fault = S("reset"), .length = S("0s") }, "for \"0s\"" },
    };
    EACH (row, r) {
        struct chaos_fault f = { 0 };
        struct error err = { 0 };
        CHECK_EQ(chaos_parse(&r->words, &f, &err), r->wrong ? -INVALID : 0, "%s: %s", r->name,
                 err.text);
        CHECK(!r->wrong || strstr(err.text, r->wrong), "%s: %s", r->name, err.text);
        CHECK_TEXT(f.name, r->wrong ? "" : "x", "%s", r->name);
    }
}

TEST(what_is_not_said_has_a_default)
{
    const struct chaos_words words = { .name = S("x"), .fault = S("error") };
    struct chaos_fault f;
    REQUIRE(chaos_parse(&words, &f, NULL) == 0);
    CHECK_EQ(f.status, 503);
    CHECK_EQ(f.for_ns, SEC(60));
    CHECK(f.percent == 100);
}

TEST(a_grpc_code_is_written_by_name_or_number)
{
    static const struct {
        const char *text;
        int want;
        const char *shown;
    } row[] = { { "unavailable", UNAVAILABLE, "UNAVAILABLE" },
                { "RESOURCE_EXHAUSTED", EXHAUSTED, "RESOURCE_EXHAUSTED" },
                { "4", TIMEOUT, "DEADLINE_EXCEEDED" },
                { "502", 502, "502" } };
    EACH (row, r) {
        char text[24];
        const struct chaos_words words = { S("x"), S("error"), .status = str_c(r->text) };
        struct chaos_fault f = { 0 };
        CHECK_OK(chaos_parse(&words, &f, NULL), "%s", r->text);
        CHECK_EQ(f.status, r->want, "%s", r->text);
        CHECK_TEXT(chaos_status_text(f.status, text), r->shown);
    }
}

TEST(json_may_have_numbers_or_text_and_no_other_members)
{
    static const struct {
        const char *name, *json, *wrong;
    } row[] = {
        { "numbers", "{\"name\":\"x\",\"fault\":\"error\",\"status\":500,\"percent\":0.5}", NULL },
        { "text", "{\"name\":\"x\",\"fault\":\"error\",\"status\":\"500\",\"percent\":\"5e-1\"}",
          NULL },
        { "null",
          "{\"name\":\"x\",\"fault\":\"error\",\"status\":500,\"percent\":0.5,\"app\":null}",
          NULL },
        { "unknown", "{\"name\":\"x\",\"fault\":\"reset\",\"apps\":\"y\"}", "member \"apps\"" },
        { "list", "{\"name\":\"x\",\"fault\":\"reset\",\"app\":[]}", "text or a number" },
        { "no object", "[]", "JSON object" },
    };
    EACH (row, r) {
        AUTO(arena_done) struct arena a;
        struct json v;
        struct chaos_fault f = { 0 };
        struct error err = { 0 };
        arena_init(&a, KIB(64));
        REQUIRE(json_parse(str_c(r->json), &v, NULL) == 0);
        CHECK_EQ(chaos_from_json(&a, v, &f, &err), r->wrong ? -INVALID : 0, "%s", r->name);
        CHECK(!r->wrong || strstr(err.text, r->wrong), "%s: %s", r->name, err.text);
        CHECK(r->wrong || (f.status == 500 && f.percent == 0.5), "%s", r->name);
    }
}

/* ---- which calls ---- */

TEST(a_fault_meets_the_calls_that_it_names)
{
    static const struct {
        const char *name, *app, *method, *zone;
        bool want;
    } row[] = {
        { "anything", "", "", "", true },
        { "app", "orders", "", "", true },
        { "other app", "order", "", "", false },
        { "apps", "ord*", "", "", true },
        { "path", "", "/orders/1", "", true },
        { "path without its slash", "", "orders/1", "", true },
        { "prefix of a path", "", "/orders", "", false },
        { "pattern", "", "/orders/*", "", true },
        { "star in the middle", "", "/o*s/1", "", true },
        { "stars", "", "*/1*", "", true },
        { "star for nothing", "", "/orders/1*", "", true },
        { "pattern of others", "", "/o*s/2", "", false },
        { "verb", "", "GET /orders/*", "", true },
        { "other verb", "", "POST /orders/*", "", false },
        { "zone", "", "", "a", true },
        { "other zone", "", "", "b", false },
        { "all of them", "orders", "GET orders/*", "a", true },
        { "all but one", "orders", "GET orders/*", "b", false },
    };
    EACH (row, r) {
        struct chaos_fault f = make("x", CHAOS_RESET, 100);
        snprintf(f.app, sizeof f.app, "%s", r->app);
        snprintf(f.method, sizeof f.method, "%s", r->method);
        snprintf(f.zone, sizeof f.zone, "%s", r->zone);
        CHECK_EQ(chaos_fits(&f, &any_call), r->want, "%s", r->name);
    }
}

TEST(an_instance_without_a_zone_is_in_none)
{
    struct chaos_fault f = make("x", CHAOS_RESET, 100);
    struct chaos_call call = any_call;
    call.zone = S("");
    snprintf(f.zone, sizeof f.zone, "a");
    CHECK(!chaos_fits(&f, &call));
}

TEST(a_fault_is_of_components_or_of_apps)
{
    static const struct {
        const char *component, *method;
        struct chaos_call call;
        bool want;
    } row[] = {
        { "db", "", { .component = S("db"), .path = S("get") }, true },
        { "d*", "get", { .component = S("db"), .path = S("get") }, true },
        { "*", "write", { .component = S("db"), .path = S("get") }, false },
        { "bus", "", { .component = S("db"), .path = S("get") }, false },
        { "", "", { .component = S("db"), .path = S("get") }, false },
        { "*", "", { .app = S("db"), .path = S("/get") }, false },
    };
    EACH (row, r) {
        struct chaos_fault f = make("x", CHAOS_RESET, 100);
        snprintf(f.component, sizeof f.component, "%s", r->component);
        snprintf(f.method, sizeof f.method, "%s", r->method);
        CHECK_EQ(chaos_fits(&f, &r->call), r->want, "row %td", r - row);
    }
}

/* ---- the table ---- */

TEST(a_fault_ends_by_itself)
{
    struct chaos_table t = { 0 };
    struct chaos_effect e;
    struct chaos_fault ended;
    put(&t, "x", CHAOS_RESET, 100, SEC(5));
    CHECK(chaos_meet(&t, &any_call, SEC(5), 1, &e));
    CHECK(chaos_by_id(&t, e.by.id, SEC(15) - 1) != NULL);
    CHECK(chaos_meet(&t, &any_call, SEC(15) - 1, 1, &e));
    CHECK(!chaos_meet(&t, &any_call, SEC(15), 1, &e));
    CHECK(chaos_by_id(&t, 1, SEC(15)) == NULL);
    CHECK(!chaos_expired(&t, SEC(15) - 1, &ended));
    REQUIRE(chaos_expired(&t, SEC(15), &ended));
    CHECK_TEXT(ended.name, "x");
    CHECK_EQ(t.n, 0);
    CHECK(!chaos_expired(&t, SEC(20), &ended));
}

TEST(the_same_name_takes_the_place_and_begins_anew)
{
    struct chaos_table t = { 0 };
    struct chaos_effect e;
    put(&t, "x", CHAOS_RESET, 100, 0);
    put(&t, "x", CHAOS_ERROR, 100, SEC(9));
    CHECK_EQ(t.n, 1);
    REQUIRE(chaos_meet(&t, &any_call, SEC(18), 1, &e));
    CHECK_EQ(e.by.fault.kind, CHAOS_ERROR);
    CHECK(chaos_by_id(&t, 1, SEC(9)) == NULL);
}

TEST(there_is_a_most_and_what_is_taken_makes_room)
{
    struct chaos_table t = { 0 };
    struct error err = { 0 };
    char name[16];
    for (int i = 0; i < CHAOS_MAX; i++) {
        snprintf(name, sizeof name, "f%d", i);
        put(&t, name, CHAOS_DELAY, 100, 0);
    }
    struct chaos_fault one_more = make("more", CHAOS_DELAY, 100);
    CHECK_EQ(chaos_put(&t, &one_more, 0, 0, &err), -EXHAUSTED);
    CHECK(strstr(err.text, "32 faults already"), "%s", err.text);
    CHECK_EQ(chaos_take(&t, S("nobody")), 0);
    CHECK_EQ(chaos_take(&t, S("f7")), 1);
    CHECK_OK(chaos_put(&t, &one_more, 0, 0, NULL));
    CHECK_EQ(chaos_take(&t, S("")), CHAOS_MAX);
    CHECK_EQ(t.n, 0);
}

/* ---- dice ---- */

TEST(about_as_many_calls_as_the_percentage_says_meet_it)
{
    static const double percent[] = { 0.5, 20, 50, 99 };
    enum { CALLS = 20000 };
    EACH (percent, p) {
        struct chaos_table t = { 0 };
        struct chaos_effect e;
        uint64_t seed = 42;
        int n = 0;
        put(&t, "x", CHAOS_RESET, *p, 0);
        for (int i = 0; i < CALLS; i++, seed = seed * 6364136223846793005u + 1442695040888963407u)
            n += chaos_meet(&t, &any_call, 1, seed, &e);
        double want = *p / 100 * CALLS;
        CHECK(n > 0.8 * want - 10 && n < 1.2 * want + 10, "%g %%: %d, seed 42", *p, n);
        CHECK_EQ(t.v[0].injected, n);
    }
}

TEST(the_same_dice_fall_the_same_way)
{
    struct chaos_table t = { 0 };
    struct chaos_effect e, again;
    put(&t, "x", CHAOS_RESET, 50, 0);
    for (uint64_t seed = 0; seed < 100; seed++)
        CHECK_EQ(chaos_meet(&t, &any_call, 1, seed, &e),
                 chaos_meet(&t, &any_call, 1, seed, &again));
}

TEST(a_range_of_delays_is_used_from_end_to_end)
{
    struct chaos_table t = { 0 };
    struct chaos_fault f = make("x", CHAOS_DELAY, 100);
    struct chaos_effect e;
    uint64_t least = UINT64_MAX, most = 0;
    f.delay_max_ns = MS(150);
    REQUIRE(chaos_put(&t, &f, 0, 0, NULL) == 0);
    for (uint64_t seed = 0; seed < 2000; seed++) {
        REQUIRE(chaos_meet(&t, &any_call, 1, seed << 32, &e));
        least = min_u64(least, e.delay_ns);
        most = e.delay_ns > most ? e.delay_ns : most;
    }
    CHECK(least >= MS(50) && least < MS(55), "%llu", (unsigned long long)least);
    CHECK(most <= MS(150) && most > MS(145), "%llu", (unsigned long long)most);
}

TEST(delays_add_up_and_one_fault_ends_the_call)
{
    struct chaos_table t = { 0 };
    struct chaos_effect e;
    put(&t, "end", CHAOS_ERROR, 100, 0);
    put(&t, "other", CHAOS_RESET, 100, 0);
    put(&t, "d1", CHAOS_DELAY, 100, 0);
    put(&t, "d2", CHAOS_DELAY, 100, 0);
    REQUIRE(chaos_meet(&t, &any_call, 1, 7, &e));
    CHECK_EQ(e.delay_ns, MS(100));
    CHECK(e.ends && e.hit[CHAOS_ERROR] && e.hit[CHAOS_DELAY] && !e.hit[CHAOS_RESET]);
    CHECK_TEXT(e.by.fault.name, "end");
}
