#include "page_fixture.h"

#include <math.h>

/* What sidecars tell of overload, instances, breakers, zones and faults, and what the page makes
 * of it. */

static void give(struct fixture *f, size_t which, const char *feed)
{
    CHECK_OK(fixture_sample(f, which, feed));
}

static struct json item(struct fixture *f, const char *list, size_t i)
{
    return json_at(json_get(f->feed, str_c(list)), i);
}

static size_t count(struct fixture *f, const char *list)
{
    return json_count(json_get(f->feed, str_c(list)));
}

static void check_number(struct json v, const char *name, double want)
{
    double d;
    REQUIRE(json_double(json_get(v, str_c(name)), &d), "%s", name);
    CHECK(fabs(d - want) < 0.002, "%s: %g, wanted %g", name, d, want);
}

static void check_text(struct json v, const char *name, const char *want)
{
    CHECK(json_eq_str(json_get(v, str_c(name)), str_c(want)), "%s: %.*s, wanted %s", name,
          (int)json_get(v, str_c(name)).raw.n, json_get(v, str_c(name)).raw.p, want);
}

#define OVERLOAD(pid, limit, admitted, low, load)                                                  \
    "{\"pid\":" #pid ",\"overload\":{\"limit\":" #limit ",\"inflight\":7,\"queued\":2,"            \
    "\"admitted\":" #admitted ",\"load\":" #load ",\"shed\":{\"critical\":0,\"low\":" #low "},"    \
    "\"reasons\":{\"limit\":" #low ",\"unheard-of\":5}}}"

TEST(overload_of_an_apps_instances_adds_up_and_counts_become_rates)
{
    struct fixture f;
    fixture_begin(&f);
    give(&f, 0, OVERLOAD(1, 20, 0, 0, 100));
    give(&f, 1, OVERLOAD(2, 30, 0, 0, 950));
    fixture_tick(&f);
    give(&f, 0, OVERLOAD(1, 20, 100, 8, 100));
    give(&f, 1, OVERLOAD(2, 30, 60, 4, 950));
    fixture_tick(&f);
    CHECK_EQ(count(&f, "overload"), 1, "stock tells of none");
    struct json o = item(&f, "overload", 0);
    check_text(o, "app", "orders");
    check_number(o, "limit", 50);
    check_number(o, "inflight", 14);
    check_number(o, "queued", 4);
    check_number(o, "load", 0.95);
    check_number(o, "admitted_rps", 80);
    check_number(o, "shed_rps", 6);
    check_number(json_get(o, S("shed")), "low", 6);
    check_number(json_get(o, S("shed")), "background", 0);
    check_number(json_get(o, S("reasons")), "limit", 6);
    CHECK_EQ(json_count(json_get(o, S("reasons"))), 5, "a later sidecar's is passed over");
    fixture_end(&f);
}

TEST(a_restart_takes_nothing_back_and_a_silent_sidecar_counts_no_more)
{
    struct fixture f;
    fixture_begin(&f);
    give(&f, 0, OVERLOAD(1, 20, 1000, 0, 0));
    fixture_tick(&f);
    fixture_tick(&f);
    fixture_tick(&f);
    give(&f, 0, OVERLOAD(9, 20, 30, 0, 0)); /* another process */
    fixture_tick(&f);
    check_number(item(&f, "overload", 0), "admitted_rps", 15);
    give(&f, 0, OVERLOAD(9, 20, 10, 0, 0)); /* fell without a new number */
    fixture_tick(&f);
    check_number(item(&f, "overload", 0), "admitted_rps", 20);
    for (int i = 0; i < 4; i++)
        fixture_tick(&f);
    CHECK_EQ(count(&f, "overload"), 0, "nobody has answered for four seconds");
    fixture_end(&f);
}

#define PEER(address, state, latency, calls, failed)                                               \
    "{\"app\":\"stock\",\"address\":\"" address "\",\"zone\":\"a\",\"state\":\"" state             \
    "\",\"inflight\":3,\"latency_ms\":" #latency ",\"calls\":" #calls ",\"failed\":" #failed "}"

