/* What a transaction tells, and what becomes of it: surprise 35 and facts 2.5. */
#include "block/outbox.h"
#include "fixture.h"
#include "format/json.h"

#define OWN_TOPIC "prodmeordersoutbox"
#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

struct setup {
    struct fixture f;
    struct fake *store, *bus;
    struct outboxes *readers;
    struct error err;
};

static void setup_open(struct setup *s, const char *more)
{
    const char *fields[] = { "outboxPublishPubsub=bus", "outboxPublishTopic=orders", more, NULL };
    *s = (struct setup){ 0 };
    fixture_open(&s->f, NULL);
    s->f.b.namespace_ = "prod";
    s->bus = fixture_add(&s->f, "pubsub", "bus", NULL);
    s->store = fixture_add(&s->f, "state", "s", fields);
}

static void setup_close(struct setup *s)
{
    outboxes_stop(s->readers);
    fixture_close(&s->f);
}

static int transact(struct setup *s, struct state_write *w, size_t n)
{
    struct state_transaction t = { .w = w, .n = n };
    trace_read(&t.trace, S(PARENT), S("a=b"));
    s->err = (struct error){ 0 };
    return block_state_transact(&s->f.b, fixture_instance(&s->f, "state", "s"), &t, &s->f.arena,
                                &s->err);
}

/* A member of event i at the broker. */
static str member(struct setup *s, size_t i, const char *name)
{
    struct json root;
    str text = S("");
    REQUIRE(i < s->bus->n, "%zu of %zu", i, s->bus->n);
    REQUIRE(json_parse(s->bus->item[i].value, &root, NULL) == 0);
    struct json v = json_get(root, str_c(name));
    if (v.type != JSON_STRING)
        return v.raw;
    CHECK_OK(json_string(&s->f.arena, v, &text));
    return text;
}

static bool has_marker(const struct setup *s)
{
    for (size_t i = 0; i < s->store->n; i++)
        if (str_starts(s->store->item[i].key, S("outbox-")) && s->store->item[i].value.p)
            return true;
    return false;
}

/* The readers, and the bus giving its event i to them. */
static void start(struct setup *s)
{
    CHECK_OK(outboxes_start(&s->f.b, &s->readers, &s->err), "%s", s->err.text);
    for (int i = 0; i < 100 && !s->bus->subscribed; i++)
        CHECK_OK(fiber_sleep(SEC(1)));
    REQUIRE(s->bus->subscribed);
}

static int give_text(struct setup *s, str text)
{
    struct pubsub_message m = { .topic = S(OWN_TOPIC), .data = text };
    s->err = (struct error){ 0 };
    return s->bus->sub.handle(s->bus->sub.arg, &m, &s->err);
}

static int give(struct setup *s, size_t i)
{
    return give_text(s, s->bus->item[i].value);
}

TEST_CO(a_transaction_tells_a_topic_of_its_own_and_leaves_a_marker_s35)
{
    struct setup s;
    setup_open(&s, NULL);
    struct kv kv[] = { { S("cloudevent.type"), S("order") },
                       { S("source"), S("shop") },
                       { S("id"), S("mine") },
                       { S("data"), S("mine") } };
    struct state_write w[] = {
        { .key = S("a"), .value = S("\"text\""), .json = true, .metadata = { kv, COUNT(kv) } }
    };
    CHECK_OK(transact(&s, w, COUNT(w)), "%s", s.err.text);
    CHECK_EQ(s.bus->n, 1);
    CHECK_STR(s.bus->item[0].key, OWN_TOPIC);
    str id = member(&s, 0, "id");
    CHECK(str_starts(id, S("outbox-")));
    CHECK_STR(member(&s, 0, "data"), "text");
    CHECK_STR(member(&s, 0, "cloudevent.type"), "order");
    CHECK_STR(member(&s, 0, "source"), "shop");
    CHECK_STR(member(&s, 0, "pubsubname"), "bus");
    CHECK_EQ(s.store->n, 2);
    CHECK_STR(s.store->item[0].key, "me||a");
    CHECK(str_eq(s.store->item[1].key, id), "the marker has no prefix");
    CHECK_STR(s.store->item[1].value, "\"0\"");
    setup_close(&s);
}

