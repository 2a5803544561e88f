#include "page_fixture.h"

#include <math.h>

/* Feeds as sidecars give them, and what the page makes of them. */

static struct json item(struct json v, const char *list, size_t i)
{
    return json_at(json_get(v, str_c(list)), i);
}

static double number(struct json v, const char *name)
{
    double d;
    return json_double(json_get(v, str_c(name)), &d) ? d : NAN;
}

static struct json edge(struct fixture *f, const char *from, const char *to)
{
    struct json_iter it = json_iter(json_get(f->feed, S("edges")));
    struct json e;
    while (json_next(&it, NULL, &e))
        if (json_eq_str(json_get(e, S("from")), str_c(from)) &&
            json_eq_str(json_get(e, S("to")), str_c(to)))
            return e;
    return (struct json){ 0 };
}

static void check_near(double got, double want, const char *what)
{
    CHECK(fabs(got - want) < 0.002, "%s: %g, wanted %g", what, got, want);
}

#define EDGE(n, errors, hist)                                                                      \
    "{\"from\":\"orders\",\"to\":\"stock\",\"kind\":\"invoke\",\"n\":" #n ",\"errors\":" #errors   \
    ",\"hist\":" hist "}"
#define FEED(pid, edges) "{\"app\":\"orders\",\"pid\":" #pid ",\"edges\":[" edges "]}"

TEST(counts_become_rates_over_two_seconds)
{
    struct fixture f;
    fixture_begin(&f);
    CHECK_OK(fixture_sample(&f, 0, FEED(1, EDGE(0, 0, "[]"))));
    fixture_tick(&f);
    CHECK_OK(fixture_sample(&f, 0, FEED(1, EDGE(10, 1, "[]"))));
    fixture_tick(&f);
    check_near(number(edge(&f, "orders", "stock"), "rps"), 5, "after two seconds");
    CHECK_OK(fixture_sample(&f, 0, FEED(1, EDGE(30, 1, "[]"))));
    fixture_tick(&f);
    check_near(number(edge(&f, "orders", "stock"), "rps"), 15, "of the last two seconds alone");
    check_near(number(edge(&f, "orders", "stock"), "error_rate"), 1.0 / 30, "errors");
    CHECK_EQ(number(edge(&f, "orders", "stock"), "total"), 30);
    fixture_tick(&f);
    fixture_tick(&f);
    check_near(number(edge(&f, "orders", "stock"), "rps"), 0, "nothing came");
    CHECK(json_is_null(json_get(edge(&f, "orders", "stock"), S("error_rate"))));
    fixture_end(&f);
}

TEST(a_restart_takes_nothing_back)
{
    struct fixture f;
    fixture_begin(&f);
    CHECK_OK(fixture_sample(&f, 0, FEED(1, EDGE(100, 0, "[100]"))));
    fixture_tick(&f);
    CHECK_OK(fixture_sample(&f, 0, FEED(2, EDGE(4, 0, "[4]")))); /* another process */
    fixture_tick(&f);
    CHECK_EQ(number(edge(&f, "orders", "stock"), "total"), 104);
    CHECK_OK(
        fixture_sample(&f, 0, FEED(3, EDGE(50, 0, "[50]")))); /* again, and past the old count */
    fixture_tick(&f);
    CHECK_EQ(number(edge(&f, "orders", "stock"), "total"), 154);
    CHECK_OK(fixture_sample(&f, 0, FEED(3, EDGE(20, 0, "[20]")))); /* fell without a new number */
    fixture_tick(&f);
    CHECK_EQ(number(edge(&f, "orders", "stock"), "total"), 174);
    check_near(number(edge(&f, "orders", "stock"), "rps"), 35, "50 and 20 in two seconds");
    fixture_end(&f);
}

