#include "block/state_crypt.h"

#include "base/id.h"
#include "test/testing.h"

#define KEY_128 "000102030405060708090a0b0c0d0e0f"
#define KEY_192 "000102030405060708090a0b0c0d0e0f0001020304050607"
#define KEY_256 "000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f"

struct setup {
    struct instance i;
    struct kv kv[2];
    struct state_crypt *crypt;
    struct arena a; /* of requests */
    struct error err;
};

/* NULL: the field isn't there. Secrets' names: "one" and "two". */
static int setup_open(struct setup *s, const char *primary, const char *secondary)
{
    *s = (struct setup){ 0 };
    arena_init(&s->i.arena, MIB(1));
    arena_init(&s->a, MIB(4));
    size_t n = 0;
    if (primary)
        s->kv[n++] = (struct kv){ S("primaryEncryptionKey"), str_c(primary) };
    if (secondary)
        s->kv[n++] = (struct kv){ S("secondaryEncryptionKey"), str_c(secondary) };
    s->i.metadata = (struct kvs){ s->kv, n };
    return state_crypt_new(&s->i, S("one"), S("two"), &s->crypt, &s->err);
}

static void setup_close(struct setup *s)
{
    arena_done(&s->a);
    arena_done(&s->i.arena);
}

static str seal(struct setup *s, const char *value, bool json)
{
    struct state_write w = { .key = S("k"), .value = str_c(value), .json = json };
    CHECK_OK(state_crypt_seal(s->crypt, &w, 1, &s->a, &s->err), "%s", s->err.text);
    CHECK(!w.json);
    return w.value;
}

static int open_value(struct setup *s, str stored, str *ret)
{
    struct state_value v = { .found = true, .value = stored };
    s->err = (struct error){ 0 };
    int r = state_crypt_open(s->crypt, &v, &s->a, &s->err);
    *ret = v.value;
    return r;
}

TEST(keys_of_three_lengths_are_taken_and_nothing_else)
{
    static const struct {
        const char *name, *primary, *secondary;
        int want;
        bool on;
    } row[] = {
        { "none", NULL, NULL, 0, false },
        { "empty", "", "", 0, false },
        { "128 bits", KEY_128, NULL, 0, true },
        { "192 bits", KEY_192, NULL, 0, true },
        { "256 bits", " " KEY_256 "\n", NULL, 0, true },
        { "both", KEY_128, KEY_256, 0, true },
        { "short", "0001", NULL, -INVALID, false },
        { "no hex", "zz0102030405060708090a0b0c0d0e0f", NULL, -INVALID, false },
        { "secondary alone", NULL, KEY_128, -INVALID, false },
        { "secondary short", KEY_128, "00", -INVALID, false },
    };
    EACH (row, r) {
        struct setup s;
        CHECK_EQ(setup_open(&s, r->primary, r->secondary), r->want, "%s", r->name);
        CHECK_EQ(r->want == 0 && s.crypt, r->on, "%s", r->name);
        CHECK(r->want == 0 || (s.err.text[0] && !strstr(s.err.text, "0001")),
              "%s: says why and not the key: %s", r->name, s.err.text);
        setup_close(&s);
    }
}

TEST(what_is_sealed_opens_again_and_never_looks_the_same)
{
    static const struct {
        const char *name, *value, *want;
        bool json;
    } row[] = {
        { "bytes", "\x01\xff||x", "\x01\xff||x", false },
        { "empty", "", "", false },
        { "a JSON string loses its quotes (surprise 15)", "\"te\\u0041xt\"", "teAxt", true },
        { "a string that isn't JSON keeps them", "\"text\"", "\"text\"", false },
        { "an object stays JSON text", "{\"a\": 1}", "{\"a\": 1}", true },
        { "a number", "1.50", "1.50", true },
    };
    struct setup s;
    CHECK_OK(setup_open(&s, KEY_256, NULL), "%s", s.err.text);
    EACH (row, r) {
        str first = seal(&s, r->value, r->json), second = seal(&s, r->value, r->json), plain;
        CHECK(str_ends(first, S("||one")), "%s", r->name);
        CHECK(!str_eq(first, second), "%s: each has a nonce of its own", r->name);
        CHECK_OK(open_value(&s, first, &plain), "%s: %s", r->name, s.err.text);
        CHECK_STR(plain, r->want, "%s", r->name);
    }
    setup_close(&s);
}

