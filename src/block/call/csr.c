#include "block/call/csr.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

/* What was written to a memory BIO, which is freed; .p NULL: out of memory. */
static str take_text(BIO *out, bool ok, struct arena *a)
{
    char *p = NULL;
    long n = ok ? BIO_get_mem_data(out, &p) : 0;
    str text = n > 0 ? arena_dup(a, str_of(p, (size_t)n)) : (str){ 0 };
    if (n > 0)
        OPENSSL_cleanse(p, (size_t)n);
    BIO_free(out);
    return text;
}

static str key_text(EVP_PKEY *key, struct arena *a)
{
    BIO *out = BIO_new(BIO_s_secmem());
    bool ok = out && PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    return take_text(out, ok, a);
}

static str request_text(EVP_PKEY *key, struct arena *a)
{
    X509_REQ *request = X509_REQ_new();
    BIO *out = BIO_new(BIO_s_mem());
    bool ok = request && out && X509_REQ_set_version(request, X509_REQ_VERSION_1) &&
              X509_REQ_set_pubkey(request, key) &&
              X509_REQ_sign(request, key, NULL) > 0 && /* Ed25519 has no digest to choose */
              PEM_write_bio_X509_REQ(out, request);
    X509_REQ_free(request);
    return take_text(out, ok, a);
}

int csr_new(struct arena *a, struct csr *ret, struct error *err)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    struct csr made = { 0 };
    if (key) {
        made.request = request_text(key, a);
        made.key = key_text(key, a);
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
    if (!made.key.p || !made.request.p) {
        csr_forget(&made);
        return fail(err, EXHAUSTED, NULL, "no memory for a key and its certificate request");
    }
    *ret = made;
    return 0;
}

void csr_forget(struct csr *c)
{
    if (c->key.p)
        OPENSSL_cleanse((char *)c->key.p, c->key.n);
    c->key = (str){ 0 };
}
