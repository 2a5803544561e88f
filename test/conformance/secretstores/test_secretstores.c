/* Every secret store of the registry must pass what stands under "any store"; behind it, what only
 * one of them promises. */
#include "components/secretstores/local.file/flatten.h"
#include "fixture.h"

#include "base/buf.h"

struct store { /* how to set an engine up so that it holds alpha = one and beta = two */
    const char *type;
    CO int (*open)(struct fixture *f);
    bool unset_is_empty; /* an unknown name is an empty value, no error */
};

CO static int open_file(struct fixture *f)
{
    struct arena a;
    arena_init(&a, KIB(64));
    const char *path = fixture_file(&a, "suite.json", "{\"alpha\":\"one\",\"beta\":\"two\"}");
    const char *md[] = { "secretsFile", path, NULL };
    int r = fixture_open(f, "secretstores.local.file", md, NULL);
    arena_done(&a); /* the store must not borrow from its metadata */
    return r;
}

CO static int open_env(struct fixture *f)
{
    setenv("SUITE_alpha", "one", 1);
    setenv("SUITE_beta", "two", 1);
    const char *md[] = { "prefix", "SUITE_", NULL };
    return fixture_open(f, "secretstores.local.env", md, NULL);
}

static const struct store stores[] = {
    { "secretstores.local.file", open_file, false },
    { "secretstores.local.env", open_env, true },
};

static const struct secret_ops *ops(const struct fixture *f)
{
    return CONTAINER_OF(f->type, struct secret_ops, t);
}

/* The value of key in the secret called name; .p NULL when get() fails. */
CO static str value_of(struct fixture *f, struct arena *a, str name, str key)
{
    struct error err = { 0 };
    struct kvs got = { 0 };
    int r = ops(f)->get(f->self, name, (struct kvs){ 0 }, a, &got, &err);
    return r ? (str){ 0 } : kvs_get(got, key);
}

CO static void expect(struct fixture *f, str name, str key, str want)
{
    struct arena a;
    arena_init(&a, MIB(1));
    str got = value_of(f, &a, name, key);
    CHECK(got.p && str_eq(got, want), "%s: " STR_FMT "/" STR_FMT " is '" STR_FMT "'", f->type->type,
          STR_ARG(name), STR_ARG(key), STR_ARG(got));
    arena_done(&a);
}

/* ---- any store ---- */

TEST(every_engine_is_in_this_suite)
{
    const char *types[COUNT(stores) + 1] = { NULL };
    for (size_t i = 0; i < COUNT(stores); i++)
        types[i] = stores[i].type;
    fixture_check_rows("secretstores", types);
}

CO static void try_known_name_gives_its_value(const struct store *s)
{
    struct fixture f;
    if (CHECK(s->open(&f) == 0, "%s: %s", s->type, f.err.text)) {
        expect(&f, S("alpha"), S("alpha"), S("one"));
        expect(&f, S("beta"), S("beta"), S("two"));
    }
    fixture_close(&f);
}

CO static void try_unknown_name_is_refused_or_empty(const struct store *s)
{
    struct fixture f;
    struct arena a;
    arena_init(&a, MIB(1));
    static const char *const bad[] = { "gamma", "", "a=b", "ALPHA ", "\xff\xfe" };
    if (CHECK(s->open(&f) == 0, "%s: %s", s->type, f.err.text)) {
        for (size_t i = 0; i < COUNT(bad); i++) {
            struct error err = { 0 };
            struct kvs got = { 0 };
            int r = ops(&f)->get(f.self, str_c(bad[i]), (struct kvs){ 0 }, &a, &got, &err);
            if (s->unset_is_empty)
                CHECK(r == 0 && got.n == 1 && got.v[0].value.n == 0, "%s: '%s' gives %d", s->type,
                      bad[i], r);
            else
                CHECK(r == -NOT_FOUND && err.code == NOT_FOUND && err.text[0] && got.n == 0,
                      "%s: '%s' gives %d", s->type, bad[i], r);
        }
    }
    fixture_close(&f);
    arena_done(&a);
}

CO static void try_bulk_has_every_name_once(const struct store *s)
{
    struct fixture f;
    struct arena a;
    struct error err = { 0 };
    struct secret *v = NULL;
    size_t n = 0, alpha = 0, beta = 0;
    arena_init(&a, MIB(1));
    if (CHECK(s->open(&f) == 0, "%s: %s", s->type, f.err.text)) {
        int r = ops(&f)->bulk(f.self, (struct kvs){ 0 }, &a, &v, &n, &err);
        CHECK(r == 0, "%s: bulk: %s", s->type, err.text);
        for (size_t i = 0; i < n; i++) {
            alpha += str_eq(v[i].name, S("alpha")) && str_eq(v[i].values.v[0].value, S("one"));
            beta += str_eq(v[i].name, S("beta")) && str_eq(v[i].values.v[0].value, S("two"));
            CHECK(v[i].values.n > 0 && str_eq(v[i].values.v[0].key, v[i].name), "%s: %zu", s->type,
                  i);
        }
        CHECK(n == 2 && alpha == 1 && beta == 1, "%s: bulk gives %zu secrets", s->type, n);
    }
    fixture_close(&f);
    arena_done(&a);
}

