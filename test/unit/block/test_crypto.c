#include "block/crypto.h"
#include "fixture.h"

#include <stdio.h>

static struct error last;

TEST_CO(providers_that_are_not_there_have_the_contracts_errors)
{
    struct fixture f;
    struct instance *i = (void *)1;
    fixture_open(&f, NULL);
    last = (struct error){ 0 };
    CHECK_EQ(crypto_find(&f.b, S("c"), &i, &last), -INTERNAL);
    CHECK_TEXT(last.tag, "ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED");
    fixture_add(&f, "crypto", "c", NULL);
    last = (struct error){ 0 };
    CHECK_EQ(crypto_find(&f.b, S("x"), &i, &last), -INVALID);
    CHECK_TEXT(last.tag, "ERR_CRYPTO_PROVIDER_NOT_FOUND");
    CHECK_TEXT(last.text, "crypto provider x not found");
    last = (struct error){ 0 };
    CHECK_EQ(crypto_find(&f.b, S(""), &i, &last), -INVALID);
    CHECK_TEXT(last.tag, "ERR_BAD_REQUEST");
    CHECK(i == (void *)1, "set on success alone");
    CHECK_OK(crypto_find(&f.b, S("c"), &i, &last));
    fixture_close(&f);
}

/* Whether it was the padding, the tag or the key is nobody's business. */
TEST_CO(why_decrypting_failed_is_not_told)
{
    static const struct {
        enum crypto_op op;
        const char *want;
    } row[] = {
        { CRYPTO_ENCRYPT, "failed to perform operation: failed to encrypt: bad padding" },
        { CRYPTO_DECRYPT, "failed to perform operation: failed to decrypt" },
        { CRYPTO_WRAP, "failed to perform operation: failed to wrap key: bad padding" },
        { CRYPTO_UNWRAP, "failed to perform operation: failed to unwrap key" },
        { CRYPTO_SIGN, "failed to perform operation: failed to sign: bad padding" },
    };
    static const int code[] = { INVALID, NOT_FOUND, UNAVAILABLE, DATA_LOSS };
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "crypto", "c", NULL);
    struct instance *i = fixture_instance(&f, "crypto", "c");
    struct crypto_input in = { .key = S("k"), .algorithm = S("A"), .data = S("x") };
    struct crypto_output out;
    bool valid = true;
    e->text = "bad padding";
    EACH (code, c) {
        EACH (row, r) {
            last = (struct error){ 0 };
            e->code = *c;
            e->failures = 1;
            CHECK_EQ(block_crypto_run(&f.b, i, r->op, &in, &f.arena, &out, &last), -INTERNAL);
            CHECK_TEXT(last.tag, "ERR_CRYPTO");
            CHECK_TEXT(last.text, r->want);
        }
        last = (struct error){ 0 };
        e->failures = 1;
        CHECK_EQ(block_crypto_verify(&f.b, i, &in, &valid, &last), -INTERNAL);
        CHECK_TEXT(last.text, "failed to perform operation: failed to verify signature");
        CHECK(valid, "set on success alone");
    }
    fixture_close(&f);
}

TEST_CO(operations_reach_the_provider)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "crypto", "c", NULL);
    struct instance *i = fixture_instance(&f, "crypto", "c");
    struct crypto_input in = { .data = S("text") };
    struct crypto_output out;
    bool valid = false;
    str key;
    last = (struct error){ 0 };
    CHECK_OK(block_crypto_run(&f.b, i, CRYPTO_ENCRYPT, &in, &f.arena, &out, &last));
    CHECK_STR(out.tag, "tag");
    in = (struct crypto_input){ .data = out.data, .tag = out.tag };
    CHECK_OK(block_crypto_run(&f.b, i, CRYPTO_DECRYPT, &in, &f.arena, &out, &last));
    CHECK_STR(out.data, "text");
    in.tag = S("good");
    CHECK_OK(block_crypto_verify(&f.b, i, &in, &valid, &last));
    CHECK(valid);
    CHECK_OK(block_crypto_get_key(&f.b, i, S("k"), CRYPTO_KEY_JSON, &f.arena, &key, &last));
    CHECK_STR(key, "{}");
    fixture_close(&f);
}

TEST_CO(what_a_provider_cannot_do_is_said_once)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "crypto-small", "c", NULL);
    struct instance *i = fixture_instance(&f, "crypto", "c");
    struct crypto_input in = { .data = S("text") };
    struct crypto_output out;
    bool valid;
    str key;
    last = (struct error){ 0 };
    CHECK_EQ(block_crypto_run(&f.b, i, CRYPTO_SIGN, &in, &f.arena, &out, &last), -INTERNAL);
    CHECK(str_contains(str_c(last.text), S("can't do that")), "%s", last.text);
    last = (struct error){ 0 };
    CHECK_EQ(block_crypto_verify(&f.b, i, &in, &valid, &last), -INTERNAL);
    last = (struct error){ 0 };
    CHECK_EQ(block_crypto_get_key(&f.b, i, S("k"), CRYPTO_KEY_PEM, &f.arena, &key, &last),
             -INTERNAL);
    CHECK_TEXT(last.tag, "ERR_CRYPTO_KEY");
    CHECK_TEXT(last.text, "failed to retrieve key k: this provider can't do that");
    fixture_close(&f);
}

static const char RETRY[] =
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec:\n"
    "  policies:\n    retries: {twice: {policy: constant, duration: 1ms, maxRetries: 2}}\n"
    "  targets:\n    components: {c: {outbound: {retry: twice}}}\n";

TEST_CO(only_what_may_heal_is_tried_again)
{
    static const struct {
        int code;
        unsigned calls;
    } row[] = { { UNAVAILABLE, 3 }, { INVALID, 1 }, { NOT_FOUND, 1 } };
    struct fixture f;
    fixture_open(&f, RETRY);
    struct fake *e = fixture_add(&f, "crypto", "c", NULL);
    struct instance *i = fixture_instance(&f, "crypto", "c");
    struct crypto_input in = { .data = S("text") };
    struct crypto_output out;
    EACH (row, r) {
        last = (struct error){ 0 };
        e->code = r->code;
        e->text = "no";
        e->failures = 9;
        e->calls = 0;
        CHECK_EQ(block_crypto_run(&f.b, i, CRYPTO_SIGN, &in, &f.arena, &out, &last), -INTERNAL);
        CHECK_EQ(e->calls, r->calls);
    }
    fixture_close(&f);
}