TEST(instances_of_an_app_add_up)
{
    struct fixture f;
    fixture_begin(&f);
    CHECK_OK(fixture_sample(&f, 0, FEED(1, EDGE(10, 2, "[0,0,0,0,10]"))));
    CHECK_OK(fixture_sample(&f, 1, FEED(2, EDGE(30, 2, "[0,0,0,0,30]"))));
    fixture_tick(&f);
    fixture_tick(&f);
    struct json e = edge(&f, "orders", "stock");
    check_near(number(e, "rps"), 20, "both");
    check_near(number(e, "error_rate"), 0.1, "both");
    CHECK_EQ(json_count(json_get(f.feed, S("edges"))), 1);
    struct json stock = item(f.feed, "services", 1);
    CHECK(json_eq_str(json_get(stock, S("id")), S("stock")));
    check_near(number(stock, "rps"), 20, "what it was asked");
    CHECK_EQ(json_count(json_get(item(f.feed, "services", 0), S("instances"))), 2);
    check_near(number(json_get(f.feed, S("totals")), "rps"), 20, "total");
    fixture_end(&f);
}

TEST(quantiles_lie_within_their_bucket)
{
    uint64_t hist[PAGE_BUCKETS] = { 0 };
    CHECK(isnan(page_quantile_ms(hist, 0.5)), "empty");
    hist[20] = 100; /* 1.024 … 1.448 ms */
    check_near(page_quantile_ms(hist, 0.5), 1.236, "the middle");
    check_near(page_quantile_ms(hist, 1), 1.448, "the end");
    hist[30] = 1; /* 32.8 … 46.3 ms */
    CHECK(page_quantile_ms(hist, 0.5) < 1.3);
    CHECK(page_quantile_ms(hist, 0.999) > 32);
    hist[0] = 1000;
    CHECK(page_quantile_ms(hist, 0.5) < 0.0015, "the first bucket begins at zero");
    hist[PAGE_BUCKETS - 1] = 1;
    CHECK(isfinite(page_quantile_ms(hist, 1)));
}

#define TOPIC(depth, oldest, dead)                                                                 \
    "{\"pubsub\":\"bus\",\"topic\":\"placed\",\"consumer\":\"stock\",\"depth\":" #depth            \
    ",\"oldest_s\":" #oldest ",\"dead\":" #dead "}"

TEST(a_queue_that_several_see_is_counted_once)
{
    struct fixture f;
    fixture_begin(&f);
    CHECK_OK(fixture_sample(&f, 0, "{\"pid\":1,\"topics\":[" TOPIC(7, 0.5, 1) "]}"));
    CHECK_OK(fixture_sample(&f, 2, "{\"pid\":2,\"topics\":[" TOPIC(9, 0.25, 0) "]}"));
    fixture_tick(&f);
    CHECK_EQ(json_count(json_get(f.feed, S("topics"))), 1);
    struct json t = item(f.feed, "topics", 0), c = item(t, "consumers", 0);
    CHECK(json_eq_str(json_get(t, S("id")), S("topic:bus/placed")));
    CHECK(json_eq_str(json_get(c, S("app")), S("stock")));
    CHECK_EQ(number(c, "depth"), 9, "the larger of two fresh views");
    CHECK_EQ(number(c, "dead"), 1);
    CHECK_EQ(number(json_get(f.feed, S("totals")), "queued"), 9);
    for (int i = 0; i < 4; i++)
        fixture_tick(&f);
    CHECK_OK(fixture_sample(&f, 0, "{\"pid\":1,\"topics\":[" TOPIC(2, 0.5, 1) "]}"));
    fixture_tick(&f);
    c = item(item(f.feed, "topics", 0), "consumers", 0);
    CHECK_EQ(number(c, "depth"), 2, "a fresh view beats a stale one, even if that is larger");
    fixture_end(&f);
}

