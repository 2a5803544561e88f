/* What a broker that keeps messages promises: none is lost, an error means another try. */
#include "test/conformance/pubsub/cases.h"

#include "base/clock.h"

#include <stdio.h>

static void messages_wait_for_an_absent_group(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    CHECK(pubsub_publish(s, "t", "1") == 0);
    CHECK(sink_wait(k, 1));
    pubsub_unsubscribe(s, sub);
    CHECK(pubsub_publish(s, "t", "2") == 0);
    CHECK(suite_reopen(s));
    CHECK(pubsub_publish(s, "t", "3") == 0);
    sub = pubsub_subscribe(s, "t", k);
    CHECK(sink_wait(k, 3) && sink_count_of(k, "2") == 1 && sink_count_of(k, "3") == 1);
    CHECK(sink_stays(k, 3, 50));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void error_of_the_handler_means_another_try(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->fail_code, -INTERNAL);
    atomic_store(&k->fail_first, 3);
    CHECK(pubsub_publish_with(s, "t", "1", "mark", "kept") == 0);
    CHECK(sink_wait(k, 4) && sink_stays(k, 4, 60));
    CHECK(sink_count_of(k, "1") == 4 && str_eq(k->v[3].mark, S("kept")));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void long_handler_keeps_its_message(struct suite *s)
{
    struct sink *k = sink_new();
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->hold_ns, MS(2500)); /* the lease is 1 s */
    CHECK(pubsub_publish(s, "t", "1") == 0);
    CHECK(sink_wait(k, 1) && sink_stays(k, 1, 1200));
    CHECK(atomic_load(&k->peak) == 1);
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void cancelled_handler_gives_its_message_back(struct suite *s)
{
    struct sink *k = sink_new();
    CHECK(pubsub_configure(s, "maxRetries", "0"));
    void *sub = pubsub_subscribe(s, "t", k);
    atomic_store(&k->fail_code, -CANCELLED); /* as at shutdown: no try is counted */
    atomic_store(&k->fail_first, 2);
    CHECK(pubsub_publish(s, "t", "1") == 0);
    CHECK(sink_wait(k, 3) && sink_stays(k, 3, 40));
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

static void dead_letters_go_to_their_topic(struct suite *s)
{
    struct sink *k = sink_new(), *dead = sink_new();
    CHECK(pubsub_configure(s, "maxRetries", "2"));
    void *sub = pubsub_subscribe_dead(s, "t", "t-dead", k);
    void *sub_dead = pubsub_subscribe(s, "t-dead", dead);
    atomic_store(&k->fail_code, -INTERNAL);
    atomic_store(&k->fail_first, 3);
    CHECK(pubsub_publish_with(s, "t", "1", "mark", "m") == 0);
    CHECK(sink_wait(k, 3) && sink_wait(dead, 1));
    CHECK(pubsub_publish(s, "t", "2") == 0);
    CHECK(sink_wait(k, 4));
    CHECK(sink_stays(dead, 1, 30) && sink_count_of(dead, "1") == 1);
    CHECK(str_eq(dead->v[0].mark, S("m")));
    pubsub_unsubscribe(s, sub);
    pubsub_unsubscribe(s, sub_dead);
    sink_free(k);
    sink_free(dead);
}

static bool stats_are(struct suite *s, const char *topic, uint64_t depth, uint64_t dead)
{
    struct pubsub_stats *v;
    size_t n;
    if (ops_of(s)->stats(s->self, &s->a, &v, &n) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i].topic, str_c(topic)))
            return v[i].depth == depth && v[i].dead == dead && (depth == 0) == !v[i].oldest_ns;
    return false;
}

struct figures {
    struct suite *s;
    uint64_t depth, dead;
};

static bool figures_hold(void *arg)
{
    struct figures *f = arg;
    return stats_are(f->s, "t", f->depth, f->dead);
}

static void figures_tell_depth_and_dead(struct suite *s)
{
    struct sink *k = sink_new();
    struct figures empty = { s, 0, 0 }, three = { s, 3, 0 }, dead = { s, 0, 3 };
    CHECK(pubsub_configure(s, "maxRetries", "0"));
    void *sub = pubsub_subscribe(s, "t", k);
    CHECK(suite_wait(figures_hold, &empty, SEC(5)));
    atomic_store(&k->gate, true);
    for (int i = 0; i < 3; i++)
        CHECK(pubsub_publish(s, "t", "x") == 0);
    CHECK(suite_wait(figures_hold, &three, SEC(5)));
    atomic_store(&k->fail_code, -INTERNAL);
    atomic_store(&k->fail_first, 3);
    atomic_store(&k->gate, false);
    CHECK(suite_wait(figures_hold, &dead, SEC(5)));
    CHECK(sink_count(k) == 3);
    pubsub_unsubscribe(s, sub);
    sink_free(k);
}

