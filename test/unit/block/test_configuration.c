#include "block/configuration.h"
#include "fixture.h"

static struct error last;
static const struct configuration_query ALL;

static struct instance *store(struct fixture *f)
{
    return fixture_instance(f, "configuration", "c");
}

static int subscribe_app(struct fixture *f, char id[UUID_LEN])
{
    last = (struct error){ 0 };
    return block_configuration_subscribe_app(&f->b, store(f), &ALL, id, &last);
}

TEST_CO(stores_that_are_not_there_have_the_contracts_errors)
{
    struct fixture f;
    struct instance *i = (void *)1;
    fixture_open(&f, NULL);
    last = (struct error){ 0 };
    CHECK_EQ(configuration_find(&f.b, S("c"), &i, &last), -PRECONDITION);
    CHECK_TEXT(last.tag, "ERR_CONFIGURATION_STORE_NOT_CONFIGURED");
    fixture_add(&f, "configuration", "c", NULL);
    last = (struct error){ 0 };
    CHECK_EQ(configuration_find(&f.b, S("x"), &i, &last), -INVALID);
    CHECK_TEXT(last.tag, "ERR_CONFIGURATION_STORE_NOT_FOUND");
    CHECK(i == (void *)1, "set on success alone");
    CHECK_OK(configuration_find(&f.b, S("c"), &i, &last));
    fixture_close(&f);
}

TEST_CO(items_are_sorted_and_each_is_there_once)
{
    struct fixture f;
    struct configuration_item *v;
    size_t n;
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    e->item[e->n++] = (struct kv){ S("b"), S("2") };
    e->item[e->n++] = (struct kv){ S("a"), S("1") };
    str keys[] = { S("b"), S("a"), S("b"), S("nobody") };
    struct configuration_query q = { keys, COUNT(keys), { 0 } };
    last = (struct error){ 0 };
    CHECK_OK(block_configuration_get(&f.b, store(&f), &q, &f.arena, &v, &n, &last));
    CHECK_EQ(n, 2);
    CHECK_STR(v[0].key, "a");
    CHECK_STR(v[1].value, "2");
    e->failures = 1;
    e->code = UNAVAILABLE;
    e->text = "away";
    CHECK_EQ(block_configuration_get(&f.b, store(&f), &q, &f.arena, &v, &n, &last), -INTERNAL);
    CHECK_TEXT(last.tag, "ERR_CONFIGURATION_GET");
    CHECK_TEXT(last.text, "failed to get [b a b nobody] from Configuration store c: away");
    fixture_close(&f);
}

TEST_CO(updates_go_to_the_app_once_a_key_with_the_whole_event_s78)
{
    struct fixture f;
    char id[UUID_LEN];
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    CHECK_OK(subscribe_app(&f, id));
    CHECK(e->subscribed);
    struct kv kv = { S("m"), S("<1>") };
    struct configuration_item items[] = {
        { .key = S("a b"), .value = S("1"), .version = S("v2"), .metadata = { &kv, 1 } },
        { .key = S("gone") },
    };
    CHECK_OK(e->watch.handle(e->watch.arg, items, 2, &last));
    CHECK_EQ(f.app_calls, 2);
    CHECK_STR(f.seen_target, "/configuration/c/gone");
    str want =
        arena_printf(&f.arena,
                     "{\"id\":\"%.*s\",\"items\":{\"a b\":{\"value\":\"1\",\"version\":\"v2\","
                     "\"metadata\":{\"m\":\"\\u003c1\\u003e\"}},\"gone\":{}}}",
                     UUID_LEN, id);
    CHECK_STR(f.seen_body, want.p);
    CHECK_STR(http_headers_get(&f.seen, S("content-type")), "application/json");
    CHECK_OK(e->watch.handle(e->watch.arg, items, 1, &last));
    CHECK_STR(f.seen_target, "/configuration/c/a%20b");
    fixture_close(&f);
}

static const char RETRY[] =
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec:\n"
    "  policies:\n    retries: {twice: {policy: constant, duration: 1ms, maxRetries: 2}}\n"
    "  targets:\n    components: {c: {inbound: {retry: twice}}}\n";