TEST(topics_and_stores_come_from_edges_too)
{
    struct fixture f;
    fixture_begin(&f);
    CHECK_OK(fixture_sample(
        &f, 0,
        "{\"pid\":1,\"edges\":["
        "{\"from\":\"orders\",\"to\":\"topic:bus/placed\",\"kind\":\"publish\",\"n\":4},"
        "{\"from\":\"topic:bus/placed\",\"to\":\"stock\",\"kind\":\"deliver\",\"n\":2},"
        "{\"from\":\"orders\",\"to\":\"store:state@orders\",\"kind\":\"state\",\"n\":8,\"errors\":"
        "2,\"hist\":[0,0,8]}],"
        "\"resources\":[{\"kind\":\"Component\",\"name\":\"state\",\"type\":\"state.sqlite/v1\","
        "\"status\":\"loaded\",\"file\":\"state.yaml:1\",\"error\":\"\"}]}"));
    fixture_tick(&f);
    fixture_tick(&f);
    struct json t = item(f.feed, "topics", 0), s = item(f.feed, "stores", 0);
    check_near(number(t, "publish_rps"), 2, "published");
    check_near(number(t, "deliver_rps"), 1, "delivered");
    CHECK(json_eq_str(json_get(t, S("topic")), S("placed")));
    CHECK_EQ(json_count(json_get(t, S("consumers"))), 0);
    CHECK(json_eq_str(json_get(s, S("name")), S("state")));
    CHECK(json_eq_str(json_get(s, S("app")), S("orders")));
    CHECK(json_eq_str(json_get(s, S("type")), S("state.sqlite")));
    check_near(number(s, "rps"), 4, "store");
    check_near(number(s, "error_rate"), 0.25, "store errors");
    fixture_end(&f);
}

#define RESOURCE(status, error)                                                                    \
    "{\"pid\":1,\"resources\":[{\"kind\":\"Component\",\"name\":\"bus\",\"type\":"                 \
    "\"pubsub.sqlite/v1\",\"status\":\"" status                                                    \
    "\",\"file\":\"/srv/res/bus.yaml:1\",\"error\":\"" error "\"}]}"

TEST(a_resource_of_many_is_one_line_and_shows_its_error)
{
    struct fixture f;
    fixture_begin(&f);
    CHECK_OK(fixture_sample(&f, 0, RESOURCE("loaded", "")));
    CHECK_OK(fixture_sample(&f, 1, RESOURCE("loaded", "")));
    CHECK_OK(fixture_sample(&f, 2, RESOURCE("failed", "no file")));
    fixture_tick(&f);
    CHECK_EQ(json_count(json_get(f.feed, S("resources"))), 1);
    struct json r = item(f.feed, "resources", 0);
    CHECK(json_eq_str(json_get(r, S("status")), S("failed")));
    CHECK(json_eq_str(json_get(r, S("error")), S("no file")));
    CHECK_EQ(json_count(json_get(r, S("apps"))), 2);
    CHECK(json_eq_str(json_get(r, S("file")), S("res/bus.yaml:1")));
    fixture_end(&f);
}

TEST(events_of_sidecars_are_taken_once_each)
{
    struct fixture f;
    fixture_begin(&f);
    static const char feed[] =
        "{\"pid\":1,\"events\":[{\"id\":1,\"time\":\"2026-01-02T03:04:05Z\",\"level\":\"warn\","
        "\"text\":\"one\"},{\"id\":2,\"level\":\"odd\",\"text\":\"two\"}]}";
    page_event(f.page, "error", S("orders"), S("crashed"), SEC(1));
    CHECK_OK(fixture_sample(&f, 2, feed));
    CHECK_OK(fixture_sample(&f, 2, feed));
    fixture_tick(&f);
    REQUIRE(json_count(json_get(f.feed, S("events"))) == 3);
    struct json e = item(f.feed, "events", 1);
    CHECK(json_eq_str(json_get(e, S("text")), S("one")));
    CHECK(json_eq_str(json_get(e, S("app")), S("stock")));
    CHECK(json_eq_str(json_get(e, S("level")), S("warn")));
    CHECK(json_eq_str(json_get(e, S("time")), S("2026-01-02T03:04:05.000Z")));
    CHECK_EQ(number(item(f.feed, "events", 2), "id"), 3);
    CHECK(json_eq_str(json_get(item(f.feed, "events", 2), S("level")), S("info")));
    CHECK_OK(fixture_sample(&f, 2, "{\"pid\":2,\"events\":[{\"id\":1,\"text\":\"anew\"}]}"));
    fixture_tick(&f);
    CHECK_EQ(json_count(json_get(f.feed, S("events"))), 4, "a restart numbers from 1 again");
    for (int i = 0; i < 2 * PAGE_EVENTS_MAX; i++)
        page_event(f.page, "info", S(""), S("more"), 0);
    fixture_tick(&f);
    CHECK_EQ(json_count(json_get(f.feed, S("events"))), PAGE_EVENTS_MAX);
    CHECK_EQ(number(item(f.feed, "events", PAGE_EVENTS_MAX - 1), "id"), 4 + 2 * PAGE_EVENTS_MAX);
    fixture_end(&f);
}

