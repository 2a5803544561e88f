#include "block/secret.h"
#include "fixture.h"

static const char SCOPES[] =
    "--- config\napiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec:\n"
    "  secrets:\n    scopes:\n      - storeName: s\n        defaultAccess: allow\n"
    "        deniedSecrets: [hidden]\n";

TEST_CO(stores_that_are_not_there_have_the_contracts_errors)
{
    struct fixture f;
    struct instance *i = (void *)1;
    struct error err = { 0 };
    fixture_open(&f, NULL);
    CHECK_EQ(secret_find(&f.b, S("s"), &i, &err), -PRECONDITION);
    CHECK_TEXT(err.tag, "ERR_SECRET_STORES_NOT_CONFIGURED");
    fixture_add(&f, "secret", "s", NULL);
    err = (struct error){ 0 };
    CHECK_EQ(secret_find(&f.b, S("x"), &i, &err), -INVALID);
    CHECK_TEXT(err.tag, "ERR_SECRET_STORE_NOT_FOUND");
    CHECK(i == (void *)1, "set on success alone");
    CHECK_OK(secret_find(&f.b, S("s"), &i, &err));
    fixture_close(&f);
}

TEST_CO(scopes_refuse_one_and_filter_many)
{
    struct fixture f;
    struct error err = { 0 };
    struct kvs kvs;
    struct secret *all;
    size_t n;
    fixture_open(&f, SCOPES);
    struct fake *s = fixture_add(&f, "secret", "s", NULL);
    struct instance *i = fixture_instance(&f, "secret", "s");
    CHECK_OK(block_secret_get(&f.b, i, S("open"), (struct kvs){ 0 }, &f.arena, &kvs, &err));
    CHECK_STR(kvs_get(kvs, S("password")), "pass word");
    CHECK_EQ(block_secret_get(&f.b, i, S("hidden"), (struct kvs){ 0 }, &f.arena, &kvs, &err),
             -DENIED);
    CHECK_TEXT(err.tag, "ERR_PERMISSION_DENIED");
    CHECK_EQ(s->calls, 1, "the store isn't asked");
    err = (struct error){ 0 };
    CHECK_OK(block_secret_bulk(&f.b, i, (struct kvs){ 0 }, &f.arena, &all, &n, &err));
    CHECK_EQ(n, 1);
    CHECK_STR(all[0].name, "open");
    fixture_close(&f);
}

TEST_CO(failures_become_ERR_SECRET_GET)
{
    static const int code[] = { NOT_FOUND, UNAVAILABLE, INVALID, TIMEOUT };
    struct fixture f;
    struct kvs kvs;
    struct secret *all;
    size_t n;
    fixture_open(&f, NULL);
    struct fake *s = fixture_add(&f, "secret", "s", NULL);
    struct instance *i = fixture_instance(&f, "secret", "s");
    EACH (code, c) {
        struct error err = { 0 }, bulk = { 0 };
        s->code = *c;
        s->failures = 2;
        s->text = "sealed";
        CHECK_EQ(block_secret_get(&f.b, i, S("k"), (struct kvs){ 0 }, &f.arena, &kvs, &err),
                 -INTERNAL);
        CHECK_TEXT(err.tag, "ERR_SECRET_GET");
        CHECK_TEXT(err.text, "failed getting secret with key k from secret store s: sealed");
        CHECK_EQ(block_secret_bulk(&f.b, i, (struct kvs){ 0 }, &f.arena, &all, &n, &bulk),
                 -INTERNAL);
        CHECK_TEXT(bulk.tag, "ERR_SECRET_GET");
    }
    fixture_close(&f);
}

TEST_CO(a_store_without_bulk_says_so)
{
    struct fixture f;
    struct error err = { 0 };
    struct secret *all;
    size_t n;
    fixture_open(&f, NULL);
    fixture_add(&f, "secret-small", "s", NULL);
    CHECK_EQ(block_secret_bulk(&f.b, fixture_instance(&f, "secret", "s"), (struct kvs){ 0 },
                               &f.arena, &all, &n, &err),
             -INTERNAL);
    CHECK(str_contains(str_c(err.text), S("can't list")));
    fixture_close(&f);
}
