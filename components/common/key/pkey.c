#include "components/common/key/key.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

/* Asymmetric algorithms by the names of RFC 7518. A "digest" is signed as it comes: the caller has
 * hashed. Ed25519 hashes by itself and takes the whole message. */

enum padding { PKCS1, OAEP, PSS, NONE };

struct algorithm {
    const char *name;
    int type;
    enum padding padding;
    const char *digest;
};

static const struct algorithm encryption[] = {
    { "RSA1_5", EVP_PKEY_RSA, PKCS1, NULL },
    { "RSA-OAEP", EVP_PKEY_RSA, OAEP, "SHA1" },
    { "RSA-OAEP-256", EVP_PKEY_RSA, OAEP, "SHA256" },
    { "RSA-OAEP-384", EVP_PKEY_RSA, OAEP, "SHA384" },
    { "RSA-OAEP-512", EVP_PKEY_RSA, OAEP, "SHA512" },
};
static const struct algorithm signing[] = {
    { "RS256", EVP_PKEY_RSA, PKCS1, "SHA256" }, { "RS384", EVP_PKEY_RSA, PKCS1, "SHA384" },
    { "RS512", EVP_PKEY_RSA, PKCS1, "SHA512" }, { "PS256", EVP_PKEY_RSA, PSS, "SHA256" },
    { "PS384", EVP_PKEY_RSA, PSS, "SHA384" },   { "PS512", EVP_PKEY_RSA, PSS, "SHA512" },
    { "ES256", EVP_PKEY_EC, NONE, NULL },       { "ES384", EVP_PKEY_EC, NONE, NULL },
    { "ES512", EVP_PKEY_EC, NONE, NULL },       { "EdDSA", EVP_PKEY_ED25519, NONE, NULL },
};

static const unsigned char *bytes(str s)
{
    return s.n ? (const unsigned char *)s.p : (const unsigned char *)"";
}

static const struct algorithm *find(const struct algorithm *v, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, str_c(v[i].name)))
            return &v[i];
    return NULL;
}

static int check_key(const struct key *k, const struct algorithm *alg, bool needs_private,
                     struct error *err)
{
    if (!k->pkey || EVP_PKEY_get_base_id(k->pkey) != alg->type || (needs_private && !k->is_private))
        return key_mismatch(err);
    return 0;
}

static int made_nothing(const struct algorithm *alg, struct error *err)
{
    ERR_clear_error();
    return fail(err, INVALID, NULL, "%s could not be applied to this input with this key",
                alg->name);
}

/* ---- encryption ---- */

static bool set_padding(EVP_PKEY_CTX *ctx, const struct algorithm *alg, str label)
{
    if (alg->padding == PKCS1)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    const EVP_MD *md = EVP_get_digestbyname(alg->digest);
    if (!md || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) != 1 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) != 1)
        return false;
    if (!label.n)
        return true;
    void *copy = OPENSSL_memdup(label.p, label.n); /* the context's from here on */
    if (copy && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, (int)label.n) == 1)
        return true;
    OPENSSL_free(copy);
    return false;
}

static int crypt(const struct key *k, const struct crypto_input *in, bool encrypt, struct arena *a,
                 struct crypto_output *ret, struct error *err)
{
    const struct algorithm *alg = find(encryption, COUNT(encryption), in->algorithm);
    if (!alg)
        return key_unsupported(in->algorithm, err);
    int r = check_key(k, alg, !encrypt, err);
    if (r < 0)
        return r;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
    size_t n = (size_t)EVP_PKEY_get_size(k->pkey);
    unsigned char *out = arena_alloc(a, n);
    bool ok = ctx && out &&
              (encrypt ? EVP_PKEY_encrypt_init(ctx) : EVP_PKEY_decrypt_init(ctx)) == 1 &&
              set_padding(ctx, alg, in->associated_data) &&
              (encrypt ? EVP_PKEY_encrypt(ctx, out, &n, bytes(in->data), in->data.n)
                       : EVP_PKEY_decrypt(ctx, out, &n, bytes(in->data), in->data.n)) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (!ok)
        return made_nothing(alg, err);
    *ret = (struct crypto_output){ .data = str_of(out, n), .tag = S("") };
    return 0;
}