TEST(the_whole_shape_is_there_even_when_nothing_is)
{
    struct fixture f;
    fixture_begin(&f);
    fixture_tick(&f);
    CHECK_STR(json_get(f.feed, S("time")).raw, "\"2026-01-02T03:04:05.000Z\"");
    CHECK_STR(json_get(f.feed, S("uptime_s")).raw, "1");
    CHECK_STR(json_get(json_get(f.feed, S("run")), S("name")).raw, "\"shop\"");
    CHECK_STR(json_get(f.feed, S("totals")).raw,
              "{\"rps\":0,\"p50_ms\":null,\"p99_ms\":null,\"error_rate\":null,\"in_flight\":0,"
              "\"queued\":null}");
    CHECK_STR(item(item(f.feed, "services", 0), "instances", 1).raw,
              "{\"name\":\"orders-2\",\"pid\":0,\"app_port\":8081,\"http_port\":3501,\"state\":"
              "\"starting\",\"restarts\":0,\"cpu\":null,\"rss_bytes\":0,\"uptime_s\":0,\"zone\":"
              "\"b\"}");
    static const char *const lists[] = { "edges",    "topics", "stores",   "resources", "events",
                                         "overload", "peers",  "breakers", "chaos" };
    for (size_t i = 0; i < COUNT(lists); i++)
        CHECK_STR(json_get(f.feed, str_c(lists[i])).raw, "[]", "%s", lists[i]);
    CHECK_STR(json_get(f.feed, S("zones")).raw, "{\"pairs\":[],\"crossing\":null}");
    CHECK_STR(json_get(f.feed, S("progress")).raw, "null");
    fixture_end(&f);
}

TEST(processes_and_progress_are_shown)
{
    struct fixture f;
    fixture_begin(&f);
    struct error err = { 0 };
    struct json v;
    const struct page_process p = { PAGE_RESTARTING, 77, 3, 0.1234, 4096, SEC(2) };
    page_set_process(f.page, f.index[2], &p);
    REQUIRE(json_parse(S("{\"text\":\"load\",\"done\":3}"), &v, NULL) == 0);
    CHECK_OK(page_set_progress(f.page, v, &err));
    CHECK_OK(fixture_sample(&f, 0, "{\"pid\":1,\"in_flight\":2}"));
    CHECK_OK(fixture_sample(&f, 2, "{\"pid\":1,\"in_flight\":3}"));
    fixture_tick(&f);
    CHECK_STR(item(item(f.feed, "services", 1), "instances", 0).raw,
              "{\"name\":\"stock-1\",\"pid\":77,\"app_port\":8090,\"http_port\":3502,\"state\":"
              "\"restarting\",\"restarts\":3,\"cpu\":0.123,\"rss_bytes\":4096,\"uptime_s\":2,"
              "\"zone\":\"\"}");
    CHECK_STR(json_get(f.feed, S("progress")).raw, "{\"text\":\"load\",\"done\":3}");
    CHECK_EQ(number(json_get(f.feed, S("totals")), "in_flight"), 5);
    REQUIRE(json_parse(S("null"), &v, NULL) == 0);
    CHECK_OK(page_set_progress(f.page, v, &err));
    REQUIRE(json_parse(S("[1]"), &v, NULL) == 0);
    CHECK_EQ(page_set_progress(f.page, v, &err), -INVALID);
    for (int i = 0; i < 4; i++)
        fixture_tick(&f);
    CHECK_STR(json_get(f.feed, S("progress")).raw, "null");
    CHECK_EQ(number(json_get(f.feed, S("totals")), "in_flight"), 0, "too old to count");
    fixture_end(&f);
}

