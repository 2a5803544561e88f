#include "load.h"

static str fake_env(void *arg, str name)
{
    static const struct kv var[] = {
        { S("HOME_DIR"), S("/home") },    { S("EMPTY"), S("") },
        { S("POD_NAME"), S("pod-7") },    { S("DAPR_SECRET"), S("x") },
        { S("APP_API_TOKEN"), S("tok") }, { S("a b"), S("c") },
    };
    if (arg && str_eq(name, S("DAPR_ENV_KEYS")))
        return str_c(arg);
    for (size_t i = 0; i < COUNT(var); i++)
        if (str_eq(var[i].key, name))
            return var[i].value;
    return (str){ 0 };
}

static int fake_secret(void *arg, str store, str name, str key, struct arena *a, str *ret,
                       struct error *err)
{
    if (!str_eq(store, S("vault")))
        return fail(err, NOT_FOUND, NULL, "no store");
    *ret = arena_printf(a, STR_FMT "/" STR_FMT "={appID}", STR_ARG(name), STR_ARG(key));
    return ret->p ? 0 : fail(err, EXHAUSTED, NULL, "no memory");
}

struct fixture {
    struct arena arena;
    struct diags diags;
    struct kvs kvs;
    struct error err;
};

static int resolve(struct fixture *f, const char *items, const struct resolve_env *env,
                   const char *store)
{
    char text[1024];
    snprintf(text, sizeof text,
             "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: a}\n"
             "spec:\n  type: state.x\n  metadata:\n%s",
             items);
    struct resources *r = load(text);
    REQUIRE(r->n_components == 1, "%s", said(r));
    *f = (struct fixture){ 0 };
    arena_init(&f->arena, MIB(4));
    diags_init(&f->diags, &f->arena);
    int code = values_resolve(&r->component[0].metadata, str_c(store), "f.yaml", env, &f->arena,
                              &f->kvs, &f->diags, &f->err);
    resources_unref(r); /* what was resolved stands on its own */
    return code;
}

static const struct resolve_env full = { S("shop"), S("prod"), fake_env, fake_secret, NULL };

TEST(values_secrets_and_environment_become_text)
{
    static const struct {
        const char *name, *item, *want, *said;
    } row[] = {
        { "plain", "value: v", "v", NULL },
        { "none", "value:", "", NULL },
        { "app id", "value: 'a{appID}b{appID}'", "ashopbshop", NULL },
        { "namespace", "value: '{namespace}-x'", "prod.shop-x", NULL },
        { "pod", "value: '{podName}'", "pod-7", NULL },
        { "not a template", "value: '{pod} {} { {appId}'", "{pod} {} { {appId}", NULL },
        { "env", "envRef: HOME_DIR", "/home", NULL },
        { "empty env", "envRef: EMPTY", "", NULL },
        { "unset env", "envRef: NOPE", "",
          "envRef NOPE: the environment does not have it: the value is left empty" },
        { "dapr env", "envRef: DAPR_SECRET", "",
          "envRef DAPR_SECRET: it may not be read from the environment: the value is left empty" },
        { "token", "envRef: APP_API_TOKEN", "",
          "envRef APP_API_TOKEN: it may not be read from the environment: the value is left "
          "empty" },
        { "space", "envRef: 'a b'", "",
          "envRef a b: it may not be read from the environment: the value is left empty" },
        { "value wins over env", "value: v\n    envRef: HOME_DIR", "v", NULL },
        { "secret", "secretKeyRef: {name: n, key: k}", "n/k=shop", NULL },
        { "secret without key", "secretKeyRef: {name: n}", "n/n=shop", NULL },
    };
    EACH (row, c) {
        struct fixture f;
        char item[256];
        snprintf(item, sizeof item, "  - name: k\n    %s\n", c->item);
        CHECK_OK(resolve(&f, item, &full, "vault"), "%s", c->name);
        REQUIRE(f.kvs.n == 1);
        CHECK_STR(f.kvs.v[0].key, "k");
        CHECK_STR(f.kvs.v[0].value, c->want, "%s", c->name);
        CHECK_TEXT(f.diags.n ? f.diags.v[0].text : "", c->said ? c->said : "", "%s", c->name);
        CHECK(!f.diags.n || f.diags.v[0].line == 7);
        arena_done(&f.arena);
    }
}

TEST(missing_secret_is_said_and_leaves_the_value_empty)
{
    struct fixture f;
    CHECK_OK(resolve(&f, "  - {name: k, secretKeyRef: {name: n}}\n", &full, "other"));
    CHECK_STR(f.kvs.v[0].value, "");
    REQUIRE(f.diags.n == 1);
    CHECK_TEXT(f.diags.v[0].text, "secret of metadata \"k\": no store: the value is left empty");
    arena_done(&f.arena);
    struct resolve_env none = full;
    none.secret = NULL;
    CHECK_OK(resolve(&f, "  - {name: k, secretKeyRef: {name: n}}\n", &none, "vault"));
    CHECK_TEXT(f.diags.v[0].text, "secret of metadata \"k\": secret store \"vault\" is not loaded: "
                                  "the value is left empty");
    arena_done(&f.arena);
}

TEST(listed_environment_keys_exclude_all_others)
{
    struct fixture f;
    struct resolve_env env = full;
    char keys[] = "OTHER HOME_DIR";
    env.arg = keys;
    CHECK_OK(
        resolve(&f, "  - {name: k, envRef: HOME_DIR}\n  - {name: j, envRef: EMPTY}\n", &env, ""));
    CHECK_STR(f.kvs.v[0].value, "/home");
    CHECK_EQ(f.diags.n, 1);
    arena_done(&f.arena);
}

TEST(each_uuid_is_another)
{
    struct fixture f;
    CHECK_OK(resolve(&f, "  - {name: k, value: '{uuid}{uuid}'}\n", &full, ""));
    str v = f.kvs.v[0].value;
    REQUIRE(v.n == 72);
    CHECK(!str_eq(str_take(v, 36), str_skip(v, 36)));
    CHECK(v.p[8] == '-' && v.p[44] == '-');
    arena_done(&f.arena);
}

TEST(pod_name_without_a_pod_is_an_error)
{
    struct fixture f;
    struct resolve_env env = { S("shop"), S("") };
    CHECK_EQ(resolve(&f, "  - {name: k, value: '{podName}'}\n", &env, ""), -INVALID);
    CHECK_TEXT(f.err.text, "a value uses {podName}, but POD_NAME is not set in the environment");
    arena_done(&f.arena);
    CHECK_OK(resolve(&f, "  - {name: k, value: '{namespace}'}\n", &env, ""));
    CHECK_STR(f.kvs.v[0].value, "shop");
    arena_done(&f.arena);
}

TEST(single_values_resolve_alike)
{
    struct arena a;
    struct error err = { 0 };
    str v = S("canary");
    struct value_ref plain = { .value = S("x") }, none = { { 0 } },
                     secret = { .secret = { S("n"), S("k") } };
    arena_init(&a, KIB(16));
    CHECK_OK(value_resolve(&plain, S(""), &full, &a, &v, &err));
    CHECK_STR(v, "x");
    CHECK_OK(value_resolve(&none, S(""), &full, &a, &v, &err));
    CHECK_STR(v, "");
    CHECK_OK(value_resolve(&secret, S("vault"), &full, &a, &v, &err));
    CHECK_STR(v, "n/k={appID}");
    CHECK_EQ(value_resolve(&secret, S("other"), &full, &a, &v, &err), -NOT_FOUND);
    arena_done(&a);
}
