#include "test/conformance/crypto/cases.h"

#include <stdio.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/rsa.h>

static void signatures_are_verified(struct suite *s)
{
    static const struct {
        const char *algorithm, *key;
        size_t digest;
    } row[] = {
        { "RS256", "rsa.pem", 32 }, { "RS384", "rsa.pem", 48 }, { "RS512", "rsa.pem", 64 },
        { "PS256", "rsa.pem", 32 }, { "PS384", "rsa.pem", 48 }, { "PS512", "rsa.pem", 64 },
        { "ES256", "ec.pem", 32 },  { "ES384", "ec.pem", 48 },  { "ES512", "ec.pem", 64 },
        { "EdDSA", "ed.pem", 100 }, { "EdDSA", "ed.pem", 0 },
    };
    char digest[100];
    memset(digest, 5, sizeof digest);
    key_pem(s, "rsa.pem", EVP_RSA_gen(2048));
    key_pem(s, "ec.pem", EVP_EC_gen("P-256"));
    key_pem(s, "ed.pem", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    for (size_t i = 0; i < COUNT(row); i++) {
        struct crypto_output out;
        struct crypto_input in = { .key = str_c(row[i].key),
                                   .algorithm = str_c(row[i].algorithm),
                                   .data = str_of(digest, row[i].digest) };
        bool ok = CHECK(run(s, crypto_ops_of(s)->sign, &in, &out) == 0);
        in.tag = out.data;
        ok = ok && CHECK(verify(s, &in) == 1);
        in.tag = str_take(out.data, out.data.n - 1);
        ok = ok && CHECK(verify(s, &in) == 0);
        in.tag = S("");
        ok = ok && CHECK(verify(s, &in) == 0);
        in.tag = out.data;
        char other[100];
        memcpy(other, digest, sizeof other);
        other[0] ^= 1;
        in.data = str_of(other, row[i].digest);
        ok = ok && CHECK(verify(s, &in) == (row[i].digest ? 0 : 1));
        if (!ok)
            printf("    %s\n", row[i].algorithm);
    }
}

static void a_digest_of_another_length_is_refused(struct suite *s)
{
    struct crypto_output out;
    key_pem(s, "rsa.pem", EVP_RSA_gen(2048));
    struct crypto_input in = { .key = S("rsa.pem"), .algorithm = S("RS256"), .data = S("short") };
    CHECK(run(s, crypto_ops_of(s)->sign, &in, &out) == -INVALID);
    CHECK(verify(s, &in) == -INVALID);
}

/* RFC 8037 appendix A: the key as a JWK, and the signature of its example. */
static void the_example_of_rfc_8037_verifies(struct suite *s)
{
    struct crypto_output out;
    key_text(s, "ed.json",
             "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
             "\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\","
             "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}");
    struct crypto_input in = { .key = S("ed.json"),
                               .algorithm = S("EdDSA"),
                               .data =
                                   S("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc") };
    str want = unhex(s, "860c98d2297f3060a33f42739672d61b53cf3adefed3d3c672f320dc021b411e9d59b8628d"
                        "c351e248b88b29468e0e41855b0fb7d83bb15be902bfccb8cd0a02");
    CHECK(run(s, crypto_ops_of(s)->sign, &in, &out) == 0);
    CHECK(same(out.data, want));
    in.tag = want;
    CHECK(verify(s, &in) == 1);
}

static void rsa_encrypts_for_its_private_key(struct suite *s)
{
    static const struct {
        const char *algorithm;
        size_t max; /* for 2048 bits */
        bool label;
    } row[] = {
        { "RSA1_5", 245, false },      { "RSA-OAEP", 214, true },     { "RSA-OAEP-256", 190, true },
        { "RSA-OAEP-384", 158, true }, { "RSA-OAEP-512", 126, true },
    };
    char text[256];
    memset(text, 'x', sizeof text);
    key_pem(s, "rsa.pem", EVP_RSA_gen(2048));
    for (size_t i = 0; i < COUNT(row); i++) {
        struct crypto_output sealed, opened;
        struct crypto_input in = { .key = S("rsa.pem"),
                                   .algorithm = str_c(row[i].algorithm),
                                   .data = str_of(text, row[i].max),
                                   .associated_data = row[i].label ? S("label") : S("") };
        bool ok = CHECK(run(s, crypto_ops_of(s)->wrap_key, &in, &sealed) == 0);
        in.data = sealed.data;
        ok = ok && CHECK(run(s, crypto_ops_of(s)->unwrap_key, &in, &opened) == 0) &&
             CHECK(same(opened.data, str_of(text, row[i].max)));
        in.associated_data = S("another");
        if (row[i].label)
            ok = ok && CHECK(run(s, crypto_ops_of(s)->unwrap_key, &in, &opened) == -INVALID);
        in.data = str_take(sealed.data, 100);
        ok = ok && CHECK(run(s, crypto_ops_of(s)->unwrap_key, &in, &opened) == -INVALID);
        in.data = str_of(text, row[i].max + 1);
        ok = ok && CHECK(run(s, crypto_ops_of(s)->wrap_key, &in, &sealed) == -INVALID);
        if (!ok)
            printf("    %s\n", row[i].algorithm);
    }
}

static int get_key(struct suite *s, const char *name, enum crypto_key_format format, str *ret)
{
    struct error err = { 0 };
    *ret = (str){ 0 };
    return crypto_ops_of(s)->get_key(s->self, str_c(name), format, &s->a, ret, &err);
}

/* The public part verifies what the private one has signed, in both forms. */
static void the_public_part_is_a_key_again(struct suite *s)
{
    static const struct {
        const char *key, *algorithm;
    } row[] = { { "rsa.pem", "RS256" },
                { "p256.pem", "ES256" },
                { "p384.pem", "ES384" },
                { "p521.pem", "ES512" },
                { "ed.pem", "EdDSA" } };
    static const char digest[32] = "0123456789abcdef0123456789abcde";
    key_pem(s, "rsa.pem", EVP_RSA_gen(2048));
    key_pem(s, "p256.pem", EVP_EC_gen("P-256"));
    key_pem(s, "p384.pem", EVP_EC_gen("P-384"));
    key_pem(s, "p521.pem", EVP_EC_gen("P-521"));
    key_pem(s, "ed.pem", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    for (size_t i = 0; i < COUNT(row); i++) {
        struct crypto_output out = { 0 };
        str pem = S(""), jwk = S("");
        struct crypto_input in = { .key = str_c(row[i].key),
                                   .algorithm = str_c(row[i].algorithm),
                                   .data = str_of(digest, 32) };
        bool ok = CHECK(run(s, crypto_ops_of(s)->sign, &in, &out) == 0) &&
                  CHECK(get_key(s, row[i].key, CRYPTO_KEY_PEM, &pem) == 0) &&
                  CHECK(str_starts(pem, S("-----BEGIN PUBLIC KEY-----\n"))) &&
                  CHECK(get_key(s, row[i].key, CRYPTO_KEY_JSON, &jwk) == 0) &&
                  CHECK(str_find(jwk, S("\"d\"")) < 0);
        in.tag = out.data;
        in.key = S("pub.pem");
        key_bytes(s, "pub.pem", pem);
        ok = ok && CHECK(verify(s, &in) == 1);
        CHECK(run(s, crypto_ops_of(s)->sign, &in, &out) == -INVALID); /* it can't sign */
        in.key = S("pub.json");
        key_bytes(s, "pub.json", jwk);
        ok = ok && CHECK(verify(s, &in) == 1);
        if (!ok)
            printf("    %s\n", row[i].key);
    }
}

static void symmetric_keys_stay_inside(struct suite *s)
{
    str key;
    key_bytes(s, "k", S("0123456789abcdef0123456789abcdef"));
    CHECK(get_key(s, "k", CRYPTO_KEY_PEM, &key) == -NOT_FOUND);
    CHECK(get_key(s, "k", CRYPTO_KEY_JSON, &key) == -NOT_FOUND);
    CHECK(get_key(s, "nobody", CRYPTO_KEY_PEM, &key) == -NOT_FOUND);
}

static void a_key_does_what_it_says_it_is_for(struct suite *s)
{
    static const struct {
        const char *fields;
        int encrypt, wrap;
    } row[] = {
        { "\"alg\":\"A128GCM\"", 0, 0 },
        { "\"alg\":\"A128CBC\"", -INVALID, -INVALID },
        { "\"key_ops\":[\"encrypt\",\"decrypt\"]", 0, -INVALID },
        { "\"key_ops\":[\"wrapKey\"]", -INVALID, 0 },
        { "\"use\":\"enc\"", 0, 0 },
        { "\"use\":\"sig\"", -INVALID, -INVALID },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct crypto_output out;
        struct crypto_input in = { .key = S("k.json"),
                                   .algorithm = S("A128GCM"),
                                   .data = S("text"),
                                   .nonce = S("0123456789ab") };
        str jwk = arena_printf(&s->a, "{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODw\",%s}",
                               row[i].fields);
        key_bytes(s, "k.json", jwk);
        bool ok = CHECK(run(s, crypto_ops_of(s)->encrypt, &in, &out) == row[i].encrypt);
        ok = CHECK(run(s, crypto_ops_of(s)->wrap_key, &in, &out) == row[i].wrap) && ok;
        if (!ok)
            printf("    %s\n", row[i].fields);
    }
}

const struct suite_case crypto_pkey_cases[] = {
    { "signatures_are_verified", 0, NULL, signatures_are_verified },
    { "a_digest_of_another_length_is_refused", 0, NULL, a_digest_of_another_length_is_refused },
    { "the_example_of_rfc_8037_verifies", 0, NULL, the_example_of_rfc_8037_verifies },
    { "rsa_encrypts_for_its_private_key", 0, NULL, rsa_encrypts_for_its_private_key },
    { "the_public_part_is_a_key_again", 0, NULL, the_public_part_is_a_key_again },
    { "symmetric_keys_stay_inside", 0, NULL, symmetric_keys_stay_inside },
    { "a_key_does_what_it_says_it_is_for", 0, NULL, a_key_does_what_it_says_it_is_for },
};
const size_t n_crypto_pkey_cases = COUNT(crypto_pkey_cases);
