#include "block/state.h"
#include "fixture.h"

static struct error last;

static int get(struct fixture *f, const char *store, const char *key, struct state_value *ret)
{
    last = (struct error){ 0 };
    struct instance *i;
    *ret = (struct state_value){ 0 };
    int r = state_find(&f->b, str_c(store), &i, &last);
    return r < 0 ? r
                 : block_state_get(&f->b, i, str_c(key), CONSISTENCY_NONE, (struct kvs){ 0 },
                                   &f->arena, ret, &last);
}

static int save(struct fixture *f, const char *store, const char *key, const char *value)
{
    last = (struct error){ 0 };
    struct instance *i;
    struct state_write w = { .key = str_c(key), .value = str_c(value), .json = true };
    int r = state_find(&f->b, str_c(store), &i, &last);
    return r < 0 ? r : block_state_save(&f->b, i, &w, 1, &f->arena, &last);
}

TEST_CO(keys_are_prefixed_as_the_component_says)
{
    static const struct {
        const char *mode, *namespace_, *want;
    } row[] = {
        { NULL, "", "me||k" },
        { "keyPrefix=appid", "", "me||k" },
        { "KEYPREFIX=AppId", "", "me||k" },
        { "keyPrefix=name", "", "s||k" },
        { "keyPrefix=none", "", "k" },
        { "keyPrefix=namespace", "", "me||k" },
        { "keyPrefix=namespace", "ns", "ns.me||k" },
        { "keyPrefix=MyOwn", "", "myown||k" },
    };
    EACH (row, r) {
        struct fixture f;
        fixture_open(&f, NULL);
        f.b.namespace_raw = r->namespace_;
        const char *fields[] = { r->mode, NULL };
        struct fake *s = fixture_add(&f, "state", "s", fields);
        CHECK_OK(save(&f, "s", "k", "1"));
        CHECK_STR(s->item[0].key, r->want);
        struct state_value v;
        CHECK_OK(get(&f, "s", "k", &v));
        CHECK_STR(v.value, "1");
        CHECK_OK(get(&f, "s", "other", &v));
        CHECK(!v.found);
        fixture_close(&f);
    }
}

TEST_CO(a_prefix_with_bars_is_refused)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct instance i = { .name = "s" };
    struct kv kv = { S("keyPrefix"), S("a||b") };
    struct error err = { 0 };
    i.metadata = (struct kvs){ &kv, 1 };
    arena_init(&i.arena, MIB(1));
    CHECK_EQ(state_attach(&f.b, &i, &err), -INVALID);
    CHECK(str_contains(str_c(err.text), S("keyPrefix of component s")));
    arena_done(&i.arena);
    fixture_close(&f);
}

TEST_CO(a_store_that_is_not_there_is_said_so)
{
    struct fixture f;
    struct state_value v;
    fixture_open(&f, NULL);
    CHECK_EQ(get(&f, "s", "k", &v), -PRECONDITION);
    CHECK_TEXT(last.tag, "ERR_STATE_STORE_NOT_CONFIGURED");
    CHECK_TEXT(last.reason, "DAPR_STATE_NOT_CONFIGURED");
    fixture_add(&f, "state", "s", NULL);
    CHECK_EQ(get(&f, "t", "k", &v), -INVALID);
    CHECK_TEXT(last.tag, "ERR_STATE_STORE_NOT_FOUND");
    CHECK_TEXT(last.reason, "DAPR_STATE_NOT_FOUND");
    CHECK_TEXT(last.meta_key[0], "appID");
    CHECK_TEXT(last.meta[0], "me");
    fixture_close(&f);
}

TEST_CO(a_key_with_bars_is_refused)
{
    struct fixture f;
    struct state_value v;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, "state", "s", NULL);
    CHECK_EQ(get(&f, "s", "a||b", &v), -INVALID);
    CHECK_TEXT(last.tag, "ERR_MALFORMED_REQUEST");
    CHECK_TEXT(last.reason, "DAPR_STATE_ILLEGAL_KEY");
    CHECK_TEXT(last.violation, "a||b");
    CHECK_TEXT(last.resource, "s");
    CHECK_EQ(save(&f, "s", "a||b", "1"), -INVALID);
    CHECK_EQ(save(&f, "s",
                  "a key far longer than the place that an error has for it||, which must be cut",
                  "1"),
             -INVALID);
    CHECK_EQ(strlen(last.violation), 31);
    CHECK_EQ(s->calls, 0);
    fixture_close(&f);
}

