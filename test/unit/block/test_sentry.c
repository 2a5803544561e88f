#include "block/call/sentry.h"

#include "block/call/csr.h"
#include "block/core/proto.h"
#include "test/testing.h"

#include "sentry.pb-c.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static struct sentry_request sample(void)
{
    static char *const audience[] = { "a", "b" };
    return (struct sentry_request){ .id = S("shop"),
                                    .namespace_ = S("prod"),
                                    .trust_domain = S("public"),
                                    .token = S("t"),
                                    .validator = SENTRY_KUBERNETES,
                                    .csr = S("pem"),
                                    .audience = audience,
                                    .n_audiences = 2 };
}

TEST(a_request_has_the_contracts_numbers)
{
    static const char WANT[] = "\n\004shop\022\001t\032\006public\"\004prod*\003pem"
                               "\060\002:\001a:\001b";
    struct arena a;
    arena_init(&a, KIB(64));
    struct sentry_request q = sample();
    str got;
    REQUIRE(sentry_pack(&q, &a, &got) == 0);
    CHECK(str_eq(got, str_of(WANT, sizeof WANT - 1)));
    arena_done(&a);
}

TEST(answers_are_read_or_refused)
{
    static const struct {
        const char *name;
        str message;
        int want;
        const char *certificate;
    } row[] = {
        { "a certificate", S("\x0a\x03pem"), 0, "pem" },
        { "and what we don't read", S("\x0a\x03pem\022\002ca\x22\x03jwt"), 0, "pem" },
        { "none", S("\022\002ca"), -INVALID, NULL },
        { "an empty one", S("\x0a\x00"), -INVALID, NULL },
        { "nothing", S(""), -INVALID, NULL },
        { "cut", S("\x0a\x05pem"), -INVALID, NULL },
        { "garbage", S("\xff\xff\xff"), -INVALID, NULL },
    };
    EACH (row, c) {
        struct arena a;
        struct error err = { 0 };
        str got = S("canary");
        arena_init(&a, KIB(64));
        CHECK_EQ(sentry_unpack(c->message, &a, &got, &err), c->want, "%s", c->name);
        CHECK_STR(got, c->want ? "canary" : c->certificate, "%s", c->name);
        CHECK_EQ(err.code, -c->want, "%s", c->name);
        arena_done(&a);
    }
}

TEST(without_memory_packing_says_so)
{
    FAIL_EACH_ALLOC(n)
    {
        struct arena a;
        struct sentry_request q = sample();
        str got;
        arena_init(&a, KIB(64));
        int r = sentry_pack(&q, &a, &got);
        CHECK_EQ(r, test_alloc_failed(n) ? -EXHAUSTED : 0);
        arena_done(&a);
    }
}

static EVP_PKEY *key_of(const struct csr *c)
{
    BIO *in = BIO_new_mem_buf(c->key.p, (int)c->key.n);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    BIO_free(in);
    return key;
}

static X509_REQ *request_of(const struct csr *c)
{
    BIO *in = BIO_new_mem_buf(c->request.p, (int)c->request.n);
    X509_REQ *request = PEM_read_bio_X509_REQ(in, NULL, NULL, NULL);
    BIO_free(in);
    return request;
}

TEST(a_request_for_a_certificate_is_signed_by_its_fresh_key)
{
    struct arena a;
    struct csr one, other;
    arena_init(&a, KIB(64));
    REQUIRE(csr_new(&a, &one, NULL) == 0 && csr_new(&a, &other, NULL) == 0);
    CHECK(!str_eq(one.key, other.key));
    EVP_PKEY *key = key_of(&one);
    X509_REQ *request = request_of(&one);
    REQUIRE(key && request);
    CHECK_EQ(EVP_PKEY_get_base_id(key), EVP_PKEY_ED25519);
    CHECK_EQ(X509_REQ_verify(request, key), 1);
    CHECK_EQ(X509_NAME_entry_count(X509_REQ_get_subject_name(request)), 0);
    EVP_PKEY_free(key);
    X509_REQ_free(request);
    str text = one.key;
    csr_forget(&one);
    CHECK(!one.key.p && !str_contains(text, S("PRIVATE KEY")));
    csr_forget(&one); /* nothing is left to do */
    arena_done(&a);
}

TEST(without_memory_there_is_no_request)
{
    FAIL_EACH_ALLOC(n)
    {
        struct arena a;
        struct csr c;
        struct error err = { 0 };
        arena_init(&a, KIB(64));
        int r = csr_new(&a, &c, &err);
        CHECK_EQ(r, test_alloc_failed(n) ? -EXHAUSTED : 0);
        CHECK_EQ(err.code, -r);
        arena_done(&a);
    }
    struct arena small; /* its limit, too */
    struct csr c;
    arena_init(&small, 100);
    CHECK_EQ(csr_new(&small, &c, NULL), -EXHAUSTED);
    arena_done(&small);
}
