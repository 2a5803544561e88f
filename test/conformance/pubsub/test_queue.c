/* pubsub.sqlite beyond the suite: dead letters listed and replayed, damaged rows, the clock,
 * idling. */
#include "components/pubsub/sqlite/queue.h"
#include "test/conformance/engine.h"
#include "test/testing.h"

#include <sys/resource.h>

static atomic_int handled, failing;

static int on_message(void *arg, const struct pubsub_message *m, struct error *err)
{
    (void)arg;
    (void)m;
    atomic_fetch_add(&handled, 1);
    return atomic_load(&failing) ? fail(err, INTERNAL, NULL, "no taste for it") : 0;
}

static const struct pubsub_ops *ops(const struct engine *e)
{
    return CONTAINER_OF(e->type, const struct pubsub_ops, t);
}

static bool handled_reaches(int n)
{
    for (int i = 0; i < 2500 && atomic_load(&handled) < n; i++)
        CHECK_OK(fiber_sleep(MS(2)));
    return atomic_load(&handled) == n;
}

static int open_queue(struct engine *e, const struct scratch *s, const char *more,
                      struct error *err)
{
    char connection[120];
    snprintf(connection, sizeof connection, "connectionString=%s", s->file);
    const char *fields[] = { connection, "backoffMin=1ms", "maxRetries=0", more, NULL };
    atomic_store(&handled, 0);
    atomic_store(&failing, 0);
    return engine_open(e, "pubsub.sqlite", fields, err);
}

static void *subscribe(struct engine *e, const char *topic)
{
    struct error err = { 0 };
    struct pubsub_subscription s = { .topic = str_c(topic), .handle = on_message };
    void *sub = NULL;
    CHECK_OK(ops(e)->subscribe(e->self, &s, &sub, &err), "%s", err.text);
    return sub;
}

static int publish(struct engine *e, const char *data, const char *key, const char *value)
{
    struct error err = { 0 };
    struct kv kv = { str_c(key), str_c(value) };
    struct pubsub_message m = { .topic = S("t"),
                                .data = str_c(data),
                                .metadata = { &kv, key ? 1 : 0 } };
    return ops(e)->publish(e->self, &m, &err);
}

static size_t dead(struct engine *e, struct queue_dead *v, size_t max)
{
    struct error err = { 0 };
    size_t n = 0;
    CHECK_OK(queue_dead_list(e->self, S("t"), S("app"), 0, max, &e->a, v, &n, &err), "%s",
             err.text);
    return n;
}

static size_t wait_dead(struct engine *e, struct queue_dead *v, size_t max, size_t want)
{
    size_t n = 0;
    for (int i = 0; i < 1000 && (n = dead(e, v, max)) < want; i++)
        CHECK_OK(fiber_sleep(MS(2)));
    return n;
}

TEST_LOOP(dead_letters_are_listed_and_replayed)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    struct queue_dead v[8];
    size_t n = 0;
    scratch_make(&s);
    REQUIRE(open_queue(&e, &s, NULL, &err) == 0, "%s", err.text);
    void *sub = subscribe(&e, "t");
    atomic_store(&failing, 1);
    for (int i = 0; i < 3; i++)
        CHECK_OK(publish(&e, i == 1 ? "second" : "x", "mark", "m"));
    REQUIRE(wait_dead(&e, v, COUNT(v), 3) == 3);
    CHECK_STR(v[1].m.data, "second");
    CHECK_STR(kvs_get(v[1].m.metadata, S("mark")), "m");
    CHECK(str_contains(v[1].cause, S("no taste for it")));
    CHECK_EQ(v[1].tries, 1);
    atomic_store(&failing, 0);
    CHECK_OK(queue_dead_replay(e.self, S("t"), S("app"), v[1].id, &n, &err));
    CHECK_EQ(n, 1);
    CHECK(handled_reaches(4));
    CHECK_EQ(dead(&e, v, COUNT(v)), 2);
    CHECK_OK(queue_dead_replay(e.self, S("t"), S("app"), 0, &n, &err));
    CHECK_EQ(n, 2);
    CHECK(handled_reaches(6));
    CHECK_EQ(dead(&e, v, COUNT(v)), 0);
    CHECK_OK(queue_dead_replay(e.self, S("t"), S("nobody"), 0, &n, &err));
    CHECK_EQ(n, 0);
    ops(&e)->unsubscribe(e.self, sub);
    engine_close(&e);
    CHECK_EQ(scratch_sql(&s, "SELECT count(*) FROM pubsub_message"), 0);
    CHECK_EQ(scratch_sql(&s, "SELECT count(*) FROM pubsub_delivery"), 0);
    scratch_remove(&s);
}