int key_encrypt(const struct key *k, const struct crypto_input *in, struct arena *a,
                struct crypto_output *ret, struct error *err)
{
    int r;
    return cipher_run(k, in, true, a, ret, &r, err) ? r : crypt(k, in, true, a, ret, err);
}

int key_decrypt(const struct key *k, const struct crypto_input *in, struct arena *a,
                struct crypto_output *ret, struct error *err)
{
    int r;
    return cipher_run(k, in, false, a, ret, &r, err) ? r : crypt(k, in, false, a, ret, err);
}

/* ---- signatures ---- */

static bool set_signing(EVP_PKEY_CTX *ctx, const struct algorithm *alg, bool sign)
{
    if (alg->padding == NONE)
        return true;
    const EVP_MD *md = EVP_get_digestbyname(alg->digest);
    int padding = alg->padding == PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
    if (!md || EVP_PKEY_CTX_set_rsa_padding(ctx, padding) != 1 ||
        EVP_PKEY_CTX_set_signature_md(ctx, md) != 1)
        return false;
    /* As the contract's own library: as long a salt as fits, and any when verifying. */
    return alg->padding != PSS || EVP_PKEY_CTX_set_rsa_pss_saltlen(
                                      ctx, sign ? RSA_PSS_SALTLEN_MAX : RSA_PSS_SALTLEN_AUTO) == 1;
}

static int begin(const struct key *k, const struct crypto_input *in, bool sign,
                 const struct algorithm **ret, struct error *err)
{
    const struct algorithm *alg = find(signing, COUNT(signing), in->algorithm);
    if (!alg)
        return key_unsupported(in->algorithm, err);
    int r = check_key(k, alg, sign, err);
    if (r < 0)
        return r;
    size_t want = alg->digest ? (size_t)EVP_MD_get_size(EVP_get_digestbyname(alg->digest)) : 0;
    if (want && in->data.n != want)
        return fail(err, INVALID, NULL, "invalid digest: %s takes %zu bytes, not %zu", alg->name,
                    want, in->data.n);
    *ret = alg;
    return 0;
}

int key_sign(const struct key *k, const struct crypto_input *in, struct arena *a,
             struct crypto_output *ret, struct error *err)
{
    const struct algorithm *alg;
    int r = begin(k, in, true, &alg, err);
    if (r < 0)
        return r;
    size_t n = (size_t)EVP_PKEY_get_size(k->pkey);
    unsigned char *out = arena_alloc(a, n);
    bool ok = out;
    if (ok && alg->type == EVP_PKEY_ED25519) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pkey) == 1 &&
             EVP_DigestSign(ctx, out, &n, bytes(in->data), in->data.n) == 1;
        EVP_MD_CTX_free(ctx);
    } else if (ok) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
        ok = ctx && EVP_PKEY_sign_init(ctx) == 1 && set_signing(ctx, alg, true) &&
             EVP_PKEY_sign(ctx, out, &n, bytes(in->data), in->data.n) == 1;
        EVP_PKEY_CTX_free(ctx);
    }
    if (!ok)
        return made_nothing(alg, err);
    *ret = (struct crypto_output){ .data = str_of(out, n), .tag = S("") };
    return 0;
}

int key_verify(const struct key *k, const struct crypto_input *in, bool *ret, struct error *err)
{
    const struct algorithm *alg;
    int r = begin(k, in, false, &alg, err);
    if (r < 0)
        return r;
    int got = -1;
    if (alg->type == EVP_PKEY_ED25519) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        if (ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, k->pkey) == 1)
            got = EVP_DigestVerify(ctx, bytes(in->tag), in->tag.n, bytes(in->data), in->data.n);
        EVP_MD_CTX_free(ctx);
    } else {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
        if (ctx && EVP_PKEY_verify_init(ctx) == 1 && set_signing(ctx, alg, false))
            got = EVP_PKEY_verify(ctx, bytes(in->tag), in->tag.n, bytes(in->data), in->data.n);
        EVP_PKEY_CTX_free(ctx);
    }
    ERR_clear_error();
    *ret = got == 1; /* what isn't even shaped like a signature isn't one */
    return 0;
}