TEST(instances_are_named_and_the_worst_that_a_caller_sees_is_their_state)
{
    struct fixture f;
    fixture_begin(&f);
    give(&f, 0, "{\"pid\":1,\"instances\":[" PEER("127.0.0.1:5003", "ok", 2, 0, 0) "]}");
    fixture_tick(&f);
    give(&f, 0,
         "{\"pid\":1,\"instances\":[" PEER("127.0.0.1:5003", "ok", 2, 6, 0) "," PEER(
             "10.0.0.7:5003", "slow-start", 0, 0, 0) "]}");
    give(&f, 1, "{\"pid\":2,\"instances\":[" PEER("127.0.0.1:5003", "ejected", 5, 2, 2) "]}");
    fixture_tick(&f);
    REQUIRE(count(&f, "peers") == 2);
    struct json p = item(&f, "peers", 0), far = item(&f, "peers", 1);
    check_text(p, "name", "stock-1");
    check_text(p, "state", "ejected");
    check_number(p, "callers", 2);
    check_number(p, "agree", 1);
    check_number(p, "inflight", 6);
    check_number(p, "rps", 4);
    check_number(p, "error_rate", 0.25);
    check_number(p, "latency_ms", (2 * 7 + 5 * 3) / 10.0);
    check_text(far, "name", "");
    check_text(far, "state", "slow-start");
    CHECK(json_is_null(json_get(far, S("latency_ms"))), "not measured yet");
    CHECK(json_is_null(json_get(far, S("error_rate"))));
    give(&f, 0, "{\"pid\":1,\"instances\":[]}");
    give(&f, 1, "{\"pid\":2,\"instances\":[]}");
    fixture_tick(&f);
    CHECK_EQ(count(&f, "peers"), 0, "it has gone");
    give(&f, 0, "{\"pid\":1,\"instances\":[" PEER("127.0.0.1:5003", "ok", 2, 4, 0) "]}");
    fixture_tick(&f);
    check_number(item(&f, "peers", 0), "rps", 2);
    fixture_end(&f);
}

TEST(addresses_that_are_no_instance_of_ours_stay_addresses)
{
    static const struct {
        const char *name, *address, *want;
    } row[] = {
        { "ours", "127.0.0.1:5003", "stock-1" },
        { "by name", "localhost:5003", "stock-1" },
        { "IPv6", "[::1]:5003", "stock-1" },
        { "of another app", "127.0.0.1:5001", "" },
        { "elsewhere", "10.0.0.1:5003", "" },
        { "without a port", "127.0.0.1", "" },
        { "port 0", "127.0.0.1:0", "" },
        { "no number", "127.0.0.1:x", "" },
        { "past all ports", "127.0.0.1:70539", "" },
    };
    EACH (row, r) {
        struct fixture f;
        fixture_begin(&f);
        give(&f, 0,
             arena_printf(&f.arena, "{\"instances\":[{\"app\":\"stock\",\"address\":\"%s\"}]}",
                          r->address)
                 .p);
        fixture_tick(&f);
        REQUIRE(count(&f, "peers") == 1, "%s", r->name);
        check_text(item(&f, "peers", 0), "name", r->want);
        fixture_end(&f);
    }
}

TEST(a_breaker_of_many_sidecars_is_one_line)
{
    struct fixture f;
    fixture_begin(&f);
    give(&f, 0,
         "{\"breakers\":[{\"target\":\"pay\",\"state\":\"closed\"},"
         "{\"target\":\"stock@127.0.0.1:5003\",\"state\":\"half-open\"},{\"state\":\"open\"}]}");
    give(&f, 1, "{\"breakers\":[{\"target\":\"pay\",\"state\":\"open\"}]}");
    give(&f, 2, "{\"breakers\":[{\"target\":\"pay\",\"state\":\"closed\"}]}");
    fixture_tick(&f);
    REQUIRE(count(&f, "breakers") == 2);
    struct json pay = item(&f, "breakers", 0), stock = item(&f, "breakers", 1);
    check_text(pay, "state", "open");
    check_number(pay, "agree", 1);
    CHECK_STR(json_get(pay, S("apps")).raw, "[\"orders\",\"stock\"]");
    check_text(stock, "name", "stock-1");
    check_text(stock, "state", "half-open");
    fixture_end(&f);
}

