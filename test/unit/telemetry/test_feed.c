#include "telemetry/feed.h"
#include "test/testing.h"

#include <pthread.h>

static struct json page(struct arena *a)
{
    struct buf out;
    struct json_w w;
    struct json v = { 0 };
    buf_init(&out, MIB(16));
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    feed_write(&w);
    json_w_object_end(&w);
    CHECK_OK(json_parse(arena_dup(a, buf_str(&out)), &v, NULL));
    buf_done(&out);
    return v;
}

static struct json edge_of(struct json root, const char *from, const char *to)
{
    struct json item;
    struct json_iter it = json_iter(json_get(root, S("edges")));
    while (json_next(&it, NULL, &item))
        if (json_eq_str(json_get(item, S("from")), str_c(from)) &&
            json_eq_str(json_get(item, S("to")), str_c(to)))
            return item;
    return (struct json){ 0 };
}

static int64_t number(struct json v)
{
    int64_t n = -1;
    CHECK(json_i64(v, &n));
    return n;
}

TEST(buckets_are_half_octaves_of_microseconds)
{
    static const struct {
        uint64_t ns;
        int bucket;
    } row[] = {
        { 0, 0 },        { 999, 0 },         { 1000, 0 },
        { 2000, 2 },                      /* 2 us = 2^(2/2) */
        { 3000, 3 },                      /* 2.83 … 4 us */
        { 4000, 4 },     { 1000000, 19 }, /* 1 ms: 724 … 1024 us */
        { 1024000, 20 }, { 1000000000, 39 }, { UINT64_MAX, FEED_BUCKETS - 1 },
    };
    EACH (row, r) {
        struct arena a;
        char to[32];
        arena_init(&a, MIB(32));
        snprintf(to, sizeof to, "bucket%td", r - row);
        feed_record(feed_edge(S("hist"), str_c(to), FEED_INVOKE), r->ns, false);
        struct json hist = json_get(edge_of(page(&a), "hist", to), S("hist"));
        CHECK_EQ(json_count(hist), FEED_BUCKETS);
        CHECK_EQ(number(json_at(hist, (size_t)r->bucket)), 1, "%llu ns", (unsigned long long)r->ns);
        arena_done(&a);
    }
}

TEST(edges_are_told_apart_by_ends_and_kind)
{
    struct feed_edge *e = feed_edge(S("a"), S("b"), FEED_INVOKE);
    CHECK(e == feed_edge(S("a"), S("b"), FEED_INVOKE));
    CHECK(e != feed_edge(S("a"), S("b"), FEED_PUBLISH));
    CHECK(e != feed_edge(S("b"), S("a"), FEED_INVOKE));
    CHECK(e != feed_edge(S("ab"), S(""), FEED_INVOKE));
    feed_record(e, 5000, true);
    feed_record(e, 5000, false);
    struct arena a;
    arena_init(&a, MIB(32));
    struct json v = edge_of(page(&a), "a", "b");
    CHECK(v.type == JSON_OBJECT);
    arena_done(&a);
}

TEST(events_keep_the_last_hundred)
{
    struct arena a;
    arena_init(&a, MIB(32));
    for (int i = 0; i < FEED_EVENTS + 50; i++)
        feed_event("info", "event %d \"quoted\" \xff", i);
    struct json events = json_get(page(&a), S("events"));
    CHECK_EQ(json_count(events), FEED_EVENTS);
    CHECK_EQ(number(json_get(json_at(events, 0), S("id"))), 51);
    CHECK_EQ(number(json_get(json_at(events, FEED_EVENTS - 1), S("id"))), FEED_EVENTS + 50);
    arena_done(&a);
}

TEST(without_memory_recording_goes_nowhere)
{
    char to[32];
    FAIL_EACH_ALLOC(n)
    {
        snprintf(to, sizeof to, "memory%zu", n);
        struct feed_edge *e = feed_edge(S("oom"), str_c(to), FEED_BINDING);
        REQUIRE(e);
        feed_record(e, 1, false);
    }
}

static void *many(void *arg)
{
    char to[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(to, sizeof to, "to%d", i % 400); /* more than there is room for */
        feed_record(feed_edge(S("threads"), str_c(to), FEED_STATE), (uint64_t)i * 1000, i % 2);
        if (i % 1000 == 0)
            feed_event("warn", "thread event %d", i);
    }
    return NULL;
}

TEST(threads_record_at_once_and_late_edges_are_added_up)
{
    pthread_t t[6];
    struct arena a;
    arena_init(&a, MIB(32));
    EACH (t, p)
        REQUIRE(pthread_create(p, NULL, many, NULL) == 0);
    (void)page(&a);
    EACH (t, p)
        pthread_join(*p, NULL);
    struct json root = page(&a), item;
    CHECK(json_count(json_get(root, S("edges"))) <= FEED_EDGES + 5);
    int64_t total = 0;
    struct json_iter it = json_iter(json_get(root, S("edges")));
    while (json_next(&it, NULL, &item))
        if (json_eq_str(json_get(item, S("from")), S("threads")) ||
            json_eq_str(json_get(item, S("from")), S("_overflow")))
            total += number(json_get(item, S("n")));
    CHECK_EQ(total, 6 * 20000);
    arena_done(&a);
}
