#include "components/common/key/key.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

/* Symmetric algorithms by the names of RFC 7518 and its kin. */

enum { TAG = 16, BLOCK = 16, HMAC_MAX = 64 };

enum mode { CBC, CBC_NOPAD, CBC_HMAC, GCM, WRAP, CHACHA, XCHACHA };

static const struct algorithm {
    const char *name;
    enum mode mode;
    size_t key;
    const char *cipher, *digest;
    size_t nonce;
} algorithms[] = {
    { "A128CBC", CBC, 16, "AES-128-CBC", NULL, 16 },
    { "A192CBC", CBC, 24, "AES-192-CBC", NULL, 16 },
    { "A256CBC", CBC, 32, "AES-256-CBC", NULL, 16 },
    { "A128CBC-NOPAD", CBC_NOPAD, 16, "AES-128-CBC", NULL, 16 },
    { "A192CBC-NOPAD", CBC_NOPAD, 24, "AES-192-CBC", NULL, 16 },
    { "A256CBC-NOPAD", CBC_NOPAD, 32, "AES-256-CBC", NULL, 16 },
    { "A128CBC-HS256", CBC_HMAC, 32, "AES-128-CBC", "SHA256", 16 },
    { "A192CBC-HS384", CBC_HMAC, 48, "AES-192-CBC", "SHA384", 16 },
    { "A256CBC-HS512", CBC_HMAC, 64, "AES-256-CBC", "SHA512", 16 },
    { "A128GCM", GCM, 16, "AES-128-GCM", NULL, 12 },
    { "A192GCM", GCM, 24, "AES-192-GCM", NULL, 12 },
    { "A256GCM", GCM, 32, "AES-256-GCM", NULL, 12 },
    { "A128GCMKW", GCM, 16, "AES-128-GCM", NULL, 12 },
    { "A192GCMKW", GCM, 24, "AES-192-GCM", NULL, 12 },
    { "A256GCMKW", GCM, 32, "AES-256-GCM", NULL, 12 },
    { "A128KW", WRAP, 16, "AES-128-WRAP", NULL, 0 },
    { "A192KW", WRAP, 24, "AES-192-WRAP", NULL, 0 },
    { "A256KW", WRAP, 32, "AES-256-WRAP", NULL, 0 },
    { "C20P", CHACHA, 32, "ChaCha20-Poly1305", NULL, 12 },
    { "C20PKW", CHACHA, 32, "ChaCha20-Poly1305", NULL, 12 },
    { "XC20P", XCHACHA, 32, "ChaCha20-Poly1305", NULL, 24 },
    { "XC20PKW", XCHACHA, 32, "ChaCha20-Poly1305", NULL, 24 },
};

struct run {
    const struct algorithm *alg;
    const struct crypto_input *in;
    bool encrypt;
    const unsigned char *key, *nonce;
    unsigned char *out; /* room for data and a block more */
    size_t n;           /* of out */
    unsigned char tag[HMAC_MAX];
    size_t tag_n;
};

static const unsigned char *bytes(str s)
{
    return s.n ? (const unsigned char *)s.p : (const unsigned char *)"";
}

static void put_be64(unsigned char *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (unsigned char)v;
}

/* ---- one pass of a cipher ---- */

static bool is_aead(const struct run *r)
{
    return r->alg->mode == GCM || r->alg->mode == CHACHA || r->alg->mode == XCHACHA;
}

static bool begin(struct run *r, EVP_CIPHER_CTX *ctx)
{
    int n = 0;
    str aad = r->in->associated_data;
    if (r->alg->mode == CBC_NOPAD)
        return EVP_CIPHER_CTX_set_padding(ctx, 0) == 1;
    if (!is_aead(r))
        return true;
    if (aad.n && EVP_CipherUpdate(ctx, NULL, &n, bytes(aad), (int)aad.n) != 1)
        return false;
    return r->encrypt ||
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, (void *)bytes(r->in->tag)) == 1;
}

static bool pass(struct run *r, EVP_CIPHER_CTX *ctx)
{
    int n = 0, last = 0;
    str data = r->in->data;
    if (!begin(r, ctx))
        return false;
    if ((data.n || r->alg->mode == WRAP) &&
        EVP_CipherUpdate(ctx, r->out, &n, bytes(data), (int)data.n) != 1)
        return false;
    if (EVP_CipherFinal_ex(ctx, r->out + n, &last) != 1)
        return false;
    r->n = (size_t)n + (size_t)last;
    r->tag_n = is_aead(r) && r->encrypt ? TAG : 0;
    return !r->tag_n || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, r->tag) == 1;
}

static bool crypt(struct run *r)
{
    EVP_CIPHER *c = EVP_CIPHER_fetch(NULL, r->alg->cipher, NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx && r->alg->mode == WRAP)
        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    bool ok = c && ctx &&
              EVP_CipherInit_ex2(ctx, c, r->key, r->alg->nonce ? r->nonce : NULL, r->encrypt,
                                 NULL) == 1 &&
              pass(r, ctx);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(c);
    ERR_clear_error();
    return ok;
}

/* ---- AES-CBC with HMAC: RFC 7518 section 5.2.2 ---- */

static bool hmac(struct run *r, str ciphertext)
{
    unsigned char length[8];
    size_t half = r->alg->key / 2, n = 0;
    put_be64(length, (uint64_t)r->in->associated_data.n * 8);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)r->alg->digest, 0),
        OSSL_PARAM_construct_end(),
    };
    const str part[] = { r->in->associated_data, r->in->nonce, ciphertext, str_of(length, 8) };
    bool ok = ctx && EVP_MAC_init(ctx, r->key, half, params) == 1;
    for (size_t i = 0; ok && i < COUNT(part); i++)
        ok = EVP_MAC_update(ctx, bytes(part[i]), part[i].n) == 1;
    ok = ok && EVP_MAC_final(ctx, r->tag, &n, sizeof r->tag) == 1;
    r->tag_n = half; /* the first half of the digest */
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    return ok;
}

