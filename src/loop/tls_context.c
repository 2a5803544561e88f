#include "loop/tls_private.h"

#include "base/mem.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>

const char *tls_reason(void)
{
    unsigned long first = ERR_get_error();
    const char *text = first ? ERR_reason_error_string(first) : NULL;
    ERR_clear_error();
    return text ? text : "no reason is given";
}

bool tls_renegotiation_parse(str text, enum tls_renegotiation *ret)
{
    static const str word[] = { S("RenegotiateNever"), S("RenegotiateOnceAsClient"),
                                S("RenegotiateFreelyAsClient") };
    *ret = TLS_RENEGOTIATE_NEVER;
    for (size_t i = 0; i < COUNT(word); i++) {
        if (!str_eq(text, word[i]))
            continue;
        *ret = (enum tls_renegotiation)i;
        return true;
    }
    return !text.n;
}

/* ---- PEM ---- */

/* Nobody is asked at the terminal, which is OpenSSL's way where there is no callback. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return 0;
}

BIO *tls_pem_open(str pem, const char *what, struct error *err)
{
    BIO *in = pem.n <= INT_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    if (!in)
        fail(err, EXHAUSTED, NULL, "no memory for the %s", what);
    return in;
}

static bool at_end_of_pem(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

/* Hands each certificate to fn, which takes it (or frees it) and returns 0 when it can't. */
static int each_certificate(str pem, const char *what, int (*fn)(SSL_CTX *ctx, X509 *c, size_t i),
                            SSL_CTX *ctx, struct error *err)
{
    BIO *in = tls_pem_open(pem, what, err);
    if (!in)
        return -EXHAUSTED;
    size_t n = 0;
    int r = 0;
    X509 *c;
    ERR_clear_error();
    while (r == 0 && (c = PEM_read_bio_X509(in, NULL, no_password, NULL)))
        if (!fn(ctx, c, n++))
            r = fail(err, INVALID, NULL, "the %s can't be used: %s", what, tls_reason());
    if (r == 0 && !n)
        r = fail(err, INVALID, NULL,
                 "the %s is no PEM: it must hold \"-----BEGIN CERTIFICATE-----\"", what);
    else if (r == 0 && !at_end_of_pem())
        r = fail(err, INVALID, NULL, "the %s can't be read: %s", what, tls_reason());
    ERR_clear_error();
    BIO_free(in);
    return r;
}

static int add_ca(SSL_CTX *ctx, X509 *c, size_t i)
{
    (void)i;
    int ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), c) && SSL_CTX_add_client_CA(ctx, c);
    X509_free(c);
    return ok;
}

/* Ours comes first, then what leads from it to the CA. */
static int add_own(SSL_CTX *ctx, X509 *c, size_t i)
{
    int ok = i ? SSL_CTX_add1_chain_cert(ctx, c) : SSL_CTX_use_certificate(ctx, c);
    X509_free(c);
    return ok;
}

static const char *why_no_key(str pem)
{
    if (!str_contains(pem, S("PRIVATE KEY-----")))
        return "it must hold \"-----BEGIN PRIVATE KEY-----\"";
    return str_contains(pem, S("ENCRYPTED")) ? "it is encrypted; give it in plain" : tls_reason();
}

static int use_key(SSL_CTX *ctx, str pem, struct error *err)
{
    BIO *in = tls_pem_open(pem, "private key", err);
    if (!in)
        return -EXHAUSTED;
    ERR_clear_error();
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
    BIO_free(in);
    int r = 0;
    if (!key)
        r = fail(err, INVALID, NULL, "the private key can't be read: %s", why_no_key(pem));
    else if (!SSL_CTX_use_PrivateKey(ctx, key) || !SSL_CTX_check_private_key(ctx))
        r = fail(err, INVALID, NULL, "the private key can't be used: %s", tls_reason());
    ERR_clear_error();
    EVP_PKEY_free(key);
    return r;
}

static int use_own(SSL_CTX *ctx, const struct tls_options *o, struct error *err)
{
    if (!o->certificate.n != !o->key.n)
        return fail(err, INVALID, NULL, "a certificate needs its private key, and the other way");
    if (!o->certificate.n)
        return o->server ? fail(err, INVALID, NULL, "a TLS server needs a certificate") : 0;
    int r = each_certificate(o->certificate, "certificate", add_own, ctx, err);
    return r < 0 ? r : use_key(ctx, o->key, err);
}

/* As with most clients but OpenSSL's: each certificate of the file is trusted, be it a root or not,
 * and names stand in the alternative names alone. */
