#include "test/conformance/crypto/cases.h"

#include "base/id.h"

#include <stdio.h>
#include <string.h>

#include <openssl/pem.h>

const struct crypto_ops *crypto_ops_of(const struct suite *s)
{
    return CONTAINER_OF(s->type, struct crypto_ops, t);
}

CO void key_bytes(struct suite *s, const char *name, str bytes)
{
    char path[200];
    CHECK(strcmp(s->type->type, "crypto.dapr.localstorage") == 0); /* others: a row here */
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    FILE *f = fopen(path, "we");
    CHECK(f && fwrite(bytes.p, 1, bytes.n, f) == bytes.n);
    if (f)
        CHECK(fclose(f) == 0);
}

CO void key_text(struct suite *s, const char *name, const char *text)
{
    key_bytes(s, name, str_c(text));
}

CO void key_pem(struct suite *s, const char *name, EVP_PKEY *key)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *p;
    CHECK(key && PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1);
    long n = BIO_get_mem_data(out, &p);
    key_bytes(s, name, str_of(p, (size_t)n));
    BIO_free(out);
    EVP_PKEY_free(key);
}

str unhex(struct suite *s, const char *hex)
{
    char *p = arena_alloc(&s->a, strlen(hex) / 2);
    CHECK(p && id_unhex(str_c(hex), p));
    return str_of(p, strlen(hex) / 2);
}

bool same(str got, str want)
{
    return str_eq(got, want);
}

CO int run(struct suite *s, crypto_call *fn, const struct crypto_input *in,
           struct crypto_output *ret)
{
    struct error err = { 0 };
    *ret = (struct crypto_output){ 0 };
    int r = fn(s->self, in, &s->a, ret, &err);
    CHECK(r == 0 || err.text[0]);
    return r;
}

CO int verify(struct suite *s, const struct crypto_input *in)
{
    struct error err = { 0 };
    bool valid = false;
    int r = crypto_ops_of(s)->verify(s->self, in, &valid, &err);
    return r < 0 ? r : valid;
}