TEST_CO(failures_of_the_engine_become_the_contracts_errors)
{
    static const struct {
        int engine, get, save, remove;
    } row[] = {
        { UNAVAILABLE, -INTERNAL, -INTERNAL, -INTERNAL },
        { ABORTED, -INTERNAL, -ABORTED, -ABORTED },
        { INVALID, -INTERNAL, -INVALID, -INVALID },
        { TIMEOUT, -INTERNAL, -INTERNAL, -INTERNAL },
        { EXHAUSTED, -INTERNAL, -INTERNAL, -INTERNAL },
        { UNKNOWN, -INTERNAL, -INTERNAL, -INTERNAL },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, "state", "s", NULL);
    struct instance *i = fixture_instance(&f, "state", "s");
    EACH (row, r) {
        struct state_value v;
        s->code = r->engine;
        s->text = "it broke";
        s->failures = 1;
        CHECK_EQ(get(&f, "s", "k", &v), r->get);
        CHECK_TEXT(last.tag, "ERR_STATE_GET");
        CHECK_TEXT(last.text, "fail to get k from state store s: it broke");
        s->failures = 1;
        CHECK_EQ(save(&f, "s", "k", "1"), r->save);
        CHECK_TEXT(last.tag, "ERR_STATE_SAVE");
        CHECK_TEXT(last.text, "failed saving state in state store s: it broke");
        s->failures = 1;
        struct state_write w = { .key = S("k") };
        struct error err = { 0 };
        CHECK_EQ(block_state_delete(&f.b, i, &w, &f.arena, &err), r->remove);
        CHECK_TEXT(err.tag, "ERR_STATE_DELETE");
        CHECK_TEXT(err.text, "failed deleting state with key k: it broke");
    }
    fixture_close(&f);
}

static const char RETRIES[] =
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: r\nspec:\n  policies:\n"
    "    retries:\n      three: {policy: constant, duration: 10ms, maxRetries: 3}\n"
    "  targets:\n    components:\n      s: {outbound: {retry: three}}\n";

TEST_CO(stores_are_retried_but_stale_etags_are_not)
{
    struct fixture f;
    struct state_value v;
    fixture_open(&f, RETRIES);
    struct fake *s = fixture_add(&f, "state", "s", NULL);
    *s = (struct fake){ .code = UNAVAILABLE, .failures = 3, .text = "x", .arena = s->arena };
    CHECK_OK(get(&f, "s", "k", &v));
    CHECK_EQ(s->calls, 4);
    s->failures = 3;
    CHECK_OK(save(&f, "s", "k", "1"));
    CHECK_EQ(s->calls, 8);
    s->failures = 9;
    s->code = ABORTED;
    CHECK_EQ(save(&f, "s", "k", "1"), -ABORTED);
    CHECK_EQ(s->calls, 9);
    fixture_close(&f);
}

static void bulk(const char *kind)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, kind, "s", NULL);
    struct instance *i = fixture_instance(&f, kind, "s");
    CHECK_OK(save(&f, "s", "a", "1"));
    CHECK_OK(save(&f, "s", "c", "3"));
    str keys[] = { S("a"), S("b"), S("c") };
    struct state_value v[3];
    memset(v, 0xee, sizeof v);
    struct error err = { 0 };
    static const int64_t parallel[] = { -1, 0, 1, INT64_MAX };
    EACH (parallel, p) {
        CHECK_OK(block_state_bulk_get(&f.b, i, keys, 3, *p, (struct kvs){ 0 }, &f.arena, v, &err));
        CHECK(v[0].found && !v[1].found && v[2].found);
        CHECK_STR(v[2].value, "3");
        CHECK_EQ(v[1].err.code, 0);
    }
    unsigned before = s->calls;
    CHECK_OK(block_state_bulk_get(&f.b, i, keys, 0, 0, (struct kvs){ 0 }, &f.arena, v, &err));
    CHECK_EQ(s->calls, before, "nothing to ask");
    str bad[] = { S("a"), S("x||y") };
    CHECK_EQ(block_state_bulk_get(&f.b, i, bad, 2, 0, (struct kvs){ 0 }, &f.arena, v, &err),
             -INVALID);
    fixture_close(&f);
}

TEST_CO(bulk_get_asks_the_engine_once)
{
    bulk("state");
}

TEST_CO(bulk_get_asks_for_each_key_where_the_engine_has_no_bulk)
{
    bulk("state-small");
}

TEST_CO(a_key_of_a_bulk_that_fails_has_its_own_error)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, "state-small", "s", NULL);
    struct state_value v[2];
    str keys[] = { S("a"), S("b") };
    struct error err = { 0 };
    s->code = UNAVAILABLE;
    s->text = "gone";
    s->failures = 1;
    CHECK_OK(block_state_bulk_get(&f.b, fixture_instance(&f, "state", "s"), keys, 2, 1,
                                  (struct kvs){ 0 }, &f.arena, v, &err));
    CHECK_TEXT(v[0].err.text, "gone");
    CHECK_EQ(v[1].err.code, 0);
    fixture_close(&f);
}