static int use_ca(SSL_CTX *ctx, const struct tls_options *o, struct error *err)
{
    X509_VERIFY_PARAM *verify = SSL_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                                X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (o->ca.n) {
        (void)X509_VERIFY_PARAM_set_flags(verify, X509_V_FLAG_PARTIAL_CHAIN);
        return each_certificate(o->ca, "CA certificate", add_ca, ctx, err);
    }
    if (o->spiffe)
        return fail(err, INVALID, NULL, "to verify workloads a CA certificate is needed");
    if (o->server)
        return o->client_auth == TLS_CLIENT_ANY
                   ? 0
                   : fail(err, INVALID, NULL, "to verify clients a CA certificate is needed");
    if (!o->insecure && !SSL_CTX_set_default_verify_paths(ctx))
        return fail(err, EXHAUSTED, NULL, "no memory for the system's CA certificates");
    return 0;
}

/* ---- the context ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int initialised;

/* Its handler at exit would pull the rug from under workers that didn't end in time. */
static void initialise(void)
{
    initialised = OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
}

static int select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
                       const unsigned char *theirs, unsigned n, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    const struct tls_context *c = arg;
    unsigned skip = c->h2 ? 0 : 3;
    unsigned char *chosen;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, ret_n, ours + skip, sizeof ours - 1 - skip, theirs, n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_alpn(struct tls_context *c, SSL_CTX *ctx)
{
    static const unsigned char h2[] = "\x02h2", h1[] = "\x08http/1.1";
    if (c->no_alpn)
        return true;
    if (c->server) {
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, c);
        return true;
    }
    return (c->h2 ? SSL_CTX_set_alpn_protos(ctx, h2, sizeof h2 - 1)
                  : SSL_CTX_set_alpn_protos(ctx, h1, sizeof h1 - 1)) == 0;
}

static int verify_mode(const struct tls_options *o)
{
    if (!o->server)
        return o->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    return o->client_auth == TLS_CLIENT_ANY   ? SSL_VERIFY_NONE
           : o->client_auth == TLS_CLIENT_MAY ? SSL_VERIFY_PEER
                                              : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
}

/* Connections are kept and few, so sessions aren't resumed: neither side pays memory for tickets.
 * Buffers are given back while a connection idles; a whole record is read at once. */
static bool configure(struct tls_context *c, SSL_CTX *ctx, const struct tls_options *o)
{
    uint64_t options = SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION;
    if (o->server || o->renegotiation == TLS_RENEGOTIATE_NEVER)
        options |= SSL_OP_NO_RENEGOTIATION;
    SSL_CTX_set_options(ctx, options);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_NO_AUTO_CHAIN); /* what we were given is what we send */
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    SSL_CTX_set_verify(ctx, verify_mode(o), NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) && SSL_CTX_set_num_tickets(ctx, 0) &&
           set_alpn(c, ctx);
}

static int make(struct tls_context *c, const struct tls_options *o, SSL_CTX **ret,
                struct error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int r = ctx && configure(c, ctx, o) ? 0 : fail(err, EXHAUSTED, NULL, "no memory for TLS");
    if (r >= 0)
        r = use_ca(ctx, o, err);
    if (r >= 0)
        r = use_own(ctx, o, err);
    ERR_clear_error();
    if (r < 0)
        SSL_CTX_free(ctx);
    else
        *ret = ctx;
    return r;
}

int tls_context_new(const struct tls_options *o, struct tls_context **ret, struct error *err)
{
    pthread_once(&once, initialise);
    struct tls_context *c = initialised ? mem_zalloc(sizeof *c) : NULL;
    if (!c)
        return fail(err, EXHAUSTED, NULL, "no memory for TLS");
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->lock, NULL);
    c->server = o->server;
    c->insecure = o->insecure;
    c->spiffe = o->spiffe;
    c->h2 = o->h2;
    c->no_alpn = o->no_alpn;
    c->renegotiate_once = o->renegotiation == TLS_RENEGOTIATE_ONCE;
    int r = make(c, o, &c->ctx, err);
    if (r < 0) {
        tls_context_unref(c);
        return r;
    }
    *ret = c;
    return 0;
}

int tls_context_renew(struct tls_context *c, const struct tls_options *o, struct error *err)
{
    PRE(o->server == c->server && o->h2 == c->h2 && o->spiffe == c->spiffe);
    SSL_CTX *fresh;
    int r = make(c, o, &fresh, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    SSL_CTX *old = c->ctx;
    c->ctx = fresh;
    pthread_mutex_unlock(&c->lock);
    SSL_CTX_free(old); /* lives on with the connections that count it */
    return 0;
}

SSL *tls_context_connection(struct tls_context *c)
{
    pthread_mutex_lock(&c->lock);
    SSL *ssl = SSL_new(c->ctx);
    pthread_mutex_unlock(&c->lock);
    return ssl;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    if (c)
        atomic_fetch_add(&c->refs, 1);
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    SSL_CTX_free(c->ctx);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}
