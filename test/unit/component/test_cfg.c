#include "component/component.h"
#include "component/state.h"

#include "base/mem.h"

#include "test/testing.h"

struct thing {
    const char *host, *password;
    bool tls;
    int64_t port, wait_ns, lease_ns, room;
};

static const struct cfg_field fields[] = {
    { "host", "redisHost", CFG_STR, offsetof(struct thing, host), CFG_REQUIRED, NULL,
      "host:port of the server" },
    { "password", NULL, CFG_STR, offsetof(struct thing, password), CFG_SECRET, NULL,
      "never shown" },
    { "enableTLS", NULL, CFG_BOOL, offsetof(struct thing, tls), 0, "true", "TLS" },
    { "port", NULL, CFG_INT, offsetof(struct thing, port), CFG_SECRET, NULL, "port" },
    { "readTimeout", NULL, CFG_DURATION, offsetof(struct thing, wait_ns), 0, "3s", "one reply" },
    { "lease", NULL, CFG_DURATION, offsetof(struct thing, lease_ns), CFG_SECONDS, "5", "lease" },
    { "room", NULL, CFG_SIZE, offsetof(struct thing, room), 0, "4Mi", "memory" },
};
static const struct component_type type = {
    .kind = "state",
    .type = "state.thing",
    .version = "v1",
    .fields = fields,
    .n_fields = COUNT(fields),
};

struct fixture {
    struct arena arena;
    struct thing thing;
    struct error err;
    char warned[512];
};

static void keep_warning(void *arg, const char *text)
{
    struct fixture *f = arg;
    size_t n = strlen(f->warned);
    strncat(f->warned, text, sizeof f->warned - n - 1);
}

static int decode(struct fixture *f, const struct component_type *t, const struct kv *v, size_t n)
{
    *f = (struct fixture){ 0 };
    arena_init(&f->arena, KIB(64));
    return cfg_decode(t, (struct kvs){ v, n }, &f->arena, &f->thing, keep_warning, f, &f->err);
}

#define DECODE(f, ...)                                                                             \
    ({                                                                                             \
        const struct kv kv_[] = { __VA_ARGS__ };                                                   \
        decode(f, &type, kv_, COUNT(kv_));                                                         \
    })

TEST(absent_fields_take_their_defaults)
{
    struct fixture f;
    CHECK_EQ(DECODE(&f, { S("host"), S("here:1") }), 0);
    CHECK_TEXT(f.thing.host, "here:1");
    CHECK_TEXT(f.thing.password, "");
    CHECK(f.thing.tls);
    CHECK_EQ(f.thing.port, 0);
    CHECK_EQ(f.thing.wait_ns, SEC(3));
    CHECK_EQ(f.thing.lease_ns, SEC(5));
    CHECK_EQ(f.thing.room, MIB(4));
    CHECK_TEXT(f.warned, "");
    arena_done(&f.arena);
}

TEST(names_are_compared_without_case_and_aliases_count)
{
    struct fixture f;
    CHECK_EQ(DECODE(&f, { S("REDISHOST"), S("h") }, { S("EnableTls"), S("off") },
                    { S("READTIMEOUT"), S("250") }, { S("lease"), S("2") }, { S("room"), S("10k") },
                    { S("Port"), S("-7") }),
             0);
    CHECK_TEXT(f.thing.host, "h");
    CHECK(!f.thing.tls);
    CHECK_EQ(f.thing.wait_ns, MS(250));
    CHECK_EQ(f.thing.lease_ns, SEC(2));
    CHECK_EQ(f.thing.room, 10000);
    CHECK_EQ(f.thing.port, -7);
    arena_done(&f.arena);
}