TEST(a_malformed_feed_is_refused_and_changes_little)
{
    static const struct {
        const char *name, *text;
        int want;
    } row[] = {
        { "no JSON", "{", -INVALID },
        { "no object", "[]", -INVALID },
        { "edge without ends", "{\"edges\":[{\"kind\":\"invoke\",\"n\":1}]}", -INVALID },
        { "edge of a later kind",
          "{\"edges\":[{\"from\":\"a\",\"to\":\"b\",\"kind\":\"beam\",\"n\":1}]}", 0 },
        { "negative count",
          "{\"edges\":[{\"from\":\"a\",\"to\":\"b\",\"kind\":\"state\",\"n\":-1}]}", 0 },
        { "members of other types", "{\"edges\":3,\"topics\":{},\"events\":\"x\",\"pid\":\"y\"}",
          0 },
    };
    struct fixture f;
    fixture_begin(&f);
    EACH (row, r)
        CHECK_EQ(fixture_sample(&f, 0, r->text), r->want, "%s", r->name);
    fixture_tick(&f);
    fixture_end(&f);
}

TEST(past_the_limit_of_edges_the_user_is_told_once)
{
    struct fixture f;
    fixture_begin(&f);
    AUTO(buf_done) struct buf b;
    buf_init(&b, MIB(1));
    for (int source = 0; source < 3; source++) {
        buf_clear(&b);
        buf_put(&b, S("{\"pid\":1,\"edges\":["));
        for (int i = 0; i < 500; i++)
            buf_printf(&b, "%s{\"from\":\"a%d\",\"to\":\"b%d\",\"kind\":\"invoke\",\"n\":1}",
                       i ? "," : "", source, i);
        buf_put(&b, S("]}"));
        CHECK_OK(fixture_sample(&f, (size_t)source, arena_cstr(&f.arena, buf_str(&b))));
    }
    fixture_tick(&f);
    fixture_tick(&f);
    CHECK_EQ(json_count(json_get(f.feed, S("edges"))), PAGE_EDGES_MAX);
    CHECK_EQ(json_count(json_get(f.feed, S("events"))), 1);
    fixture_end(&f);
}

TEST(the_page_survives_each_failed_allocation)
{
    FAIL_EACH_ALLOC(n)
    {
        struct page *p = page_new("x", NULL, 0);
        struct error err = { 0 };
        size_t index;
        AUTO(buf_done) struct buf out;
        buf_init(&out, MIB(1));
        if (p && page_add_instance(p, &fixture_instance[0], &index) == 0) {
            int r = page_sample(p, index, S(FEED(1, EDGE(1, 0, "[1]"))), SEC(1), &err);
            CHECK(r == 0 || r == -EXHAUSTED || r == -INVALID, "allocation %zu", n);
            page_event(p, "info", S("a"), S("b"), 0);
            page_tick(p, SEC(1), 0);
            r = page_write(p, SEC(1), 0, &out);
            CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu", n);
        }
        page_free(p);
    }
}

/* ---- what an app is asked for ---- */

static struct page_demand demand(struct fixture *f, const char *app)
{
    struct page_demand d;
    page_demand(f->page, app, f->now, &d);
    return d;
}