/* ---- several processes ---- */

static void publish_many(void *arg, size_t i)
{
    struct suite *s = arg;
    for (int n = 0; n < 20; n++) {
        char data[32];
        snprintf(data, sizeof data, "%zu-%d", i, n);
        suite_check(s, pubsub_publish(s, "t", data) == 0, "publish", __FILE__, __LINE__);
    }
}

static void consumers_of_a_group_share_the_messages(struct suite *s)
{
    struct sink *a = sink_new(), *b = sink_new();
    void *mine = s->self, *other = suite_open_other(s);
    void *sub_a = pubsub_subscribe(s, "t", a);
    s->self = other;
    void *sub_b = pubsub_subscribe(s, "t", b);
    s->self = mine;
    atomic_store(&a->hold_ns, MS(2));
    atomic_store(&b->hold_ns, MS(2));
    CHECK(suite_parallel(10, publish_many, s));
    uint64_t until = clock_now_ns() + SEC(5);
    while (sink_count(a) + sink_count(b) < 200 && clock_now_ns() < until)
        CHECK(fiber_sleep(MS(2)) == 0);
    CHECK(sink_count(a) + sink_count(b) == 200);
    CHECK(sink_count(a) > 0 && sink_count(b) > 0);
    for (int i = 0; i < 10; i++)
        for (int n = 0; n < 20; n++) {
            str data = arena_printf(&s->a, "%d-%d", i, n);
            CHECK(sink_count_of(a, data.p) + sink_count_of(b, data.p) == 1);
        }
    pubsub_unsubscribe(s, sub_a);
    s->self = other;
    pubsub_unsubscribe(s, sub_b);
    s->self = mine;
    suite_close_other(s, other);
    sink_free(a);
    sink_free(b);
}

static void groups_each_get_all(struct suite *s)
{
    struct sink *a = sink_new(), *b = sink_new();
    void *mine = s->self;
    s->extra[s->n_extra++] = (struct kv){ S("consumerID"), S("another") };
    void *other = suite_open_other(s);
    void *sub_a = pubsub_subscribe(s, "t", a);
    s->self = other;
    void *sub_b = pubsub_subscribe(s, "t", b);
    for (int i = 0; i < 5; i++) {
        s->self = i % 2 ? mine : other;
        CHECK(pubsub_publish(s, "t", "x") == 0);
    }
    CHECK(sink_wait(a, 5) && sink_wait(b, 5));
    CHECK(sink_stays(a, 5, 30) && sink_stays(b, 5, 1));
    s->self = mine;
    pubsub_unsubscribe(s, sub_a);
    s->self = other;
    pubsub_unsubscribe(s, sub_b);
    s->self = mine;
    suite_close_other(s, other);
    sink_free(a);
    sink_free(b);
}

static void other_processes_messages_come_at_once(struct suite *s)
{
    struct sink *k = sink_new();
    void *mine = s->self, *other = suite_open_other(s);
    void *sub = pubsub_subscribe(s, "t", k);
    for (size_t i = 1; i <= 10; i++) {
        CHECK(fiber_sleep(MS(20)) == 0); /* the consumer has gone to sleep */
        uint64_t start = clock_now_ns();
        s->self = other;
        CHECK(pubsub_publish(s, "t", "x") == 0);
        s->self = mine;
        CHECK(sink_wait(k, i));
        CHECK(clock_now_ns() - start < MS(300));
    }
    pubsub_unsubscribe(s, sub);
    suite_close_other(s, other);
    sink_free(k);
}

#define CASE(needs, promise, name)                                                                 \
    {                                                                                              \
#name, needs, promise, name                                                                \
    }
const struct suite_case pubsub_durable_cases[] = {
    CASE(0, "durable", messages_wait_for_an_absent_group),
    CASE(0, "redelivers", error_of_the_handler_means_another_try),
    CASE(0, "redelivers", long_handler_keeps_its_message),
    CASE(0, "redelivers", cancelled_handler_gives_its_message_back),
    CASE(0, "dead letters", dead_letters_go_to_their_topic),
    CASE(0, "figures", figures_tell_depth_and_dead),
    CASE(0, "competing", consumers_of_a_group_share_the_messages),
    CASE(0, "competing", groups_each_get_all),
    CASE(0, "competing", other_processes_messages_come_at_once),
};
const size_t n_pubsub_durable_cases = COUNT(pubsub_durable_cases);
