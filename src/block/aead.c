#include "block/aead.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

static const EVP_CIPHER *cipher_of(enum aead_kind kind, size_t key_len)
{
    if (kind == AEAD_CHACHA)
        return key_len == 32 ? EVP_chacha20_poly1305() : NULL;
    return key_len == 16   ? EVP_aes_128_gcm()
           : key_len == 24 ? EVP_aes_192_gcm()
           : key_len == 32 ? EVP_aes_256_gcm()
                           : NULL;
}

int aead_init(struct aead *c, enum aead_kind kind, str key)
{
    const EVP_CIPHER *cipher = cipher_of(kind, key.n);
    *c = (struct aead){ 0 };
    if (!cipher)
        return -INVALID;
    for (int seal = 0; seal < 2; seal++) {
        c->ctx[seal] = EVP_CIPHER_CTX_new();
        if (!c->ctx[seal] || EVP_CipherInit_ex(c->ctx[seal], cipher, NULL,
                                               (const unsigned char *)key.p, NULL, seal) != 1) {
            ERR_clear_error();
            return -EXHAUSTED;
        }
    }
    return 0;
}

void aead_done(struct aead *c)
{
    EVP_CIPHER_CTX_free(TAKE(c->ctx[0])); /* wipes the key */
    EVP_CIPHER_CTX_free(TAKE(c->ctx[1]));
}

static bool pass(EVP_CIPHER_CTX *ctx, const char *nonce, str in, char *out, char *tag, bool seal)
{
    int n = 0, last = 0;
    unsigned char *to = (unsigned char *)out;
    if (in.n > INT32_MAX - AEAD_TAG ||
        EVP_CipherInit_ex(ctx, NULL, NULL, NULL, (const unsigned char *)nonce, seal) != 1)
        return false;
    if (!seal && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, tag) != 1)
        return false;
    if (in.n && EVP_CipherUpdate(ctx, to, &n, (const unsigned char *)in.p, (int)in.n) != 1)
        return false;
    if (EVP_CipherFinal_ex(ctx, to + n, &last) != 1)
        return false;
    return !seal || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, tag) == 1;
}

int aead_seal(struct aead *c, const char nonce[AEAD_NONCE], str in, char *out)
{
    bool ok = pass(c->ctx[1], nonce, in, out, out + in.n, true);
    ERR_clear_error();
    return ok ? 0 : -EXHAUSTED;
}

int aead_open(struct aead *c, const char nonce[AEAD_NONCE], str in, char *out, size_t *ret_n)
{
    char tag[AEAD_TAG];
    if (in.n < AEAD_TAG)
        return -INVALID;
    size_t n = in.n - AEAD_TAG;
    memcpy(tag, in.p + n, AEAD_TAG);
    bool ok = pass(c->ctx[0], nonce, str_take(in, n), out, tag, false);
    ERR_clear_error();
    if (!ok) {
        OPENSSL_cleanse(out, n);
        return -INVALID;
    }
    *ret_n = n;
    return 0;
}