static bool cbc_hmac(struct run *r)
{
    const unsigned char *key = r->key;
    bool ok = true;
    if (!r->encrypt) /* before anything is decrypted */
        ok = hmac(r, r->in->data) && r->in->tag.n == r->tag_n &&
             CRYPTO_memcmp(r->tag, bytes(r->in->tag), r->tag_n) == 0;
    r->key = key + r->alg->key / 2;
    ok = ok && crypt(r);
    r->key = key;
    if (ok && r->encrypt)
        ok = hmac(r, str_of(r->out, r->n));
    else
        r->tag_n = 0;
    return ok;
}

/* ---- XChaCha20: draft-irtf-cfrg-xchacha ---- */

static uint32_t le32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* HChaCha20 is ChaCha20's block without its last step, the addition of what went in: so that is
 * taken away again. */
static bool hchacha20(const unsigned char *key, const unsigned char *nonce, unsigned char ret[32])
{
    static const unsigned char zero[64];
    static const uint32_t sigma[4] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
    unsigned char block[64];
    int n;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && EVP_EncryptInit_ex(ctx, EVP_chacha20(), NULL, key, nonce) == 1 &&
              EVP_EncryptUpdate(ctx, block, &n, zero, sizeof zero) == 1;
    for (size_t i = 0; ok && i < 8; i++) {
        size_t at = i < 4 ? i : i + 8;
        uint32_t in = i < 4 ? sigma[i] : le32(nonce + 4 * (i - 4));
        uint32_t word = le32(block + 4 * at) - in;
        for (size_t b = 0; b < 4; b++)
            ret[4 * i + b] = (unsigned char)(word >> 8 * b);
    }
    OPENSSL_cleanse(block, sizeof block);
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static bool xchacha(struct run *r)
{
    unsigned char key[32], nonce[12] = { 0 };
    if (!hchacha20(r->key, r->nonce, key))
        return false;
    memcpy(nonce + 4, r->nonce + 16, 8);
    r->key = key;
    r->nonce = nonce;
    bool ok = crypt(r);
    OPENSSL_cleanse(key, sizeof key);
    return ok;
}

/* ---- checks ---- */

static int check_length(const struct run *r, struct error *err)
{
    const struct algorithm *a = r->alg;
    size_t n = r->in->data.n;
    if (n > INT32_MAX - 64 || r->in->associated_data.n > INT32_MAX)
        return fail(err, INVALID, NULL, "the input is longer than 2 GiB");
    bool blocks = a->mode == CBC_NOPAD || (!r->encrypt && (a->mode == CBC || a->mode == CBC_HMAC));
    if (blocks && n % BLOCK)
        return fail(err, INVALID, NULL, "invalid length: %s takes whole blocks of %d bytes",
                    a->name, BLOCK);
    if (a->mode == WRAP && (n % 8 || n < (r->encrypt ? 16 : 24)))
        return fail(err, INVALID, NULL,
                    "invalid length: %s takes keys of 16 bytes or more, in steps of 8", a->name);
    return 0;
}

static int check_sizes(const struct run *r, struct error *err)
{
    const struct algorithm *a = r->alg;
    if (a->nonce && r->in->nonce.n != a->nonce)
        return fail(err, INVALID, NULL, "invalid nonce: %s takes %zu bytes, not %zu", a->name,
                    a->nonce, r->in->nonce.n);
    if (!r->encrypt && is_aead(r) && r->in->tag.n != TAG)
        return fail(err, INVALID, NULL, "invalid tag: %s takes %d bytes, not %zu", a->name, TAG,
                    r->in->tag.n);
    return check_length(r, err);
}

static int finish(struct run *r, bool ok, struct arena *a, struct crypto_output *ret,
                  struct error *err)
{
    if (!ok)
        return fail(err, INVALID, NULL,
                    r->encrypt ? "%s could not be applied to this input"
                               : "%s: the message, its tag, its nonce or the key is wrong",
                    r->alg->name);
    str tag = r->tag_n ? arena_dup(a, str_of(r->tag, r->tag_n)) : S("");
    if (!tag.p)
        return key_no_memory(err);
    *ret = (struct crypto_output){ str_of(r->out, r->n), tag };
    return 0;
}

static int run_it(struct run *r, const struct key *k, struct arena *a, struct crypto_output *ret,
                  struct error *err)
{
    if (!k->bytes || k->n != r->alg->key)
        return key_mismatch(err);
    int code = check_sizes(r, err);
    if (code < 0)
        return code;
    r->key = (const unsigned char *)k->bytes;
    r->nonce = bytes(r->in->nonce);
    r->out = arena_alloc(a, r->in->data.n + 2 * BLOCK);
    if (!r->out)
        return key_no_memory(err);
    bool ok = r->alg->mode == CBC_HMAC  ? cbc_hmac(r)
              : r->alg->mode == XCHACHA ? xchacha(r)
                                        : crypt(r);
    return finish(r, ok, a, ret, err);
}

bool cipher_run(const struct key *k, const struct crypto_input *in, bool encrypt, struct arena *a,
                struct crypto_output *ret, int *ret_code, struct error *err)
{
    for (size_t i = 0; i < COUNT(algorithms); i++)
        if (str_eq(in->algorithm, str_c(algorithms[i].name))) {
            struct run r = { .alg = &algorithms[i], .in = in, .encrypt = encrypt };
            *ret_code = run_it(&r, k, a, ret, err);
            OPENSSL_cleanse(r.tag, sizeof r.tag);
            return true;
        }
    return false;
}
