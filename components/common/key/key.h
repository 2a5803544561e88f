/* key.h — a key read from bytes, JWK, PEM or raw, and what can be done with it; for
 * crypto.dapr.localstorage and middleware.http.bearer.
 * Owner:  key_done() ends it and wipes what is secret.   Thread: one at a time.
 * Failure: -INVALID with what is wrong with the key or the input; errors never hold key material.
 */
#pragma once

#include "component/crypto.h"

#include <openssl/evp.h>

enum { KEY_FILE_MAX = 64 << 10, KEY_TEXT_MAX = 128 };
enum key_format { KEY_ANY, KEY_JWK, KEY_PEM }; /* what the file's name says it is */

struct key {
    char *bytes; /* symmetric; owned */
    size_t n;
    EVP_PKEY *pkey; /* asymmetric; owned */
    bool is_private;
    /* what a JWK says about its use; empty = anything goes */
    char kid[KEY_TEXT_MAX], alg[32], use[8];
    unsigned ops; /* 1 << enum key_op; 0 = all */
};

enum key_op { KEY_ENCRYPT, KEY_DECRYPT, KEY_WRAP, KEY_UNWRAP, KEY_SIGN, KEY_VERIFY, KEY_OPS };

int key_parse(str data, enum key_format format, struct key *ret, struct error *err) WUR;
void key_done(struct key *k);
int jwk_parse(str text, struct key *ret, struct error *err) WUR; /* jwk.c */
/* The public part of an asymmetric key. */
int key_public_pem(const struct key *k, struct arena *a, str *ret, struct error *err) WUR;
int key_public_jwk(const struct key *k, struct arena *a, str *ret, struct error *err) WUR;

/* Whether the key may be used so. */
int key_allows(const struct key *k, enum key_op op, str algorithm, struct error *err) WUR;

/* By in->algorithm; -INVALID also for what doesn't decrypt or isn't authentic. */
int key_encrypt(const struct key *k, const struct crypto_input *in, struct arena *a,
                struct crypto_output *ret, struct error *err) WUR;
int key_decrypt(const struct key *k, const struct crypto_input *in, struct arena *a,
                struct crypto_output *ret, struct error *err) WUR;
int key_sign(const struct key *k, const struct crypto_input *in, struct arena *a,
             struct crypto_output *ret, struct error *err) WUR;
int key_verify(const struct key *k, const struct crypto_input *in, bool *ret, struct error *err)
    WUR;

/* cipher.c: true when the algorithm is a symmetric one, *ret_code = the outcome. */
bool cipher_run(const struct key *k, const struct crypto_input *in, bool encrypt, struct arena *a,
                struct crypto_output *ret, int *ret_code, struct error *err) WUR;

/* Shared words. */
int key_mismatch(struct error *err);
int key_unsupported(str algorithm, struct error *err);
int key_no_memory(struct error *err);
/* Base64 of either alphabet (not both at once), without padding; line ends don't count. ret has
 * room for in.n bytes. */
bool key_decode64(str in, char *ret, size_t *ret_n) WUR;
