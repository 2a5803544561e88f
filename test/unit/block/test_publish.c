#include "block/publish.h"
#include "fixture.h"
#include "format/cloudevent.h"

static struct error last;

static int send(struct fixture *f, const char *pubsub, const char *topic, const char *type,
                const char *data, struct kvs metadata)
{
    struct publish_request p = { .pubsub = str_c(pubsub),
                                 .topic = str_c(topic),
                                 .content_type = str_c(type),
                                 .data = str_c(data),
                                 .metadata = metadata };
    last = (struct error){ 0 };
    return block_publish(&f->b, &p, &f->arena, &last);
}

TEST_CO(what_is_refused_has_the_contracts_errors)
{
    static const char *const scope[] = { "publishingScopes=me=t", NULL };
    static const struct {
        const char *pubsub, *topic, *tag, *reason, *resource;
        int want;
    } row[] = {
        { "", "t", "ERR_PUBSUB_EMPTY", "DAPR_PUBSUB_NAME_EMPTY", "", -INVALID },
        { "x", "t", "ERR_PUBSUB_NOT_FOUND", "DAPR_PUBSUB_NOT_FOUND", "", -INVALID },
        { "p", "", "ERR_TOPIC_NAME_EMPTY", "DAPR_PUBSUB_TOPIC_NAME_EMPTY", "p", -INVALID },
        { "p", "u", "ERR_PUBSUB_FORBIDDEN", "DAPR_PUBSUB_FORBIDDEN", "p", -DENIED },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    CHECK_EQ(send(&f, "p", "t", "", "", (struct kvs){ 0 }), -PRECONDITION);
    CHECK_TEXT(last.tag, "ERR_PUBSUB_NOT_CONFIGURED");
    struct fake *p = fixture_add(&f, "pubsub", "p", scope);
    EACH (row, r) {
        CHECK_EQ(send(&f, r->pubsub, r->topic, "", "", (struct kvs){ 0 }), r->want);
        CHECK_TEXT(last.tag, r->tag);
        CHECK_TEXT(last.reason, r->reason);
        CHECK_TEXT(last.resource, r->resource, "%s", r->tag);
    }
    CHECK_EQ(p->calls, 0);
    fixture_close(&f);
}

TEST_CO(an_event_of_too_many_attributes_is_told)
{
    struct fixture f;
    AUTO(buf_done) struct buf event;
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub", "p", NULL);
    buf_init(&event, KIB(64));
    buf_put(&event, S("{\"id\":\"1\""));
    for (int i = 0; i < 1000; i++)
        buf_printf(&event, ",\"a%d\":1", i);
    buf_putc(&event, '}');
    buf_putc(&event, 0);
    CHECK_EQ(send(&f, "p", "t", "application/cloudevents+json", event.p, (struct kvs){ 0 }),
             -EXHAUSTED);
    CHECK_TEXT(last.tag, "ERR_PUBSUB_CLOUD_EVENTS_SER");
    CHECK_TEXT(last.reason, "DAPR_PUBSUB_MARSHAL_ENVELOPE");
    CHECK(strstr(last.text, "attributes"), "%s", last.text);
    CHECK_EQ(p->calls, 0);
    fixture_close(&f);
}

TEST_CO(data_gets_an_envelope)
{
    struct fixture f;
    struct cloudevent ce;
    struct error err = { 0 };
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub", "p", NULL);
    struct kv kv[] = { { S("cloudevent.ID"), S("my-id") }, { S("ttlInSeconds"), S("10") } };
    CHECK_OK(send(&f, "p", "t", "application/json", "{\"a\":1.50}", (struct kvs){ kv, 2 }));
    CHECK_STR(p->item[0].key, "t");
    CHECK_OK(cloudevent_read(p->item[0].value, &f.arena, &ce, &err));
    CHECK_STR(ce.id, "my-id");
    CHECK_STR(ce.source, "me");
    CHECK_STR(ce.topic, "t");
    CHECK_STR(ce.pubsubname, "p");
    CHECK_STR(ce.data.raw, "{\"a\":1.50}");
    CHECK_STR(ce.type, "com.dapr.event.sent");
    CHECK(ce.expiration.n > 0, "the engine has no TTL of its own");
    fixture_close(&f);
}

TEST_CO(an_engine_with_ttl_gets_it_instead_of_the_envelope)
{
    struct fixture f;
    struct cloudevent ce;
    struct error err = { 0 };
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub-bulk", "p", NULL);
    struct kv kv[] = { { S("ttlInSeconds"), S("10") } };
    CHECK_OK(send(&f, "p", "t", "", "x", (struct kvs){ kv, 1 }));
    CHECK_OK(cloudevent_read(p->item[0].value, &f.arena, &ce, &err));
    CHECK_EQ(ce.expiration.n, 0);
    CHECK_STR(kvs_get(p->metadata[0], S("ttlInSeconds")), "10");
    fixture_close(&f);
}

TEST_CO(raw_payloads_go_as_they_are)
{
    static const struct {
        const char *value;
        int want;
    } row[] = { { "true", 0 }, { "1", 0 }, { "yes", -INVALID }, { "\"true\"", -INVALID } };
    struct fixture f;
    fixture_open(&f, NULL);
    EACH (row, r) {
        char name[32];
        snprintf(name, sizeof name, "p%td", r - row);
        struct fake *p = fixture_add(&f, "pubsub", name, NULL);
        struct kv kv[] = { { S("rawPayload"), str_c(r->value) } };
        CHECK_EQ(send(&f, name, "t", "", "<raw>", (struct kvs){ kv, 1 }), r->want);
        if (r->want == 0)
            CHECK_STR(p->item[0].value, "<raw>");
        else
            CHECK_TEXT(last.reason, "DAPR_PUBSUB_METADATA_DESERIALIZATION");
    }
    fixture_close(&f);
}

TEST_CO(a_cloud_event_that_is_none_is_refused)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "pubsub", "p", NULL);
    CHECK_EQ(send(&f, "p", "t", "application/cloudevents+json", "[1]", (struct kvs){ 0 }),
             -INVALID);
    CHECK_TEXT(last.tag, "ERR_PUBSUB_CLOUD_EVENTS_SER");
    CHECK_TEXT(last.reason, "DAPR_PUBSUB_CLOUD_EVENT_CREATION");
    fixture_close(&f);
}