/* A request's memory is bounded: the store must say so, not crash. */
CO static void try_full_arena_is_an_error(const struct store *s)
{
    struct fixture f;
    struct arena none;
    struct error err = { 0 };
    struct kvs got = { 0 };
    struct secret *v = NULL;
    size_t n = 77;
    arena_init(&none, 0);
    if (CHECK(s->open(&f) == 0, "%s: %s", s->type, f.err.text)) {
        int r = ops(&f)->get(f.self, S("alpha"), (struct kvs){ 0 }, &none, &got, &err);
        CHECK(r == -EXHAUSTED && err.code == EXHAUSTED && got.n == 0, "%s: get: %d", s->type, r);
        err = (struct error){ 0 };
        r = ops(&f)->bulk(f.self, (struct kvs){ 0 }, &none, &v, &n, &err);
        CHECK(r == -EXHAUSTED && n == 77, "%s: bulk: %d", s->type, r);
    }
    fixture_close(&f);
    arena_done(&none);
}

TEST_LOOP(known_name_gives_its_value)
{
    EACH (stores, s)
        try_known_name_gives_its_value(s);
}

TEST_LOOP(unknown_name_is_refused_or_empty)
{
    EACH (stores, s)
        try_unknown_name_is_refused_or_empty(s);
}

TEST_LOOP(bulk_has_every_name_once)
{
    EACH (stores, s)
        try_bulk_has_every_name_once(s);
}

TEST_LOOP(full_arena_is_an_error)
{
    EACH (stores, s)
        try_full_arena_is_an_error(s);
}

/* ---- local.file ---- */

CO static int open_text(struct fixture *f, const char *text, const char *separator,
                        const char *multi)
{
    struct arena a;
    arena_init(&a, KIB(64));
    const char *md[] = { "secretsFile",
                         fixture_file(&a, "secrets.json", text),
                         "nestedSeparator",
                         separator,
                         "multiValued",
                         multi,
                         NULL };
    int r = fixture_open(f, "secretstores.local.file", md, NULL);
    arena_done(&a);
    return r;
}

static const char nested[] = "{\"redis\":{\"host\":\"h\",\"ports\":[6379,\"6380\"],\"tls\":true,"
                             "\"none\":null},\"plain\":\"\\u00e9\",\"empty\":{}}";

TEST_LOOP(nested_values_have_long_names)
{
    static const struct {
        const char *name, *value;
    } row[] = {
        { "redis:host", "h" },   { "redis:ports:0", "6379" }, { "redis:ports:1", "6380" },
        { "redis:tls", "true" }, { "redis:none", "" },        { "plain", "\xc3\xa9" },
    };
    struct fixture f;
    if (CHECK(open_text(&f, nested, "", "") == 0, "%s", f.err.text)) {
        for (size_t i = 0; i < COUNT(row); i++)
            expect(&f, str_c(row[i].name), str_c(row[i].name), str_c(row[i].value));
        CHECK(f.type->features_of(f.self) == 0, "single values are no feature");
    }
    fixture_close(&f);
    if (CHECK(open_text(&f, nested, "__", "false") == 0, "%s", f.err.text))
        expect(&f, S("redis__ports__1"), S("redis__ports__1"), S("6380"));
    fixture_close(&f);
}

TEST_LOOP(multi_valued_object_is_one_secret)
{
    struct fixture f;
    struct arena a;
    struct secret *v = NULL;
    size_t n = 0;
    arena_init(&a, MIB(1));
    if (CHECK(open_text(&f, nested, "", "true") == 0, "%s", f.err.text)) {
        CHECK(f.type->features_of(f.self) == SECRET_MULTIPLE, "the feature must be shown");
        expect(&f, S("redis"), S("host"), S("h"));
        expect(&f, S("redis"), S("ports:1"), S("6380"));
        expect(&f, S("plain"), S("plain"), S("\xc3\xa9"));
        CHECK(!value_of(&f, &a, S("redis:host"), S("redis:host")).p, "no long name here");
        CHECK(ops(&f)->bulk(f.self, (struct kvs){ 0 }, &a, &v, &n, &f.err) == 0 && n == 3,
              "bulk gives %zu", n);
        CHECK(n == 3 && v[0].values.n == 5, "redis has %zu values", n ? v[0].values.n : 0);
    }
    fixture_close(&f);
    arena_done(&a);
}

