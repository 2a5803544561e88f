/* aead.h — authenticated encryption of one piece of bytes: AES-GCM and ChaCha20-Poly1305 with a
 * nonce of 12 bytes and a tag of 16 behind the text.
 * Owner:  aead_done() ends it and forgets the key.   Thread: one at a time.
 * Failure: -EXHAUSTED out of memory; -INVALID a key of another length, or bytes that aren't what
 * was sealed: then nothing of them is given out. */
#pragma once

#include "base/error.h"

enum aead_kind { AEAD_AES_GCM, AEAD_CHACHA };
enum { AEAD_NONCE = 12, AEAD_TAG = 16 };

struct aead {
    struct evp_cipher_ctx_st *ctx[2]; /* to open, to seal */
};

int aead_init(struct aead *c, enum aead_kind kind, str key) WUR; /* fine to end after a failure */
void aead_done(struct aead *c);
/* out has room for in.n + AEAD_TAG bytes. */
int aead_seal(struct aead *c, const char nonce[AEAD_NONCE], str in, char *out) WUR;
/* out has room for in.n bytes; *ret_n = in.n - AEAD_TAG. */
int aead_open(struct aead *c, const char nonce[AEAD_NONCE], str in, char *out, size_t *ret_n) WUR;