TEST(bad_values_are_named_but_never_secret_ones)
{
    static const struct {
        const char *name;
        struct kv kv;
        const char *want;
    } row[] = {
        { "duration",
          { S("readTimeout"), S("soon") },
          "metadata field \"readTimeout\": \"soon\" is not a duration such as 20s, or a number of "
          "milliseconds" },
        { "seconds",
          { S("lease"), S("x") },
          "metadata field \"lease\": \"x\" is not a duration such as 20s, or a number of seconds" },
        { "secret number",
          { S("port"), S("hunter2") },
          "metadata field \"port\": its value (not shown) is not a whole number" },
        { "negative size",
          { S("room"), S("-1") },
          "metadata field \"room\": \"-1\" is not a number of bytes such as 65536 or 4Mi" },
        { "nul byte",
          { S("password"), S("a\0b") },
          "metadata field \"password\": its value (not shown) is not text without NUL bytes" },
        { "empty required",
          { S("host"), S("") },
          "metadata field \"host\" is required: host:port of the server" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct fixture f;
        struct kv kv[] = { { S("host"), S("h") }, row[i].kv };
        if (decode(&f, &type, kv, COUNT(kv)) != -INVALID || strcmp(f.err.text, row[i].want) != 0)
            CHECK(false, "%s: %s", row[i].name, f.err.text);
        arena_done(&f.arena);
    }
}

TEST(required_field_that_is_absent_is_an_error)
{
    struct fixture f;
    CHECK_EQ(DECODE(&f, { S("port"), S("1") }), -INVALID);
    CHECK_TEXT(f.err.text, "metadata field \"host\" is required: host:port of the server");
    arena_done(&f.arena);
}

TEST(unknown_key_is_warned_of_with_the_nearest_name)
{
    struct fixture f;
    CHECK_EQ(DECODE(&f, { S("host"), S("h") }, { S("readTimout"), S("1s") }), 0);
    CHECK_TEXT(f.warned, "state.thing has no metadata field \"readTimout\" (did you mean "
                         "\"readTimeout\"?): it is ignored");
    arena_done(&f.arena);
    CHECK_EQ(DECODE(&f, { S("host"), S("h") }, { S("zebra"), S("1s") }), 0);
    CHECK_TEXT(f.warned, "state.thing has no metadata field \"zebra\": it is ignored");
    arena_done(&f.arena);
}

TEST(keys_of_the_kind_and_free_forms_are_not_warned_of)
{
    struct fixture f;
    CHECK_EQ(DECODE(&f, { S("host"), S("h") }, { S("keyPrefix"), S("none") }), 0);
    CHECK_TEXT(f.warned, "");
    arena_done(&f.arena);
    struct component_type loose = type;
    loose.free_form = true;
    struct kv kv[] = { { S("host"), S("h") }, { S("/a/{b}"), S("/c") } };
    CHECK_EQ(decode(&f, &loose, kv, COUNT(kv)), 0);
    CHECK_TEXT(f.warned, "");
    arena_done(&f.arena);
}

TEST(last_of_equal_keys_counts)
{
    const struct kv kv[] = { { S("a"), S("1") }, { S("A"), S("2") } };
    CHECK(str_eq(kvs_get((struct kvs){ kv, 2 }, S("a")), S("2")));
    CHECK(!kvs_get((struct kvs){ kv, 2 }, S("b")).p);
    CHECK(!kvs_get((struct kvs){ 0 }, S("b")).p);
}

TEST(merge_keeps_all_of_the_first_and_what_the_other_adds)
{
    const struct kv kv[] = { { S("a"), S("1") }, { S("B"), S("2") } }, *one = kv;
    const struct kv more[] = { { S("b"), S("3") }, { S("c"), S("4") } };
    struct arena arena, none;
    struct kvs both;
    arena_init(&arena, 4096);
    arena_init(&none, 0);
    CHECK_OK(kvs_merge(&arena, (struct kvs){ kv, 2 }, (struct kvs){ more, 2 }, &both));
    CHECK_EQ(both.n, 3);
    CHECK_STR(kvs_get(both, S("b")), "2");
    CHECK_STR(kvs_get(both, S("c")), "4");
    CHECK_EQ(kvs_merge(&none, (struct kvs){ kv, 2 }, (struct kvs){ more, 2 }, &both), -EXHAUSTED);
    CHECK_OK(kvs_merge(&none, (struct kvs){ kv, 2 }, (struct kvs){ 0 }, &both)); /* no copy */
    CHECK(both.v == one);
    arena_done(&arena);
    arena_done(&none);
}

TEST(out_of_memory_is_exhausted_not_a_crash)
{
    struct fixture f = { 0 };
    arena_init(&f.arena, 0);
    struct kv kv[] = { { S("host"), S("h") } };
    int r = cfg_decode(&type, (struct kvs){ kv, 1 }, &f.arena, &f.thing, NULL, NULL, &f.err);
    CHECK_EQ(r, -EXHAUSTED);
}

TEST(ttl_is_seconds_never_or_an_error)
{
    static const struct {
        str text;
        int want;
        int64_t seconds;
    } row[] = {
        { S("10"), 0, 10 },    { S(" 5 "), 0, 5 },     { S("-1"), 0, -1 },
        { S(""), 0, 0 },       { S("0"), 0, 0 },       { S("2147483647"), 0, INT32_MAX },
        { S("-2"), -INVALID }, { S("1s"), -INVALID },  { S("2147483648"), -INVALID },
        { S("x"), -INVALID },  { S("1.5"), -INVALID }, { S("99999999999999999999"), -INVALID },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct kv kv = { S("TTLINSECONDS"), row[i].text };
        int64_t seconds = 77;
        struct error err = { 0 };
        CHECK_EQ(state_ttl((struct kvs){ &kv, 1 }, &seconds, &err), row[i].want);
        CHECK_EQ(seconds, row[i].want ? 77 : row[i].seconds);
        CHECK_EQ(err.text[0] != 0, row[i].want != 0);
    }
    int64_t seconds = 77;
    CHECK_EQ(state_ttl((struct kvs){ 0 }, &seconds, NULL), 0);
    CHECK_EQ(seconds, 0);
}