TEST_CO(an_event_belongs_to_the_trace_of_its_request)
{
    struct setup s;
    setup_open(&s, NULL);
    struct kv own[] = { { S("traceid"), S("their-own") } };
    struct state_write w[] = { { .key = S("a"), .value = S("1"), .json = true },
                               { .key = S("b"), .value = S("1"), .metadata = { own, 1 } } };
    CHECK_OK(transact(&s, w, COUNT(w)));
    CHECK_STR(member(&s, 0, "traceparent"), PARENT);
    CHECK_STR(member(&s, 0, "traceid"), PARENT);
    CHECK_STR(member(&s, 0, "tracestate"), "a=b");
    CHECK_STR(member(&s, 1, "traceid"), "their-own", "metadata of the operation win");
    CHECK_STR(member(&s, 1, "traceparent"), PARENT);
    start(&s);
    CHECK_OK(give(&s, 0));
    CHECK_STR(member(&s, 2, "traceparent"), PARENT, "the public event has it, too");
    CHECK_STR(member(&s, 2, "traceid"), PARENT);
    setup_close(&s);
}

TEST_CO(deletes_tell_nothing_and_projections_are_told_instead)
{
    struct setup s;
    setup_open(&s, NULL);
    struct kv kv[] = { { S("outbox.projection"), S("true") },
                       { S("contentType"), S("application/json") } };
    struct state_write w[] = {
        { .key = S("a"), .value = S("\"secret\""), .json = true },
        { .key = S("gone"), .remove = true },
        { .key = S("a"), .value = S("{\"n\":1}"), .json = true, .metadata = { kv, 2 } },
    };
    fixture_instance(&s.f, "state", "s");
    CHECK_OK(transact(&s, w, COUNT(w)), "%s", s.err.text);
    CHECK_EQ(s.bus->n, 1);
    CHECK_STR(member(&s, 0, "data"), "{\"n\":1}");
    CHECK_STR(member(&s, 0, "datacontenttype"), "application/json");
    CHECK_STR(s.store->item[0].value, "\"secret\"", "the projection isn't stored");
    setup_close(&s);
}

TEST_CO(without_its_broker_nothing_is_changed)
{
    struct setup s;
    setup_open(&s, NULL);
    struct state_write w = { .key = S("a"), .value = S("1") };
    s.bus->code = UNAVAILABLE;
    s.bus->failures = 9;
    s.bus->text = "full";
    CHECK_EQ(transact(&s, &w, 1), -INTERNAL);
    CHECK_TEXT(s.err.tag, "ERR_PUBLISH_OUTBOX");
    CHECK_TEXT(s.err.reason, "DAPR_PUBSUB_OUTBOX");
    CHECK(strstr(s.err.text, "full"), "%s", s.err.text);
    CHECK_EQ(s.store->n, 0);
    setup_close(&s);

    const char *fields[] = { "outboxPublishPubsub=nobody", "outboxPublishTopic=t", NULL };
    fixture_open(&s.f, NULL);
    s.store = fixture_add(&s.f, "state", "s", fields);
    s.readers = NULL;
    w = (struct state_write){ .key = S("a"), .value = S("1") };
    CHECK_EQ(transact(&s, &w, 1), -INTERNAL);
    CHECK(strstr(s.err.text, "pubsub nobody isn't loaded"), "%s", s.err.text);
    CHECK_EQ(s.store->n, 0);
    fixture_close(&s.f);
}

TEST_CO(stores_without_an_outbox_tell_nobody)
{
    static const char *const half[][2] = { { "outboxPublishPubsub=bus", NULL },
                                           { "outboxPublishTopic=orders", NULL } };
    EACH (half, fields) {
        struct setup s = { 0 };
        fixture_open(&s.f, NULL);
        s.bus = fixture_add(&s.f, "pubsub", "bus", NULL);
        s.store = fixture_add(&s.f, "state", "s", *fields);
        struct state_write w = { .key = S("a"), .value = S("1") };
        CHECK_OK(transact(&s, &w, 1));
        CHECK_EQ(s.bus->calls, 0);
        CHECK_EQ(s.store->n, 1);
        fixture_close(&s.f);
    }
}

