/* The conformance suite of message brokers: what every one does. */
#include "test/conformance/pubsub/cases.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>

static void message_arrives_as_it_was_sent(struct suite *s)
{
    struct sink *k = sink_new();
    struct error err = { 0 };
    struct kv kv = { S("mark"), S("x \"y\" \xc3\xa9") };
    struct pubsub_message m = { .topic = S("orders"),
                                .data = S("a\0b\xff{}"),
                                .content_type = S("application/cloudevents+json"),
                                .metadata = { &kv, 1 } };
    void *sub = pubsub_subscribe(s, "orders", k);
    CHECK(ops_of(s)->publish(s->self, &m, &err) == 0);
    if (CHECK(sink_wait(k, 1))) {
        CHECK(str_eq(str_of(k->v[0].data, k->v[0].n), m.data));
        CHECK(str_eq(k->v[0].topic, S("orders")));
        CHECK(str_eq(k->v[0].type, m.content_type));
        CHECK(str_eq(k->v[0].mark, kv.value));
    }
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void empty_and_large_messages_arrive(struct suite *s)
{
    struct sink *k = sink_new();
    char *large = arena_alloc(&s->a, MIB(1) + 1);
    INV(large);
    memset(large, 'z', MIB(1));
    large[MIB(1)] = 0;
    void *sub = pubsub_subscribe(s, "t", k);
    CHECK(pubsub_publish(s, "t", "") == 0);
    CHECK(pubsub_publish(s, "t", large) == 0);
    CHECK(sink_wait(k, 2));
    CHECK(sink_count_of(k, "") == 1 && sink_count_of(k, large) == 1);
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void topics_are_kept_apart(struct suite *s)
{
    struct sink *a = sink_new(), *b = sink_new();
    void *sub_a = pubsub_subscribe(s, "a", a), *sub_b = pubsub_subscribe(s, "ab", b);
    CHECK(pubsub_publish(s, "a", "1") == 0);
    CHECK(pubsub_publish(s, "ab", "2") == 0);
    CHECK(pubsub_publish(s, "A", "3") == 0);
    CHECK(sink_wait(a, 1) && sink_wait(b, 1));
    CHECK(sink_stays(a, 1, 30) && sink_count_of(a, "1") == 1);
    CHECK(sink_stays(b, 1, 1) && sink_count_of(b, "2") == 1);
    pubsub_unsubscribe(s, sub_a);
    pubsub_unsubscribe(s, sub_b);
    sink_free(a);
    sink_free(b);
}

static void publish_without_subscriber_succeeds(struct suite *s)
{
    struct sink *k = sink_new();
    CHECK(pubsub_publish(s, "nobody", "1") == 0);
    void *sub = pubsub_subscribe(s, "nobody", k);
    size_t before =
        suite_promises(s, "from the beginning"); /* or it begins with its subscription */
    CHECK(sink_wait(k, before) && sink_stays(k, before, 30));
    CHECK(pubsub_publish(s, "nobody", "2") == 0);
    CHECK(sink_wait(k, before + 1) && sink_count_of(k, "2") == 1);
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void subscription_without_topic_is_refused(struct suite *s)
{
    struct error err = { 0 };
    struct pubsub_subscription sub = { .handle = sink_handle };
    void *handle;
    CHECK(ops_of(s)->subscribe(s->self, &sub, &handle, &err) == -INVALID && err.text[0]);
}

static void publish_many(void *arg, size_t i)
{
    struct suite *s = arg;
    for (int n = 0; n < 20; n++) {
        char data[32];
        snprintf(data, sizeof data, "%zu-%d", i, n);
        suite_check(s, pubsub_publish(s, "t", data) == 0, "publish", __FILE__, __LINE__);
    }
}

static void concurrent_messages_arrive_once_each(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    CHECK(suite_parallel(32, publish_many, s));
    CHECK(sink_wait(k, 640));
    for (int i = 0; i < 32; i++)
        for (int n = 0; n < 20; n++)
            CHECK(sink_count_of(k, arena_printf(&s->a, "%d-%d", i, n).p) == 1);
    CHECK(sink_stays(k, 640, 50));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void unsubscribe_waits_for_the_handler(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->hold_ns, MS(60));
    CHECK(pubsub_publish(s, "t", "1") == 0);
    for (int i = 0; i < 5000 && !atomic_load(&k->running); i++)
        CHECK(fiber_sleep(MS(1)) == 0);
    CHECK(atomic_load(&k->running) == 1);
    pubsub_unsubscribe(s, sub);
    CHECK(atomic_load(&k->running) == 0 && sink_count(k) == 1);
    CHECK(pubsub_publish(s, "t", "2") == 0);
    CHECK(sink_stays(k, 1, 30));
    sink_free(k);
}

struct arrival {
    struct sink *k;
    size_t n;
};

static bool has_arrived(void *arg)
{
    struct arrival *a = arg;
    return sink_count(a->k) >= a->n;
}

/* A stream to a remote broker may have broken for want of memory: it is there again soon. */
static bool next_arrives(struct suite *s, struct sink *k)
{
    struct arrival a = { k, sink_count(k) + 1 };
    bool remote = suite_promises(s, "remote");
    for (int i = 0; i < (remote ? 100 : 1); i++)
        if (pubsub_publish(s, "t", "still works") == 0 &&
            suite_wait(has_arrived, &a, remote ? MS(100) : SEC(5)))
            return true;
    return false;
}

static void failing_allocations_are_errors(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    for (uint64_t n = 1; n <= 25; n++) {
        struct error err = { 0 };
        struct pubsub_message m = { .topic = S("nobody"), .data = S("x") };
        struct pubsub_subscription other = { .topic = S("u"), .handle = sink_handle, .arg = k };
        void *handle = NULL;
        mem_fail_at(n);
        int r = ops_of(s)->publish(s->self, &m, &err);
        mem_fail_at(0);
        CHECK(r == 0 || err.text[0]);
        err = (struct error){ 0 };
        mem_fail_at(n);
        r = ops_of(s)->subscribe(s->self, &other, &handle, &err);
        mem_fail_at(0);
        CHECK(r == 0 ? handle != NULL : err.text[0] != 0);
        pubsub_unsubscribe(s, handle);
        CHECK(next_arrives(s, k));
    }
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

/* ---- what only a broker in this process promises ---- */

static void every_subscription_gets_each_message(struct suite *s)
{
    struct sink *a = sink_new(), *b = sink_new();
    void *sub_a = pubsub_subscribe(s, "t", a), *sub_b = pubsub_subscribe(s, "t", b);
    CHECK(pubsub_publish(s, "t", "1") == 0);
    CHECK(sink_wait(a, 1) && sink_wait(b, 1));
    pubsub_unsubscribe(s, sub_a);
    CHECK(pubsub_publish(s, "t", "2") == 0);
    CHECK(sink_wait(b, 2) && sink_stays(a, 1, 20));
    pubsub_unsubscribe(s, sub_b);
    sink_free(a);
    sink_free(b);
}

static void publish_one(void *arg, size_t i)
{
    struct suite *s = arg;
    (void)i;
    suite_check(s, pubsub_publish(s, "t", "x") == 0, "publish", __FILE__, __LINE__);
}

static void publish_waits_while_the_handler_is_busy(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    uint64_t start = clock_now_ns();
    atomic_store(&k->hold_ns, MS(30));
    CHECK(pubsub_publish(s, "t", "first") == 0);
    CHECK(clock_now_ns() - start < MS(25)); /* handed over at once */
    CHECK(pubsub_publish(s, "t", "second") == 0);
    CHECK(clock_now_ns() - start >= MS(25));
    CHECK(suite_parallel(4, publish_one, s));
    CHECK(sink_wait(k, 6) && atomic_load(&k->peak) == 1);
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void error_of_the_handler_is_not_repeated(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->fail_code, -INTERNAL);
    atomic_store(&k->fail_first, 1);
    CHECK(pubsub_publish(s, "t", "1") == 0);
    CHECK(sink_wait(k, 1) && sink_stays(k, 1, 40));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void star_takes_longer_topics(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "orders*", k);
    CHECK(pubsub_publish(s, "orders", "no") == 0);
    CHECK(pubsub_publish(s, "order", "no") == 0);
    CHECK(pubsub_publish(s, "orders.eu", "yes") == 0);
    CHECK(pubsub_publish(s, "orders2", "yes") == 0);
    CHECK(sink_wait(k, 2) && sink_stays(k, 2, 30) && sink_count_of(k, "yes") == 2);
    CHECK(str_eq(k->v[0].topic, S("orders.eu")));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

#define CASE(needs, promise, name)                                                                 \
    {                                                                                              \
#name, needs, promise, name                                                                \
    }
static const struct suite_case cases[] = {
    CASE(0, NULL, message_arrives_as_it_was_sent),
    CASE(0, NULL, empty_and_large_messages_arrive),
    CASE(0, NULL, topics_are_kept_apart),
    CASE(0, NULL, publish_without_subscriber_succeeds),
    CASE(0, NULL, subscription_without_topic_is_refused),
    CASE(0, NULL, concurrent_messages_arrive_once_each),
    CASE(0, NULL, unsubscribe_waits_for_the_handler),
    CASE(0, NULL, failing_allocations_are_errors),
    CASE(0, "broadcast", every_subscription_gets_each_message),
    CASE(0, "serial", publish_waits_while_the_handler_is_busy),
    CASE(0, "serial", error_of_the_handler_is_not_repeated),
    CASE(PUBSUB_WILDCARDS, NULL, star_takes_longer_topics),
};

int main(int argc, char **argv)
{
    struct suite_case all[64];
    size_t n = COUNT(cases);
    INV(n + n_pubsub_durable_cases + n_pubsub_feature_cases <= COUNT(all));
    memcpy(all, cases, sizeof cases);
    memcpy(all + n, pubsub_durable_cases, n_pubsub_durable_cases * sizeof *all);
    n += n_pubsub_durable_cases;
    memcpy(all + n, pubsub_feature_cases, n_pubsub_feature_cases * sizeof *all);
    n += n_pubsub_feature_cases;
    return suite_main(argc, argv, "pubsub", all, n);
}