TEST_LOOP(dead_letter_topic_without_listener_keeps_the_message_here)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    struct queue_dead v[2];
    struct kv kv = { S("deadLetterTopic"), S("nobody-listens") };
    struct pubsub_subscription p = { .topic = S("t"),
                                     .metadata = { &kv, 1 },
                                     .handle = on_message };
    void *sub = NULL;
    scratch_make(&s);
    REQUIRE(open_queue(&e, &s, NULL, &err) == 0, "%s", err.text);
    CHECK_OK(ops(&e)->subscribe(e.self, &p, &sub, &err));
    atomic_store(&failing, 1);
    CHECK_OK(publish(&e, "x", NULL, NULL));
    CHECK_EQ(wait_dead(&e, v, COUNT(v), 1), 1);
    ops(&e)->unsubscribe(e.self, sub);
    engine_close(&e);
    scratch_remove(&s);
}

TEST_LOOP(damaged_row_is_put_aside_and_the_rest_goes_on)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    struct queue_dead v[4];
    scratch_make(&s);
    REQUIRE(open_queue(&e, &s, NULL, &err) == 0, "%s", err.text);
    ops(&e)->unsubscribe(e.self, subscribe(&e, "t"));
    for (int i = 0; i < 3; i++)
        CHECK_OK(publish(&e, "x", NULL, NULL));
    (void)scratch_sql(&s, "UPDATE pubsub_message SET meta = '[1' WHERE (id & 255) = 2;"
                          "INSERT INTO pubsub_delivery VALUES (1, 5, 0, 0, 0, NULL, NULL)");
    void *sub = subscribe(&e, "t");
    CHECK(handled_reaches(2));
    REQUIRE(wait_dead(&e, v, COUNT(v), 1) == 1);
    CHECK(str_contains(v[0].cause, S("not a JSON object")), STR_FMT, STR_ARG(v[0].cause));
    CHECK_OK(publish(&e, "x", NULL, NULL));
    CHECK(handled_reaches(3));
    ops(&e)->unsubscribe(e.self, sub);
    engine_close(&e);
    scratch_remove(&s);
}

TEST_LOOP(clock_of_the_file_may_be_ahead)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    scratch_make(&s);
    REQUIRE(open_queue(&e, &s, NULL, &err) == 0, "%s", err.text);
    ops(&e)->unsubscribe(e.self, subscribe(&e, "t"));
    engine_close(&e);
    /* as after the wall clock was set back by an hour */
    (void)scratch_sql(&s, "UPDATE pubsub_meta SET value = (unixepoch() + 3600) * 1000 "
                          "WHERE key = 'clock'");
    REQUIRE(open_queue(&e, &s, NULL, &err) == 0, "%s", err.text);
    void *sub = subscribe(&e, "t");
    uint64_t start = clock_now_ns();
    CHECK_OK(publish(&e, "x", NULL, NULL));
    CHECK_OK(publish(&e, "y", "deliverAfter", "200ms"));
    CHECK(handled_reaches(2));
    CHECK(clock_now_ns() - start >= MS(190) && clock_now_ns() - start < SEC(3));
    ops(&e)->unsubscribe(e.self, sub);
    engine_close(&e);
    scratch_remove(&s);
}