TEST_LOOP(file_that_is_wrong_is_refused)
{
    static const struct {
        const char *name, *text, *multi, *says;
    } row[] = {
        { "no such file", NULL, "", "nowhere" },
        { "not JSON", "{\"a\":1,}", "", "line 1 column 8" },
        { "a list", "[1]", "", "must hold one JSON object, not array" },
        { "empty", "", "", "" },
        { "colliding names", "{\"a\":{\"b\":1},\"a:b\":2}", "", "two values have the name 'a:b'" },
        { "twice", "{\"a\":1,\"a\":2}", "true", "'a' is there twice" },
        { "twice, flat", "{\"a\":1,\"a\":2}", "", "two values have the name 'a'" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct fixture f;
        int r;
        if (row[i].text) {
            r = open_text(&f, row[i].text, "", row[i].multi);
        } else {
            const char *md[] = { "secretsFile", "/nowhere/at/all.json", NULL };
            r = fixture_open(&f, "secretstores.local.file", md, NULL);
        }
        CHECK(r < 0 && strstr(f.err.text, row[i].says), "%s: %d '%s'", row[i].name, r, f.err.text);
        fixture_close(&f);
    }
}

TEST_LOOP(deep_nesting_is_refused)
{
    for (size_t levels = 60; levels <= 70; levels += 10) {
        AUTO(buf_done) struct buf b;
        buf_init(&b, KIB(4));
        for (size_t i = 0; i < levels; i++)
            buf_put(&b, S("{\"a\":"));
        buf_put(&b, S("1"));
        for (size_t i = 0; i < levels; i++)
            buf_putc(&b, '}');
        buf_putc(&b, '\0');
        struct fixture f;
        int r = open_text(&f, buf_str(&b).p, "", "");
        CHECK(levels < 64 ? r == 0 : r == -INVALID, "%zu levels: %d %s", levels, r, f.err.text);
        fixture_close(&f);
    }
}

TEST_LOOP(empty_file_has_no_secrets)
{
    struct fixture f;
    struct arena a;
    struct secret *v = NULL;
    size_t n = 77;
    arena_init(&a, KIB(64));
    if (CHECK(open_text(&f, "{}", "", "") == 0, "%s", f.err.text))
        CHECK(ops(&f)->bulk(f.self, (struct kvs){ 0 }, &a, &v, &n, &f.err) == 0 && n == 0,
              "bulk gives %zu", n);
    fixture_close(&f);
    arena_done(&a);
}

TEST(flatten_survives_failed_allocations)
{
    for (size_t multi = 0; multi < 2; multi++) {
        struct flatten_options options = { S(":"), multi == 1 };
        FAIL_EACH_ALLOC(n)
        {
            struct arena a;
            struct secret *v = NULL;
            size_t count = 77;
            struct error err = { 0 };
            arena_init(&a, MIB(1));
            int r = local_file_flatten(str_c(nested), &options, &a, &v, &count, &err);
            bool failed = test_alloc_failed(n);
            CHECK_EQ(r, failed ? -EXHAUSTED : 0, "allocation %zu", n);
            CHECK_EQ(count, failed ? 77 : multi ? 3 : 6, "allocation %zu", n);
            arena_done(&a);
        }
    }
}

TEST_LOOP(file_is_required)
{
    struct fixture f;
    int r = fixture_open(&f, "secretstores.local.file", NULL, NULL);
    CHECK(r == -INVALID && strstr(f.err.text, "secretsFile"), "%d '%s'", r, f.err.text);
    fixture_close(&f);
}

/* ---- local.env ---- */

TEST_LOOP(runtime_variables_are_hidden)
{
    setenv("DAPR_API_TOKEN", "hush", 1);
    setenv("dapr_lower", "hush", 1);
    setenv("APP_API_TOKEN", "hush", 1);
    setenv("VISIBLE", "yes", 1);
    struct fixture f;
    struct arena a;
    struct secret *v = NULL;
    size_t n = 0;
    arena_init(&a, MIB(8));
    if (CHECK(fixture_open(&f, "secretstores.local.env", NULL, NULL) == 0, "%s", f.err.text)) {
        expect(&f, S("DAPR_API_TOKEN"), S("DAPR_API_TOKEN"), S(""));
        expect(&f, S("dapr_lower"), S("dapr_lower"), S(""));
        expect(&f, S("APP_API_TOKEN"), S("APP_API_TOKEN"), S(""));
        expect(&f, S("VISIBLE"), S("VISIBLE"), S("yes"));
        CHECK(ops(&f)->bulk(f.self, (struct kvs){ 0 }, &a, &v, &n, &f.err) == 0 && n > 0, "bulk");
        for (size_t i = 0; i < n; i++)
            CHECK(!str_eq(v[i].values.v[0].value, S("hush")), STR_FMT " leaks", STR_ARG(v[i].name));
    }
    fixture_close(&f);
    arena_done(&a);
}

/* The prefix must not open what is hidden: prefix "DAPR_" and the name "API_TOKEN". */
TEST_LOOP(prefix_does_not_uncover)
{
    setenv("DAPR_API_TOKEN", "hush", 1);
    const char *md[] = { "prefix", "DAPR_", NULL };
    struct fixture f;
    struct arena a;
    struct secret *v = NULL;
    size_t n = 77;
    arena_init(&a, MIB(1));
    if (CHECK(fixture_open(&f, "secretstores.local.env", md, NULL) == 0, "%s", f.err.text)) {
        expect(&f, S("API_TOKEN"), S("API_TOKEN"), S(""));
        CHECK(ops(&f)->bulk(f.self, (struct kvs){ 0 }, &a, &v, &n, &f.err) == 0 && n == 0,
              "bulk gives %zu", n);
    }
    fixture_close(&f);
    arena_done(&a);
}
