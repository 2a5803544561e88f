#include "loop/tls_private.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

/* Who a certificate is for: the X.509-SVID standard's rules for a leaf. */

enum { URI_MAX = 2048 };

/* The one URI of its alternative names; false: there is none, or several. */
static bool one_uri(const GENERAL_NAMES *names, str *ret)
{
    size_t found = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;
        *ret = str_of((const char *)ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
        found++;
    }
    return found == 1;
}

static bool may_sign(X509 *c)
{
    uint32_t usage = X509_get_key_usage(c); /* all bits: it doesn't say */
    return (X509_get_extension_flags(c) & EXFLAG_CA) ||
           (usage != UINT32_MAX && (usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)));
}

char *tls_workload_id(X509 *certificate, const char **ret_why)
{
    if (!certificate) {
        *ret_why = "the peer has shown no certificate";
        return NULL;
    }
    if (may_sign(certificate)) {
        *ret_why = "a CA's certificate can't be a workload's";
        return NULL;
    }
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    str uri;
    char *id = NULL;
    if (!one_uri(names, &uri) || uri.n > URI_MAX || memchr(uri.p, 0, uri.n))
        *ret_why = "the certificate doesn't name exactly one URI";
    else if (!(id = mem_dup(uri.p, uri.n)))
        *ret_why = "no memory for TLS";
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return id;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) ? timegm(&tm) : 0;
}

static int describe(X509 *c, struct arena *a, struct tls_certificate *ret, struct error *err)
{
    const char *why;
    AUTO(mem_freep) char *id = tls_workload_id(c, &why);
    if (!id)
        return fail(err, INVALID, NULL, "%s", why);
    ret->id = arena_dup(a, str_c(id));
    ret->from_s = seconds_of(X509_get0_notBefore(c));
    ret->until_s = seconds_of(X509_get0_notAfter(c));
    return ret->id.p ? 0 : fail(err, EXHAUSTED, NULL, "no memory for a certificate");
}

int tls_certificate_read(str pem, struct arena *a, struct tls_certificate *ret, struct error *err)
{
    BIO *in = tls_pem_open(pem, "certificate", err);
    if (!in)
        return -EXHAUSTED;
    X509 *c = PEM_read_bio_X509(in, NULL, NULL, NULL);
    BIO_free(in);
    struct tls_certificate got;
    int r = c ? describe(c, a, &got, err)
              : fail(err, INVALID, NULL, "the certificate can't be read: %s", tls_reason());
    X509_free(c);
    ERR_clear_error();
    if (r >= 0)
        *ret = got;
    return r;
}