TEST_CO(each_key_of_a_bulk_delete_is_tried)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, "state-small", "s", NULL);
    struct state_write w[] = { { .key = S("a") }, { .key = S("b") }, { .key = S("c") } };
    CHECK_OK(save(&f, "s", "c", "3"));
    s->calls = 0;
    s->code = UNAVAILABLE;
    s->text = "gone";
    s->failures = 1;
    last = (struct error){ 0 };
    CHECK_EQ(block_state_delete_bulk(&f.b, fixture_instance(&f, "state", "s"), w, COUNT(w),
                                     &f.arena, &last),
             -INTERNAL);
    CHECK_TEXT(last.tag, "ERR_STATE_BULK_DELETE");
    CHECK_TEXT(last.text, "failed deleting state in state store s: gone");
    CHECK_EQ(s->calls, 3);
    struct state_value v;
    CHECK_OK(get(&f, "s", "c", &v));
    CHECK(!v.found);
    fixture_close(&f);
}

static int transact(struct fixture *f, const char *kind, size_t n)
{
    struct state_write w[5] = { { .key = S("a"), .value = S("1") },
                                { .key = S("b"), .value = S("2") },
                                { .key = S("a"), .remove = true },
                                { .key = S("d") },
                                { .key = S("e") } };
    last = (struct error){ 0 };
    struct state_transaction t = { .w = w, .n = n };
    return block_state_transact(&f->b, fixture_instance(f, kind, "s"), &t, &f->arena, &last);
}

TEST_CO(transactions_have_the_contracts_limits_and_errors)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, "state", "s", NULL);
    CHECK_OK(transact(&f, "state", 0));
    CHECK_EQ(s->calls, 0);
    CHECK_OK(transact(&f, "state", 3));
    CHECK_EQ(s->calls, 1);
    CHECK_EQ(transact(&f, "state", 4), -INVALID);
    CHECK_TEXT(last.tag, "ERR_STATE_STORE_TOO_MANY_TRANSACTIONS");
    CHECK_TEXT(last.reason, "DAPR_STATE_TOO_MANY_TRANSACTIONS");
    CHECK_TEXT(last.meta_key[0], "currentOpsTransaction");
    CHECK_TEXT(last.meta[0], "4");
    CHECK_TEXT(last.meta_key[1], "maxOpsPerTransaction");
    CHECK_TEXT(last.meta[1], "3");
    s->failures = 1;
    s->code = ABORTED;
    s->text = "stale etag";
    CHECK_EQ(transact(&f, "state", 1), -INTERNAL, "surprise 13");
    CHECK_TEXT(last.tag, "ERR_STATE_TRANSACTION");
    CHECK_TEXT(last.text, "error while executing state transaction: stale etag");
    fixture_close(&f);

    fixture_open(&f, NULL);
    fixture_add(&f, "state-small", "s", NULL);
    CHECK_EQ(transact(&f, "state", 1), -UNIMPLEMENTED);
    CHECK_TEXT(last.tag, "ERR_STATE_STORE_NOT_SUPPORTED");
    CHECK_TEXT(last.reason, "DAPR_STATE_TRANSACTIONS_NOT_SUPPORTED");
    CHECK(last.help_url && last.help_text);
    fixture_close(&f);
}

TEST_CO(query_gives_back_the_apps_keys)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, "state", "s", NULL);
    struct instance *i = fixture_instance(&f, "state", "s");
    CHECK_OK(save(&f, "s", "a", "1"));
    s->item[s->n++] = (struct kv){ S("bare"), S("2") };
    s->item[s->n++] = (struct kv){ S("x||y||z"), S("3") };
    struct state_query_result *v;
    size_t n;
    str token;
    struct error err = { 0 };
    CHECK_OK(
        block_state_query(&f.b, i, S("{}"), (struct kvs){ 0 }, &f.arena, &v, &n, &token, &err));
    REQUIRE(n == 3);
    CHECK_STR(v[0].key, "a");
    CHECK_STR(v[1].key, "bare");
    CHECK_STR(v[2].key, "y", "surprise 16");
    CHECK_STR(token, "next");
    s->failures = 1;
    s->code = INVALID;
    s->text = "bad";
    CHECK_EQ(block_state_query(&f.b, i, S("{}"), (struct kvs){ 0 }, &f.arena, &v, &n, &token, &err),
             -INTERNAL);
    CHECK_TEXT(err.reason, "DAPR_STATE_QUERY_FAILED");
    fixture_close(&f);
}

TEST_CO(without_memory_no_key_is_written_under_another_name)
{
    FAIL_EACH_ALLOC(n)
    {
        struct blocks b = { .app_id = "me", .namespace_raw = "ns" };
        struct kv kv = { S("keyPrefix"), S("namespace") };
        struct instance i = { .name = "s", .metadata = { &kv, 1 } };
        struct error err = { 0 };
        struct resiliency *none = resiliency_new(NULL, 0, &err);
        b.resiliency = none;
        arena_init(&i.arena, MIB(1));
        int r = none ? state_attach(&b, &i, &err) : -EXHAUSTED;
        CHECK(r == 0 || r == -EXHAUSTED);
        CHECK(r == 0 || err.code, "allocation %zu", n);
        if (r == 0)
            CHECK_TEXT(*(char **)i.extra, "ns.me||", "allocation %zu", n);
        if (i.extra_free)
            i.extra_free(i.extra);
        arena_done(&i.arena);
        resiliency_free(none);
    }
}
