/* Order by key, delay, time to live, duplicates, bulks. */
#include "test/conformance/pubsub/cases.h"

#include "base/clock.h"

#include <stdio.h>

static int publish_kv(struct suite *s, const char *data, const struct kv *kv, size_t n)
{
    struct error err = { 0 };
    struct pubsub_message m = { .topic = S("t"), .data = str_c(data), .metadata = { kv, n } };
    return ops_of(s)->publish(s->self, &m, &err);
}

/* ---- order ---- */

/* Each message is "key number"; those of a key must come in order, though a try may fail. */
static bool in_order(struct sink *k)
{
    int last[8] = { 0 };
    for (size_t i = 0; i < k->n; i++) {
        int key, number;
        if (sscanf(k->v[i].data, "%d %d", &key, &number) != 2)
            return false;
        if (number < last[key])
            return false;
        last[key] = number;
    }
    return true;
}

static void messages_of_a_key_keep_their_order(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->fail_code, -INTERNAL);
    atomic_store(&k->fail_first, 5);
    for (int n = 1; n <= 25; n++)
        for (int key = 0; key < 4; key++) {
            char data[32], name[8];
            snprintf(data, sizeof data, "%d %d", key, n);
            snprintf(name, sizeof name, "k%d", key);
            CHECK(pubsub_publish_with(s, "t", data, "partitionKey", name) == 0);
        }
    CHECK(sink_wait(k, 105) && sink_stays(k, 105, 50));
    CHECK(in_order(k));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void keys_do_not_wait_for_each_other(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->gate, true);
    CHECK(pubsub_publish_with(s, "t", "0 1", "partitionKey", "a") == 0);
    CHECK(pubsub_publish_with(s, "t", "0 2", "partitionKey", "a") == 0);
    CHECK(pubsub_publish_with(s, "t", "1 1", "partitionKey", "b") == 0);
    for (int i = 0; i < 5000 && atomic_load(&k->running) < 2; i++)
        CHECK(fiber_sleep(MS(1)) == 0);
    CHECK(fiber_sleep(MS(30)) == 0);
    CHECK(atomic_load(&k->running) == 2); /* one of each key */
    atomic_store(&k->gate, false);
    CHECK(sink_wait(k, 3) && in_order(k));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void dead_message_frees_its_key(struct suite *s)
{
    struct sink *k = sink_new();
    CHECK(pubsub_configure(s, "maxRetries", "0"));
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->fail_code, -INTERNAL);
    atomic_store(&k->fail_first, 1);
    CHECK(pubsub_publish_with(s, "t", "0 1", "partitionKey", "a") == 0);
    CHECK(pubsub_publish_with(s, "t", "0 2", "partitionKey", "a") == 0);
    CHECK(sink_wait(k, 2) && sink_count_of(k, "0 2") == 1 && sink_stays(k, 2, 30));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

/* ---- time ---- */

