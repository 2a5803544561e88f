#include "test/certs.h"

#include "base/mem.h"
#include "test/testing.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    REQUIRE(e && X509_add_ext(x, e, -1));
    X509_EXTENSION_free(e);
}

static str text_of(BIO *out)
{
    char *p;
    long n = BIO_get_mem_data(out, &p);
    str text = { mem_dup(p, (size_t)n), (size_t)n };
    REQUIRE(text.p);
    BIO_free(out);
    return text;
}

struct cert cert_make(const struct cert_spec *spec, const struct cert *issuer)
{
    static _Atomic long serial = 1;
    struct cert c = { .x509 = X509_new(), .pkey = EVP_EC_gen("P-256") };
    X509 *x = c.x509, *by = issuer ? issuer->x509 : x;
    REQUIRE(x && c.pkey);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    bool now = !spec->from_days && !spec->to_days;
    X509_gmtime_adj(X509_getm_notBefore(x), now ? -3600 : spec->from_days * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(x), now ? 86400 : spec->to_days * 86400L);
    X509_set_pubkey(x, c.pkey);
    REQUIRE(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                       (const unsigned char *)spec->name, -1, -1, 0));
    REQUIRE(X509_set_issuer_name(x, X509_get_subject_name(by)));
    extend(x, by, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : "CA:FALSE");
    extend(x, by, NID_subject_key_identifier, "hash");
    extend(x, by, NID_authority_key_identifier, "keyid");
    if (spec->alternative)
        extend(x, by, NID_subject_alt_name, spec->alternative);
    REQUIRE(X509_sign(x, issuer ? issuer->pkey : c.pkey, EVP_sha256()));
    BIO *out = BIO_new(BIO_s_mem());
    REQUIRE(PEM_write_bio_X509(out, x));
    c.pem = text_of(out);
    out = BIO_new(BIO_s_mem());
    REQUIRE(PEM_write_bio_PrivateKey(out, c.pkey, NULL, NULL, 0, NULL, NULL));
    c.key_pem = text_of(out);
    return c;
}

str cert_key_encrypted(const struct cert *c)
{
    BIO *out = BIO_new(BIO_s_mem());
    REQUIRE(PEM_write_bio_PrivateKey(out, c->pkey, EVP_aes_128_cbc(), (const unsigned char *)"pw",
                                     2, NULL, NULL));
    return text_of(out);
}

void cert_done(struct cert *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->pkey);
    mem_free((char *)c->pem.p);
    mem_free((char *)c->key_pem.p);
    *c = (struct cert){ 0 };
}

char *cert_file(str pem)
{
    char *path = mem_dup("/tmp/proa-test-XXXXXX", 21);
    int fd = path ? mkostemp(path, O_CLOEXEC) : -1;
    REQUIRE(fd >= 0 && write(fd, pem.p, pem.n) == (ssize_t)pem.n);
    close(fd);
    return path;
}