#define ZONES(pid, own, region, calls)                                                             \
    "{\"pid\":" #pid ",\"zones\":{\"own\":\"" own "\",\"region\":\"" region "\",\"calls\":" calls  \
    "}}"

TEST(calls_between_zones_add_up_and_the_share_that_crosses)
{
    struct fixture f;
    fixture_begin(&f);
    give(&f, 0, ZONES(1, "a", "", "{\"a\":60,\"b\":2}"));
    give(&f, 1, ZONES(2, "b", "", "{\"b\":38}"));
    give(&f, 2, ZONES(3, "", "", "{\"a\":50}"));
    fixture_tick(&f);
    fixture_tick(&f);
    struct json z = json_get(f.feed, S("zones")), pair = json_at(json_get(z, S("pairs")), 1);
    CHECK_EQ(json_count(json_get(z, S("pairs"))), 4);
    check_text(pair, "from", "a");
    check_text(pair, "to", "b");
    check_number(pair, "rps", 1);
    check_number(z, "crossing", 0.02); /* who has no zone crosses no border */
    fixture_end(&f);
}

TEST(zones_of_regions_have_their_whole_name)
{
    struct fixture f;
    fixture_begin(&f);
    give(&f, 0, ZONES(1, "a", "eu", "{\"a\":2,\"us/a\":2,\"unknown\":2}"));
    give(&f, 1, ZONES(2, "a", "us", "{\"a\":2}"));
    fixture_tick(&f);
    CHECK_STR(json_get(json_get(f.feed, S("zones")), S("pairs")).raw,
              "[{\"from\":\"eu/a\",\"to\":\"eu/a\",\"rps\":2},"
              "{\"from\":\"eu/a\",\"to\":\"us/a\",\"rps\":2},"
              "{\"from\":\"eu/a\",\"to\":\"unknown\",\"rps\":2},"
              "{\"from\":\"us/a\",\"to\":\"us/a\",\"rps\":2}]");
    fixture_end(&f);
}

#define FAULT(left, injected)                                                                      \
    "{\"chaos\":[{\"name\":\"f1\",\"fault\":\"delay\",\"app\":\"stock\",\"percent\":25,"           \
    "\"delay_ms\":100,\"delay_max_ms\":300,\"left_s\":" #left ",\"injected\":" #injected "}]}"

TEST(a_fault_of_many_sidecars_is_one_line_and_its_time_runs)
{
    struct fixture f;
    fixture_begin(&f);
    give(&f, 0, FAULT(9.5, 4));
    give(&f, 1, FAULT(9.1, 5));
    fixture_tick(&f);
    REQUIRE(count(&f, "chaos") == 1);
    struct json c = item(&f, "chaos", 0);
    check_text(c, "fault", "delay");
    check_text(c, "app", "stock");
    check_text(c, "method", "");
    check_number(c, "percent", 25);
    check_number(c, "delay_max_ms", 300);
    check_number(c, "injected", 9);
    check_number(c, "sidecars", 2);
    CHECK_STR(json_get(c, S("apps")).raw, "[\"orders\"]");
    check_number(c, "left_s", 8.5); /* the answer is a second old */
    fixture_end(&f);
}