#define OVERLOAD(inflight, queued, admitted, shed)                                                 \
    "{\"pid\":1,\"in_flight\":99,\"overload\":{\"inflight\":" #inflight ",\"queued\":" #queued     \
    ",\"admitted\":" #admitted ",\"shed\":{\"high\":0,\"low\":" #shed "}},"                        \
    "\"sleep\":{\"asleep\":false,\"waiting\":2},"                                                  \
    "\"topics\":[{\"pubsub\":\"bus\",\"topic\":\"t\",\"consumer\":\"orders\",\"depth\":40,"        \
    "\"oldest_s\":3}]}"

TEST(demand_is_what_is_in_the_app_and_waits_and_was_turned_away)
{
    struct fixture f;
    fixture_begin(&f);
    CHECK_EQ(fixture_sample(&f, 0, OVERLOAD(4, 3, 100, 10)), 0);
    CHECK_EQ(fixture_sample(&f, 1, OVERLOAD(4, 3, 500, 0)), 0);
    struct page_demand d = demand(&f, "orders");
    CHECK(d.done_rps == 0, "one reading says nothing of rates");
    fixture_tick(&f);
    CHECK_EQ(fixture_sample(&f, 0, OVERLOAD(4, 3, 120, 30)), 0);
    CHECK_EQ(fixture_sample(&f, 1, OVERLOAD(4, 3, 520, 0)), 0);
    for (int i = 0; i < 2; i++) { /* asked twice, nothing new: the same */
        d = demand(&f, "orders");
        check_near(d.done_rps, 40, "done");
        check_near(d.asked_rps, 60, "asked");
        check_near(d.at_once, 8 + 6 + 4 + 20 * (8.0 / 40), "shed calls would be inside as long");
        check_near(d.asleep_waiting, 4, "asleep");
        check_near(d.depth, 40, "one queue, though two tell of it");
        check_near(d.oldest_s, 3, "oldest");
        check_near(d.unmet, 6 + 4 + 20 + (40 - 8), "unmet");
        check_near(d.p99_s, 0, "no calls, no latency");
    }
    d = demand(&f, "stock");
    CHECK(isnan(d.at_once) && isnan(d.asked_rps) && isnan(d.depth), "nobody has told");
    f.now += SEC(10);
    CHECK(isnan(demand(&f, "orders").at_once), "stale");
    fixture_end(&f);
}

TEST(instances_come_and_go_and_their_app_stays_one_line)
{
    struct fixture f;
    fixture_begin(&f);
    page_remove_instance(f.page, f.index[0]);
    static const struct page_instance more = { "stock", "stock-2", "", 1, 2 };
    REQUIRE(page_add_instance(f.page, &more, &f.index[3]) == 0);
    CHECK_EQ(f.index[3], f.index[0], "the gap is used");
    fixture_tick(&f);
    struct json stock = item(f.feed, "services", 0), orders = item(f.feed, "services", 1);
    CHECK(json_eq_str(json_get(stock, S("id")), S("stock")));
    CHECK(json_eq_str(json_get(item(stock, "instances", 0), S("name")), S("stock-2")));
    CHECK(json_eq_str(json_get(item(stock, "instances", 1), S("name")), S("stock-1")));
    CHECK(json_eq_str(json_get(item(orders, "instances", 0), S("name")), S("orders-2")));
    CHECK(item(f.feed, "services", 2).type == JSON_NONE);
    fixture_end(&f);
}

TEST(scale_is_in_the_feed)
{
    struct fixture f;
    fixture_begin(&f);
    const struct page_scale v = { "orders", "latency", "panic", 2, 4, 1, 9, 0.5, 0.25 };
    page_set_scale(f.page, &v, 1);
    fixture_tick(&f);
    struct json s = item(f.feed, "scale", 0);
    CHECK(json_eq_str(json_get(s, S("app")), S("orders")));
    CHECK(json_eq_str(json_get(s, S("reason")), S("panic")));
    check_near(number(s, "instances"), 2, "instances");
    check_near(number(s, "desired"), 4, "desired");
    check_near(number(s, "max"), 9, "max");
    check_near(number(s, "value"), 0.5, "value");
    fixture_end(&f);
}