TEST(deletes_and_stores_without_keys_are_left_alone)
{
    struct setup s;
    CHECK_OK(setup_open(&s, KEY_128, NULL));
    struct state_write w[] = { { .key = S("k"), .remove = true },
                               { .key = S("j"), .value = S("v") } };
    CHECK_OK(state_crypt_seal(s.crypt, &w[0], 1, &s.a, &s.err));
    CHECK(!w[0].value.n);
    CHECK_OK(state_crypt_seal(NULL, &w[1], 1, &s.a, &s.err));
    CHECK_STR(w[1].value, "v");
    struct state_value v = { .found = true, .value = S("v") };
    CHECK_OK(state_crypt_open(NULL, &v, &s.a, &s.err));
    CHECK_STR(v.value, "v");
    v = (struct state_value){ 0 };
    CHECK_OK(state_crypt_open(s.crypt, &v, &s.a, &s.err), "what isn't there needs no key");
    setup_close(&s);
}

TEST(a_key_that_became_the_second_still_opens)
{
    struct setup before, after, gone;
    str plain;
    CHECK_OK(setup_open(&before, KEY_128, NULL));
    str stored = seal(&before, "old", false);
    /* Names tell keys apart, so the new ones say that "one" is the second now. */
    after = (struct setup){ .kv = { { S("primaryEncryptionKey"), S(KEY_256) },
                                    { S("secondaryEncryptionKey"), S(KEY_128) } } };
    arena_init(&after.i.arena, MIB(1));
    arena_init(&after.a, MIB(1));
    after.i.metadata = (struct kvs){ after.kv, 2 };
    CHECK_OK(state_crypt_new(&after.i, S("new"), S("one"), &after.crypt, &after.err));
    CHECK_OK(open_value(&after, stored, &plain), "%s", after.err.text);
    CHECK_STR(plain, "old");
    CHECK(str_ends(seal(&after, "x", false), S("||new")));

    CHECK_OK(setup_open(&gone, KEY_256, NULL));
    str other = str_of(arena_dup(&gone.a, stored).p, stored.n);
    CHECK_EQ(open_value(&gone, other, &plain), -DATA_LOSS, "the name is right, the key isn't");
    str part[] = { str_take(stored, stored.n - 3), S("lost") };
    CHECK_EQ(open_value(&gone, arena_join(&gone.a, part, 2), &plain), -DATA_LOSS);
    CHECK(strstr(gone.err.text, "lost"), "%s", gone.err.text);
    setup_close(&before);
    setup_close(&after);
    setup_close(&gone);
}

TEST(a_key_without_a_secret_is_named_after_its_field)
{
    struct setup s;
    str plain;
    CHECK_OK(setup_open(&s, NULL, NULL));
    s.kv[0] = (struct kv){ S("primaryEncryptionKey"), S(KEY_128) };
    s.i.metadata = (struct kvs){ s.kv, 1 };
    CHECK_OK(state_crypt_new(&s.i, S(""), S(""), &s.crypt, &s.err));
    str stored = seal(&s, "v", false);
    CHECK(str_ends(stored, S("||primaryEncryptionKey")));
    CHECK_OK(open_value(&s, stored, &plain));
    setup_close(&s);
}

TEST(what_was_changed_is_not_read)
{
    struct setup s;
    str plain;
    CHECK_OK(setup_open(&s, KEY_256, NULL));
    str stored = seal(&s, "the value", false);
    size_t text = stored.n - strlen("||one");
    for (size_t i = 0; i < text; i++) {
        char *copy = arena_cstr(&s.a, stored);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        CHECK_EQ(open_value(&s, str_of(copy, stored.n), &plain), -DATA_LOSS, "byte %zu", i);
        CHECK(!strstr(s.err.text, "the value"), "%s", s.err.text);
    }
    static const char *const bad[] = { "plain", "||one", "AAAA||one", "%%%%||one", "x||" };
    EACH (bad, b)
        CHECK_EQ(open_value(&s, str_c(*b), &plain), -DATA_LOSS, "%s", *b);
    setup_close(&s);
}

TEST(a_value_that_does_not_fit_is_told)
{
    struct setup s;
    struct arena small;
    CHECK_OK(setup_open(&s, KEY_128, NULL));
    struct state_write w = { .key = S("k"), .value = S("value") };
    arena_init(&small, 8);
    CHECK_EQ(state_crypt_seal(s.crypt, &w, 1, &small, &s.err), -EXHAUSTED);
    str stored = seal(&s, "value", false);
    struct state_value v = { .found = true, .value = stored };
    s.err = (struct error){ 0 };
    CHECK_EQ(state_crypt_open(s.crypt, &v, &small, &s.err), -EXHAUSTED);
    arena_done(&small);
    setup_close(&s);
}