TEST_CO(what_has_happened_is_published_once)
{
    struct setup s;
    setup_open(&s, NULL);
    struct state_write w = { .key = S("a"), .value = S("1"), .json = true };
    CHECK_OK(transact(&s, &w, 1));
    start(&s);
    CHECK_STR(s.bus->sub.topic, OWN_TOPIC);
    CHECK_OK(give(&s, 0), "%s", s.err.text);
    CHECK_EQ(s.bus->n, 2);
    CHECK_STR(s.bus->item[1].key, "orders");
    CHECK_STR(member(&s, 1, "topic"), "orders");
    CHECK_STR(member(&s, 1, "pubsubname"), "bus");
    CHECK(str_eq(member(&s, 1, "id"), member(&s, 0, "id")));
    CHECK(!has_marker(&s));
    CHECK(give(&s, 0) < 0, "the broker gives it once more: there's no marker");
    CHECK_EQ(s.bus->n, 2);
    setup_close(&s);
}

TEST_CO(a_marker_may_come_late)
{
    struct setup s;
    setup_open(&s, NULL);
    struct state_write w = { .key = S("a"), .value = S("1") };
    CHECK_OK(transact(&s, &w, 1));
    start(&s);
    s.store->code = UNAVAILABLE; /* the store doesn't answer at first */
    s.store->failures = 4;
    CHECK_OK(give(&s, 0), "%s", s.err.text);
    CHECK_EQ(s.bus->n, 2);
    setup_close(&s);
}

TEST_CO(what_has_not_happened_comes_again_or_is_dropped)
{
    static const struct {
        const char *name, *more, *event;
        int want;
    } row[] = {
        { "young", NULL, "{\"id\":\"outbox-1\",\"time\":\"2999-01-01T00:00:00Z\"}", -NOT_FOUND },
        { "an hour old", NULL, "{\"id\":\"outbox-1\",\"time\":\"2001-01-01T00:00:00Z\"}", 0 },
        { "not wanted", "outboxDiscardWhenMissingState=true",
          "{\"id\":\"outbox-1\",\"time\":\"2999-01-01T00:00:00Z\"}", 0 },
    };
    EACH (row, r) {
        struct setup s;
        setup_open(&s, r->more);
        start(&s);
        CHECK_EQ(give_text(&s, str_c(r->event)), r->want, "%s: %s", r->name, s.err.text);
        CHECK_EQ(s.bus->n, 0, "%s", r->name);
        setup_close(&s);
    }
}

TEST_CO(a_public_topic_that_fails_keeps_event_and_marker)
{
    struct setup s;
    setup_open(&s, NULL);
    struct state_write w = { .key = S("a"), .value = S("1") };
    CHECK_OK(transact(&s, &w, 1));
    start(&s);
    s.bus->code = UNAVAILABLE;
    s.bus->failures = 1;
    s.bus->text = "full";
    CHECK_EQ(give(&s, 0), -UNAVAILABLE);
    CHECK(has_marker(&s));
    CHECK_OK(give(&s, 0));
    CHECK_EQ(s.bus->n, 2);
    setup_close(&s);
}

TEST_CO(readers_subscribe_when_the_broker_lets_them_and_leave_at_the_end)
{
    struct setup s;
    setup_open(&s, NULL);
    s.bus->code = UNAVAILABLE;
    s.bus->failures = 3;
    s.bus->text = "starting";
    start(&s);
    CHECK_EQ(s.bus->calls, 4);
    outboxes_stop(TAKE(s.readers));
    CHECK(!s.bus->subscribed);

    s.bus->code = UNAVAILABLE; /* an end while it tries */
    s.bus->failures = 1000;
    CHECK_OK(outboxes_start(&s.f.b, &s.readers, &s.err));
    CHECK_OK(fiber_sleep(SEC(1)));
    setup_close(&s);
}

TEST_CO(what_is_no_event_is_refused)
{
    struct setup s;
    setup_open(&s, NULL);
    start(&s);
    CHECK(give_text(&s, S("no JSON")) < 0);
    CHECK(s.err.text[0] != 0);
    setup_close(&s);
}
