#include "loop/tls.h"

#include "test/certs.h"
#include "test/testing.h"

TEST(context_refuses_what_it_cannot_use)
{
    struct cert ca = cert_make(&(struct cert_spec){ .name = "ca", .ca = true }, NULL);
    struct cert client = cert_make(&(struct cert_spec){ .name = "client" }, &ca);
    struct cert server = cert_make(&(struct cert_spec){ .name = "server" }, &ca);
    static const char *const junk =
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    str locked = cert_key_encrypted(&client);
    const struct {
        const char *name;
        struct tls_options o;
        const char *why;
    } row[] = {
        { "no PEM", { .ca = S("hello") }, "BEGIN CERTIFICATE" },
        { "broken PEM", { .ca = str_c(junk) }, "CA certificate" },
        { "a key as CA", { .ca = ca.key_pem }, "BEGIN CERTIFICATE" },
        { "no key", { .certificate = client.pem }, "private key" },
        { "no certificate", { .key = client.key_pem }, "certificate" },
        { "another's key",
          { .certificate = client.pem, .key = server.key_pem },
          "key values mismatch" },
        { "no PEM as key", { .certificate = client.pem, .key = S("x") }, "BEGIN PRIVATE KEY" },
        { "encrypted key", { .certificate = client.pem, .key = locked }, "it is encrypted" },
        { "server without", { .server = true }, "needs a certificate" },
        { "nobody to verify by",
          { .server = true,
            .certificate = server.pem,
            .key = server.key_pem,
            .client_auth = TLS_CLIENT_MUST },
          "CA certificate is needed" },
    };
    EACH (row, t) {
        struct tls_context *c = (void *)1;
        struct error err = { 0 };
        CHECK_EQ(tls_context_new(&t->o, &c, &err), -INVALID, "%s", t->name);
        CHECK(c == (void *)1);
        CHECK(str_contains(str_c(err.text), str_c(t->why)), "%s: %s", t->name, err.text);
    }
    mem_free((char *)locked.p);
    cert_done(&client);
    cert_done(&server);
    cert_done(&ca);
    tls_context_unref(NULL);
    CHECK(!tls_context_ref(NULL));
}

TEST(context_of_the_systems_roots_is_made)
{
    struct tls_context *c = NULL;
    CHECK_OK(tls_context_new(&(struct tls_options){ 0 }, &c, NULL));
    CHECK(tls_context_ref(c) == c);
    tls_context_unref(c);
    tls_context_unref(c);
}

TEST(context_survives_each_failing_allocation)
{
    FAIL_EACH_ALLOC(n)
    {
        struct tls_context *c = NULL;
        int r = tls_context_new(&(struct tls_options){ .insecure = true }, &c, NULL);
        CHECK_EQ(r, test_alloc_failed(n) ? -EXHAUSTED : 0, "allocation %zu", n);
        tls_context_unref(c);
    }
}