TEST(members_of_other_shapes_are_passed_over)
{
    static const char *const feed[] = {
        "{\"overload\":3,\"instances\":{},\"breakers\":\"x\",\"zones\":[],\"chaos\":{}}",
        "{\"overload\":{},\"instances\":[1,null,{}],\"breakers\":[[]],\"zones\":{\"own\":1,"
        "\"calls\":[3]},\"chaos\":[{},7]}",
        "{\"overload\":{\"limit\":\"x\",\"shed\":[1],\"admitted\":-4},\"instances\":[{\"app\":"
        "\"a\",\"address\":\"\"}],\"zones\":{\"calls\":{\"a\":\"n\"}}}",
    };
    for (size_t i = 0; i < COUNT(feed); i++) {
        struct fixture f;
        fixture_begin(&f);
        give(&f, 0, feed[i]);
        fixture_tick(&f);
        CHECK_EQ(count(&f, "peers"), 0, "feed %zu", i);
        CHECK_EQ(count(&f, "breakers"), 0, "feed %zu", i);
        CHECK_EQ(count(&f, "chaos"), 0, "feed %zu", i);
        fixture_end(&f);
    }
}

TEST(past_the_limits_the_rest_is_left_out)
{
    struct fixture f;
    fixture_begin(&f);
    AUTO(buf_done) struct buf b;
    buf_init(&b, MIB(1));
    buf_put(&b, S("{\"instances\":["));
    for (int i = 0; i < 2000; i++)
        buf_printf(&b, "%s{\"app\":\"a\",\"address\":\"h%d:1\",\"calls\":1,\"failed\":1}",
                   i ? "," : "", i);
    buf_put(&b, S("],\"breakers\":["));
    for (int i = 0; i < 400; i++)
        buf_printf(&b, "%s{\"target\":\"t%d\",\"state\":\"open\"}", i ? "," : "", i);
    buf_put(&b, S("],\"chaos\":["));
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%s{\"name\":\"c%d\",\"fault\":\"reset\"}", i ? "," : "", i);
    buf_put(&b, S("],\"zones\":{\"own\":\"a\",\"calls\":{"));
    for (int i = 0; i < 600; i++)
        buf_printf(&b, "%s\"z%d\":1", i ? "," : "", i);
    buf_put(&b, S("}}}"));
    give(&f, 0, arena_cstr(&f.arena, buf_str(&b)));
    fixture_tick(&f);
    CHECK_EQ(count(&f, "peers"), PAGE_PEERS_MAX);
    CHECK_EQ(count(&f, "breakers"), PAGE_BREAKERS_MAX);
    CHECK_EQ(count(&f, "chaos"), PAGE_FAULTS_MAX);
    CHECK_EQ(json_count(json_get(json_get(f.feed, S("zones")), S("pairs"))), PAGE_ZONE_PAIRS_MAX);
    fixture_end(&f);
}

TEST(each_failed_allocation_is_survived)
{
    static const char feed[] =
        "{\"pid\":1,\"overload\":{\"limit\":1,\"admitted\":3,\"shed\":{\"low\":1}},"
        "\"instances\":[{\"app\":\"a\",\"address\":\"h:1\",\"calls\":1,\"failed\":1}],"
        "\"breakers\":[{\"target\":\"t\",\"state\":\"open\"}],"
        "\"zones\":{\"own\":\"a\",\"region\":\"r\",\"calls\":{\"a\":1}},"
        "\"chaos\":[{\"name\":\"c\",\"fault\":\"reset\",\"left_s\":1}]}";
    FAIL_EACH_ALLOC(n)
    {
        struct page *p = page_new("x", NULL, 0);
        struct error err = { 0 };
        size_t index;
        AUTO(buf_done) struct buf out;
        buf_init(&out, MIB(1));
        if (p && page_add_instance(p, &fixture_instance[0], &index) == 0) {
            int r = page_sample(p, index, str_c(feed), SEC(1), &err);
            CHECK(r == 0 || r == -EXHAUSTED || r == -INVALID, "allocation %zu", n);
            page_tick(p, SEC(1), 0);
            r = page_write(p, SEC(1), 0, &out);
            CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu", n);
        }
        page_free(p);
    }
}
