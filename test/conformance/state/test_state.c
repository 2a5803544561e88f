/* The conformance suite of state stores: reading, and the helpers of all cases. */
#include "test/conformance/state/cases.h"

#include "base/id.h"

struct kvs state_meta(struct suite *s, const char *key, const char *value)
{
    struct kv *kv = arena_alloc(&s->a, sizeof *kv);
    INV(kv);
    *kv = (struct kv){ str_c(key), str_c(value) };
    return (struct kvs){ kv, 1 };
}

int state_write(struct suite *s, struct state_write w, struct error *err)
{
    return ops_of(s)->write(s->self, &w, err);
}

int state_put(struct suite *s, const char *key, const char *json)
{
    struct error err = { 0 };
    struct state_write w = { .key = str_c(key), .value = str_c(json), .json = true };
    return state_write(s, w, &err);
}

int state_read(struct suite *s, str key, struct state_value *ret)
{
    struct error err = { 0 };
    *ret = (struct state_value){ 0 };
    return ops_of(s)->get(s->self, key, CONSISTENCY_NONE, (struct kvs){ 0 }, &s->a, ret, &err);
}

bool state_holds(struct suite *s, const char *key, const char *json)
{
    struct state_value v;
    if (state_read(s, str_c(key), &v) < 0)
        return false;
    return json ? v.found && str_eq(v.value, str_c(json)) : !v.found;
}

str state_etag(struct suite *s, const char *key)
{
    struct state_value v;
    return state_read(s, str_c(key), &v) == 0 && v.found ? v.etag : (str){ 0 };
}

/* ---- reading ---- */

static void get_of_missing_key_finds_nothing(struct suite *s)
{
    struct state_value v;
    CHECK(state_read(s, S("app||nobody"), &v) == 0);
    CHECK(!v.found);
}

static void set_then_get_gives_the_same_text(struct suite *s)
{
    struct state_value v;
    CHECK(state_put(s, "app||k", "{\"a\": [1,2.50,\"x\"] }") == 0);
    CHECK(state_read(s, S("app||k"), &v) == 0);
    CHECK(v.found && str_eq(v.value, S("{\"a\": [1,2.50,\"x\"] }")));
    CHECK(v.expire_ns == 0);
    if (s->type->features & STATE_ETAG)
        CHECK(v.etag.n > 0);
}

static void bytes_come_back_as_they_were(struct suite *s)
{
    static const size_t size[] = { 0, 1, 2, 3, 255, 4096, 100003 };
    for (size_t i = 0; i < COUNT(size); i++) {
        struct state_value v;
        struct error err = { 0 };
        char *bytes = arena_alloc(&s->a, size[i] + 1);
        INV(bytes);
        for (size_t k = 0; k < size[i]; k++)
            bytes[k] = (char)id_random();
        struct state_write w = { .key = S("app||bytes"), .value = str_of(bytes, size[i]) };
        CHECK(state_write(s, w, &err) == 0);
        CHECK(state_read(s, w.key, &v) == 0);
        CHECK(v.found && str_eq(v.value, w.value));
    }
}

static void keys_are_bytes_and_case_counts(struct suite *s)
{
    static const char *const key[] = {
        "app||Key",
        "app||key",
        "app||k'ey\"; DROP TABLE state",
        "app||%_[*?",
        "app||\xc3\xa9\xe2\x82\xac",
        "app||a b\tc\nd",
        "none",
    };
    for (size_t i = 0; i < COUNT(key); i++) {
        str value = arena_printf(&s->a, "%zu", i);
        CHECK(state_put(s, key[i], value.p) == 0);
    }
    for (size_t i = 0; i < COUNT(key); i++)
        CHECK(state_holds(s, key[i], arena_printf(&s->a, "%zu", i).p));
}

static void long_keys_differ_at_the_end(struct suite *s)
{
    char a[1025], b[1025];
    memset(a, 'k', 1024);
    memset(b, 'k', 1024);
    a[1024] = b[1024] = 0;
    b[1023] = 'x';
    CHECK(state_put(s, a, "1") == 0);
    CHECK(state_put(s, b, "2") == 0);
    CHECK(state_holds(s, a, "1"));
    CHECK(state_holds(s, b, "2"));
}

static void bulk_get_answers_each_key_at_its_place(struct suite *s)
{
    static const str key[] = { { "b", 1 }, { "missing", 7 }, { "a", 1 }, { "b", 1 } };
    struct state_value v[COUNT(key)] = { 0 };
    struct error err = { 0 };
    if (!ops_of(s)->bulk_get)
        return;
    CHECK(state_put(s, "a", "1") == 0);
    CHECK(state_put(s, "b", "2") == 0);
    CHECK(ops_of(s)->bulk_get(s->self, key, COUNT(key), (struct kvs){ 0 }, &s->a, v, &err) == 0);
    CHECK(v[0].found && str_eq(v[0].value, S("2")) && v[0].err.code == OK);
    CHECK(!v[1].found && v[1].err.code == OK);
    CHECK(v[2].found && str_eq(v[2].value, S("1")));
    CHECK(v[3].found && str_eq(v[3].etag, v[0].etag));
    CHECK(ops_of(s)->bulk_get(s->self, key, 0, (struct kvs){ 0 }, &s->a, v, &err) == 0);
}

static void data_is_there_after_a_restart(struct suite *s)
{
    CHECK(state_put(s, "app||k", "\"kept\"") == 0);
    str etag = state_etag(s, "app||k");
    if (!suite_reopen(s))
        return;
    CHECK(state_holds(s, "app||k", "\"kept\""));
    CHECK(str_eq(state_etag(s, "app||k"), etag));
}

static void two_processes_see_each_others_writes(struct suite *s)
{
    void *mine = s->self, *other = suite_open_other(s);
    if (!other)
        return;
    for (int i = 0; i < 20; i++) {
        str value = arena_printf(&s->a, "%d", i);
        s->self = i % 2 ? mine : other;
        CHECK(state_put(s, "k", value.p) == 0);
        s->self = i % 2 ? other : mine;
        CHECK(state_holds(s, "k", value.p));
    }
    s->self = mine;
    suite_close_other(s, other);
}

static const struct suite_case cases[] = {
    { "get_of_missing_key_finds_nothing", 0, NULL, get_of_missing_key_finds_nothing },
    { "set_then_get_gives_the_same_text", 0, NULL, set_then_get_gives_the_same_text },
    { "bytes_come_back_as_they_were", 0, NULL, bytes_come_back_as_they_were },
    { "keys_are_bytes_and_case_counts", 0, NULL, keys_are_bytes_and_case_counts },
    { "long_keys_differ_at_the_end", 0, NULL, long_keys_differ_at_the_end },
    { "bulk_get_answers_each_key_at_its_place", 0, NULL, bulk_get_answers_each_key_at_its_place },
    { "data_is_there_after_a_restart", 0, "durable", data_is_there_after_a_restart },
    { "two_processes_see_each_others_writes", 0, "shared", two_processes_see_each_others_writes },
};

int main(int argc, char **argv)
{
    struct suite_case all[96];
    size_t n = COUNT(cases);
    INV(n + n_state_write_cases + n_state_limit_cases <= COUNT(all));
    memcpy(all, cases, sizeof cases);
    memcpy(all + n, state_write_cases, n_state_write_cases * sizeof *all);
    n += n_state_write_cases;
    memcpy(all + n, state_limit_cases, n_state_limit_cases * sizeof *all);
    n += n_state_limit_cases;
    return suite_main(argc, argv, "state", all, n);
}