static void delayed_message_comes_later(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    uint64_t start = clock_now_ns();
    CHECK(pubsub_publish_with(s, "t", "late", "deliverAfter", "300ms") == 0);
    CHECK(pubsub_publish(s, "t", "early") == 0);
    CHECK(sink_wait(k, 1) && sink_count_of(k, "early") == 1);
    CHECK(sink_wait(k, 2) && sink_count_of(k, "late") == 1);
    CHECK(clock_now_ns() - start >= MS(290));
    CHECK(clock_now_ns() - start < MS(1500));
    CHECK(pubsub_publish_with(s, "t", "x", "deliverAfter", "soon") == -INVALID);
    CHECK(pubsub_publish_with(s, "t", "x", "deliverAt", "tomorrow") == -INVALID);
    CHECK(pubsub_publish_with(s, "t", "past", "deliverAt", "2020-01-01T00:00:00Z") == 0);
    CHECK(sink_wait(k, 3));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void expired_message_does_not_come(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    pubsub_unsubscribe(s, sub);
    CHECK(pubsub_publish_with(s, "t", "short", "ttlInSeconds", "1") == 0);
    CHECK(pubsub_publish_with(s, "t", "long", "ttlInSeconds", "100") == 0);
    CHECK(pubsub_publish_with(s, "t", "x", "ttlInSeconds", "-5") == -INVALID);
    CHECK(fiber_sleep(MS(1100)) == 0);
    sub = pubsub_subscribe(s, "t", k);
    CHECK(sink_wait(k, 1) && sink_count_of(k, "long") == 1 && sink_stays(k, 1, 50));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

/* ---- duplicates ---- */

static void second_message_with_an_id_is_dropped(struct suite *s)
{
    struct sink *k = sink_new();
    CHECK(pubsub_configure(s, "dedupWindow", "400ms"));
    void *sub = pubsub_subscribe(s, "t", k);
    CHECK(pubsub_publish_with(s, "t", "1", "messageId", "a") == 0);
    CHECK(pubsub_publish_with(s, "t", "2", "messageId", "a") == 0);
    CHECK(pubsub_publish_with(s, "t", "3", "messageId", "b") == 0);
    CHECK(sink_wait(k, 2) && sink_stays(k, 2, 30));
    CHECK(sink_count_of(k, "1") == 1 && sink_count_of(k, "3") == 1);
    CHECK(fiber_sleep(MS(500)) == 0);
    CHECK(pubsub_publish_with(s, "t", "4", "messageId", "a") == 0);
    CHECK(sink_wait(k, 3) && sink_count_of(k, "4") == 1);
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

/* ---- bulks ---- */

static void bulk_publish_reports_each_entry(struct suite *s)
{
    struct sink *k = sink_new();
    struct error err = { 0 };
    struct kv bad = { S("ttlInSeconds"), S("never") };
    struct pubsub_message m[10];
    void *sub = pubsub_subscribe(s, "t", k);
    for (size_t i = 0; i < COUNT(m); i++)
        m[i] = (struct pubsub_message){ .topic = S("t"), .data = S("x"), .entry_id = S("id") };
    CHECK(ops_of(s)->bulk_publish(s->self, m, COUNT(m), &err) == 0);
    CHECK(sink_wait(k, 10));
    m[3].metadata = (struct kvs){ &bad, 1 };
    CHECK(ops_of(s)->bulk_publish(s->self, m, COUNT(m), &err) == 1);
    for (size_t i = 0; i < COUNT(m); i++)
        CHECK(m[i].err.code == (i == 3 ? INVALID : OK));
    CHECK(sink_wait(k, 19) && sink_stays(k, 19, 30));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void bulk_subscriber_gets_bulks(struct suite *s)
{
    struct sink *k = sink_new();
    struct error err = { 0 };
    struct pubsub_subscription b = { .topic = S("t"),
                                     .handle = sink_handle,
                                     .handle_bulk = sink_handle_bulk,
                                     .bulk_max = 10,
                                     .bulk_await_ns = MS(200),
                                     .arg = k };
    void *sub = NULL;
    CHECK(ops_of(s)->subscribe(s->self, &b, &sub, &err) == 0);
    pubsub_unsubscribe(s, sub);
    for (int i = 0; i < 25; i++)
        CHECK(publish_kv(s, "x", NULL, 0) == 0);
    atomic_store(&k->fail_code, -INTERNAL);
    atomic_store(&k->fail_first, 4); /* those alone come again */
    CHECK(ops_of(s)->subscribe(s->self, &b, &sub, &err) == 0);
    CHECK(sink_wait(k, 29) && sink_stays(k, 29, 300));
    CHECK(atomic_load(&k->bulks) >= 3 && atomic_load(&k->bulks) <= 8);
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

#define CASE(needs, promise, name)                                                                 \
    {                                                                                              \
#name, needs, promise, name                                                                \
    }
const struct suite_case pubsub_feature_cases[] = {
    CASE(0, "ordered", messages_of_a_key_keep_their_order),
    CASE(0, "ordered", keys_do_not_wait_for_each_other),
    CASE(0, "ordered", dead_message_frees_its_key),
    CASE(0, "delayed", delayed_message_comes_later),
    CASE(PUBSUB_TTL, "durable", expired_message_does_not_come),
    CASE(0, "unique", second_message_with_an_id_is_dropped),
    CASE(PUBSUB_BULK_PUBLISH, "durable", bulk_publish_reports_each_entry),
    CASE(PUBSUB_BULK_SUBSCRIBE, "durable", bulk_subscriber_gets_bulks),
};
const size_t n_pubsub_feature_cases = COUNT(pubsub_feature_cases);
