#include "components/common/key/key.h"

#include "base/mem.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

int key_mismatch(struct error *err)
{
    return fail(err, INVALID, NULL, "key type mismatch: the key doesn't fit the algorithm");
}

int key_unsupported(str algorithm, struct error *err)
{
    return fail(err, INVALID, NULL, "unsupported algorithm '" STR_FMT "'",
                STR_ARG(str_take(algorithm, 40)));
}

int key_no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

void key_done(struct key *k)
{
    if (k->bytes)
        OPENSSL_cleanse(k->bytes, k->n);
    mem_free(TAKE(k->bytes));
    EVP_PKEY_free(TAKE(k->pkey));
}

int key_allows(const struct key *k, enum key_op op, str algorithm, struct error *err)
{
    static const char *const name[KEY_OPS] = { "encrypt",   "decrypt", "wrapKey",
                                               "unwrapKey", "sign",    "verify" };
    bool signs = op == KEY_SIGN || op == KEY_VERIFY;
    bool use = !k->use[0] || str_eq(str_c(k->use), signs ? S("sig") : S("enc"));
    if (!use || (k->ops && !(k->ops >> op & 1)))
        return fail(err, INVALID, NULL, "key cannot perform the '%s' operation", name[op]);
    if (k->alg[0] && !str_eq(str_c(k->alg), algorithm))
        return fail(err, INVALID, NULL, "key cannot be used with algorithm '" STR_FMT "'",
                    STR_ARG(str_take(algorithm, 40)));
    return 0;
}

/* ---- PEM ---- */

/* A key with a password can't be read; without this OpenSSL would ask at the terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    return -1;
}

static EVP_PKEY *certificate_key(BIO *in)
{
    X509 *x = PEM_read_bio_X509(in, NULL, no_password, NULL);
    EVP_PKEY *p = x ? X509_get_pubkey(x) : NULL;
    X509_free(x);
    return p;
}

static EVP_PKEY *private_key(BIO *in)
{
    return PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
}

static EVP_PKEY *public_key(BIO *in)
{
    return PEM_read_bio_PUBKEY(in, NULL, no_password, NULL);
}

static bool usable(const EVP_PKEY *p)
{
    int id = EVP_PKEY_get_base_id(p);
    return id == EVP_PKEY_RSA || id == EVP_PKEY_EC || id == EVP_PKEY_ED25519;
}

static int parse_pem(str data, struct key *ret, struct error *err)
{
    EVP_PKEY *(*const read[])(BIO *) = { private_key, public_key, certificate_key };
    for (size_t i = 0; !ret->pkey && i < COUNT(read); i++) {
        BIO *in = BIO_new_mem_buf(data.p, (int)data.n);
        ret->pkey = in ? read[i](in) : NULL;
        ret->is_private = i == 0;
        BIO_free(in);
    }
    ERR_clear_error();
    if (!ret->pkey)
        return fail(err, INVALID, NULL,
                    "failed to parse the key: neither a private key without password, nor a public "
                    "key, nor a certificate in PEM");
    return usable(ret->pkey)
               ? 0
               : fail(err, INVALID, NULL, "invalid key type: RSA, EC and Ed25519 keys are taken");
}

/* ---- bytes ---- */

static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

bool key_decode64(str in, char *ret, size_t *ret_n)
{
    unsigned bits = 0, have = 0;
    bool standard = false, url = false;
    size_t n = 0, digits = 0;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '\r' || c == '\n')
            continue;
        int d = digit(c);
        standard |= c == '+' || c == '/';
        url |= c == '-' || c == '_';
        if (d < 0 || (standard && url))
            return false;
        digits++;
        bits = bits << 6 | (unsigned)d;
        have += 6;
        if (have >= 8)
            ret[n++] = (char)(bits >> (have -= 8));
    }
    *ret_n = n;
    return digits % 4 != 1;
}

/* What reads as base64 is base64, anything else the key itself: the contract's rule. */
static int parse_bytes(str data, struct key *ret, struct error *err)
{
    str text = data;
    while (text.n &&
           (text.p[text.n - 1] == '=' || text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
        text.n--;
    ret->bytes = mem_dup(data.p, data.n);
    if (!ret->bytes)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    ret->n = data.n;
    char *decoded = mem_alloc(data.n);
    size_t n;
    if (decoded && text.n && key_decode64(text, decoded, &n) && n) {
        OPENSSL_cleanse(ret->bytes, ret->n);
        memcpy(ret->bytes, decoded, n);
        ret->n = n;
    }
    if (decoded)
        OPENSSL_cleanse(decoded, data.n);
    mem_free(decoded);
    return decoded ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

int key_parse(str data, enum key_format format, struct key *ret, struct error *err)
{
    *ret = (struct key){ 0 };
    int r;
    bool raw = data.n == 16 || data.n == 24 || data.n == 32;
    if (!data.n)
        return fail(err, INVALID, NULL, "the key is empty");
    if (format == KEY_JWK || (format == KEY_ANY && data.p[0] == '{' && !raw))
        r = jwk_parse(data, ret, err);
    else if (format == KEY_PEM || (format == KEY_ANY && str_starts(data, S("-----"))))
        r = parse_pem(data, ret, err);
    else
        r = parse_bytes(data, ret, err);
    if (r < 0)
        key_done(ret);
    return r;
}

int key_public_pem(const struct key *k, struct arena *a, str *ret, struct error *err)
{
    if (!k->pkey)
        return fail(err, NOT_FOUND, NULL, "key not found: a symmetric key has no public part");
    BIO *out = BIO_new(BIO_s_mem());
    char *p = NULL;
    long n = out && PEM_write_bio_PUBKEY(out, k->pkey) == 1 ? BIO_get_mem_data(out, &p) : 0;
    str text = n > 0 ? arena_dup(a, str_of(p, (size_t)n)) : (str){ 0 };
    BIO_free(out);
    if (!text.p)
        return key_no_memory(err);
    *ret = text;
    return 0;
}