TEST_CO(namespaces_stand_in_front_of_topics)
{
    static const char *const fields[] = { "namespaced=1", NULL };
    struct fixture f;
    fixture_open(&f, NULL);
    f.b.namespace_ = "ns";
    struct fake *p = fixture_add(&f, "pubsub", "p", fields);
    CHECK_OK(send(&f, "p", "t", "", "x", (struct kvs){ 0 }));
    CHECK_STR(p->item[0].key, "nst");
    fixture_close(&f);
}

TEST_CO(a_broker_that_fails_is_told_with_its_words)
{
    static const int code[] = { UNAVAILABLE, INVALID, EXHAUSTED, TIMEOUT };
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub", "p", NULL);
    p->text = "no broker";
    EACH (code, c) {
        p->code = *c;
        p->failures = 1;
        CHECK_EQ(send(&f, "p", "t", "", "x", (struct kvs){ 0 }), -INTERNAL);
        CHECK_TEXT(last.text, "error when publishing to topic t in pubsub p: no broker");
        CHECK_TEXT(last.reason, "DAPR_PUBSUB_PUBLISH_MESSAGE");
        CHECK_TEXT(last.meta[1], "no broker");
    }
    fixture_close(&f);
}

static int send_bulk(struct fixture *f, struct publish_entry *e, size_t n)
{
    struct publish_request p = { .pubsub = S("p"), .topic = S("t") };
    last = (struct error){ 0 };
    return block_publish_bulk(&f->b, &p, e, n, &f->arena, &last);
}

static struct publish_entry entry(const char *id, const char *data)
{
    return (struct publish_entry){ .id = str_c(id), .data = str_c(data) };
}

TEST_CO(a_bulk_reports_each_entry_that_failed)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub-bulk", "p", NULL);
    struct publish_entry e[] = { entry("a", "1"), entry("b", "2"), entry("c", "3") };
    CHECK_OK(send_bulk(&f, e, 3));
    CHECK_EQ(p->n, 3);
    CHECK_OK(send_bulk(&f, e, 0));
    p->fail_only = 2;
    CHECK_EQ(send_bulk(&f, e, 3), -INTERNAL);
    CHECK(!e[0].err.code && e[1].err.code && !e[2].err.code);
    CHECK_TEXT(e[1].err.text, "entry 1 failed");
    CHECK(str_contains(str_c(last.text), S("1 of 3 messages failed")));
    p->fail_only = 0;
    p->failures = 1;
    p->code = UNAVAILABLE;
    p->text = "down";
    CHECK_EQ(send_bulk(&f, e, 3), -INTERNAL);
    for (size_t i = 0; i < 3; i++)
        CHECK_TEXT(e[i].err.text, "down");
    fixture_close(&f);
}

TEST_CO(a_bulk_goes_one_by_one_where_the_engine_has_none)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub", "p", NULL);
    struct publish_entry e[] = { entry("a", "1"), entry("b", "2"), entry("c", "3") };
    p->failures = 1;
    p->code = UNAVAILABLE;
    p->text = "down";
    CHECK_EQ(send_bulk(&f, e, 3), -INTERNAL);
    CHECK_EQ(p->n, 2);
    CHECK_EQ((e[0].err.code != 0) + (e[1].err.code != 0) + (e[2].err.code != 0), 1);
    fixture_close(&f);
}

TEST_CO(without_memory_a_publish_fails_or_is_whole)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub", "p", NULL);
    CHECK_OK(send(&f, "p", "t", "application/json", "{}", (struct kvs){ 0 })); /* metric cells */
    FAIL_EACH_ALLOC(n)
    {
        size_t before = p->n;
        int r = send(&f, "p", "t", "application/json", "{}", (struct kvs){ 0 });
        CHECK_EQ(p->n, before + (r == 0), "allocation %zu", n);
        CHECK(r == 0 || last.code, "allocation %zu", n);
    }
    fixture_close(&f);
}