TEST_LOOP(newer_layout_is_refused)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    scratch_make(&s);
    (void)scratch_sql(&s, "CREATE TABLE pubsub_meta (key TEXT PRIMARY KEY, value INTEGER);"
                          "INSERT INTO pubsub_meta VALUES ('layout', 99)");
    CHECK_EQ(open_queue(&e, &s, NULL, &err), -PRECONDITION);
    CHECK(str_contains(str_c(err.text), S("newer")), "%s", err.text);
    scratch_remove(&s);
}

TEST_LOOP(oldest_gives_a_new_group_what_is_retained)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    const char *fields[] = { NULL, "retention=1h", "initialOffset=oldest", NULL };
    char connection[120];
    scratch_make(&s);
    snprintf(connection, sizeof connection, "connectionString=%s", s.file);
    fields[0] = connection;
    atomic_store(&handled, 0);
    atomic_store(&failing, 0);
    REQUIRE(engine_open(&e, "pubsub.sqlite", fields, &err) == 0, "%s", err.text);
    CHECK_OK(publish(&e, "x", NULL, NULL)); /* before anybody subscribed */
    CHECK_OK(publish(&e, "y", NULL, NULL));
    void *sub = subscribe(&e, "t");
    CHECK(handled_reaches(2));
    ops(&e)->unsubscribe(e.self, sub);
    engine_close(&e);
    CHECK_EQ(scratch_sql(&s, "SELECT count(*) FROM pubsub_message"), 2);
    scratch_remove(&s);
}

static uint64_t cpu_ns(void)
{
    struct rusage u;
    REQUIRE(getrusage(RUSAGE_SELF, &u) == 0);
    return SEC((uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec)) +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

TEST_LOOP(idle_queue_costs_next_to_nothing)
{
    struct scratch s;
    struct engine e, other;
    struct error err = { 0 };
    scratch_make(&s);
    REQUIRE(open_queue(&e, &s, NULL, &err) == 0, "%s", err.text);
    REQUIRE(open_queue(&other, &s, NULL, &err) == 0, "%s", err.text);
    void *sub = subscribe(&e, "t"), *sub2 = subscribe(&other, "t");
    CHECK_OK(publish(&e, "x", NULL, NULL));
    CHECK(handled_reaches(1));
    CHECK_OK(fiber_sleep(MS(1500))); /* the WAL is written back, the looks have become rare */
    uint64_t start = cpu_ns();
    CHECK_OK(fiber_sleep(SEC(1)));
    CHECK(cpu_ns() - start < MS(50), "%llu us", (unsigned long long)(cpu_ns() - start) / 1000);
    ops(&e)->unsubscribe(e.self, sub);
    ops(&other)->unsubscribe(other.self, sub2);
    engine_close(&other);
    engine_close(&e);
    scratch_remove(&s);
}

struct crowd {
    const struct scratch *s;
    atomic_int opened, left;
    struct ticket ticket;
};

static void open_one(void *arg)
{
    struct crowd *c = arg;
    struct engine e;
    struct error err = { 0 };
    int r = open_queue(&e, c->s, NULL, &err);
    CHECK_OK(r, "%s", err.text);
    if (r == 0) {
        atomic_fetch_add(&c->opened, 1);
        CHECK_OK(publish(&e, "x", NULL, NULL));
        engine_close(&e);
    }
    if (atomic_fetch_sub(&c->left, 1) == 1)
        ticket_done(&c->ticket, 0);
}

TEST_LOOP(many_may_open_a_new_file_at_once)
{
    struct scratch s;
    struct crowd c = { .s = &s, .left = 6 };
    scratch_make(&s);
    ticket_init(&c.ticket);
    for (int i = 0; i < 6; i++)
        REQUIRE(fiber_spawn("open", open_one, &c) != NULL);
    CHECK_OK(ticket_wait(&c.ticket));
    CHECK_EQ(atomic_load(&c.opened), 6);
    scratch_remove(&s);
}