TEST_CO(an_answer_but_200_is_tried_again_by_the_inbound_policy)
{
    static const struct {
        int status;
        unsigned calls;
    } row[] = { { 200, 1 }, { 201, 3 }, { 204, 3 }, { 500, 3 }, { 404, 3 } };
    struct fixture f;
    char id[UUID_LEN];
    fixture_open(&f, RETRY);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    CHECK_OK(subscribe_app(&f, id));
    struct configuration_item item = { .key = S("a"), .value = S("1") };
    EACH (row, r) {
        f.status = r->status;
        f.app_calls = 0;
        CHECK_OK(e->watch.handle(e->watch.arg, &item, 1, &last));
        CHECK_EQ(f.app_calls, r->calls, "status %d", r->status);
    }
    fixture_close(&f);
}

TEST_CO(without_an_app_nothing_can_be_told)
{
    struct fixture f;
    char id[UUID_LEN];
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    f.b.app = NULL;
    CHECK_EQ(subscribe_app(&f, id), -INTERNAL);
    CHECK_TEXT(last.tag, "ERR_APP_CHANNEL_NIL");
    CHECK_EQ(e->calls, 0);
    fixture_close(&f);
}

TEST_CO(failing_to_subscribe_leaves_nothing_behind)
{
    struct fixture f;
    char id[UUID_LEN];
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    e->failures = 1;
    e->code = UNAVAILABLE;
    e->text = "away";
    CHECK_EQ(subscribe_app(&f, id), -INVALID);
    CHECK_TEXT(last.tag, "ERR_CONFIGURATION_SUBSCRIBE");
    CHECK_TEXT(last.text, "failed to subscribe [] from Configuration store c: away");
    fixture_close(&f);
}

TEST_CO(a_store_that_cannot_be_watched_says_so)
{
    struct fixture f;
    char id[UUID_LEN];
    fixture_open(&f, NULL);
    fixture_add(&f, "configuration-small", "c", NULL);
    CHECK_EQ(subscribe_app(&f, id), -INVALID);
    CHECK(str_contains(str_c(last.text), S("can't be watched")), "%s", last.text);
    fixture_close(&f);
}

TEST_CO(an_id_ends_its_subscription_once)
{
    struct fixture f;
    char id[UUID_LEN];
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    CHECK_OK(subscribe_app(&f, id));
    CHECK_EQ(block_configuration_unsubscribe(&f.b, store(&f), S("x"), &last), -NOT_FOUND);
    CHECK_EQ(block_configuration_unsubscribe(&f.b, store(&f), S(""), &last), -NOT_FOUND);
    CHECK(e->subscribed);
    last = (struct error){ 0 };
    CHECK_OK(block_configuration_unsubscribe(&f.b, store(&f), str_of(id, UUID_LEN), &last));
    CHECK(!e->subscribed);
    CHECK_EQ(block_configuration_unsubscribe(&f.b, store(&f), str_of(id, UUID_LEN), &last),
             -NOT_FOUND);
    CHECK_TEXT(last.tag, "ERR_CONFIGURATION_UNSUBSCRIBE");
    fixture_close(&f);
}

struct end {
    unsigned stops, gones;
};

static void note_stop(void *arg)
{
    ((struct end *)arg)->stops++;
}

static void note_gone(void *arg)
{
    ((struct end *)arg)->gones++;
}

static int tell_nobody(void *arg, str id, const struct configuration_item *items, size_t n,
                       struct error *err)
{
    return 0;
}

TEST_CO(stopping_ends_all_and_refuses_new_ones)
{
    struct fixture f;
    char id[UUID_LEN];
    struct end end = { 0 };
    struct configuration_watcher w = { tell_nobody, note_stop, note_gone, &end };
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    last = (struct error){ 0 };
    CHECK_OK(block_configuration_subscribe(&f.b, store(&f), &ALL, &w, id, &last));
    CHECK_OK(block_configuration_subscribe(&f.b, store(&f), &ALL, &w, id, &last));
    configuration_stop(&f.b);
    CHECK_EQ(end.stops, 2);
    CHECK_EQ(end.gones, 2);
    CHECK(!e->subscribed);
    CHECK_EQ(subscribe_app(&f, id), -INVALID);
    CHECK(!e->subscribed);
    fixture_close(&f);
}

TEST_CO(without_memory_nothing_is_subscribed)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    FAIL_EACH_ALLOC(n)
    {
        char id[UUID_LEN];
        int r = subscribe_app(&f, id);
        CHECK(r == 0 || test_alloc_failed(n), "allocation %zu: %s", n, last.text);
        CHECK_EQ(e->subscribed, r == 0, "allocation %zu", n);
        if (r == 0)
            CHECK_OK(block_configuration_unsubscribe(&f.b, store(&f), str_of(id, UUID_LEN), NULL));
    }
    fixture_close(&f);
}
