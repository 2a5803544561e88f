/* crypto.h (block) — what an operation with a provider's key means: policies, metrics, and what an
 * error may tell.
 * Owner:  results live in the caller's arena.   Thread: any worker; suspends in the provider.
 * Failure: *err has the contract's tag. Why decrypting, unwrapping or verifying failed is only told
 * to the debug log: the answer to "was it the padding?" is what attacks on ciphers live from. */
#pragma once

#include "block/core/block.h"
#include "block/encryption.h"
#include "component/crypto.h"

enum crypto_op { CRYPTO_ENCRYPT, CRYPTO_DECRYPT, CRYPTO_WRAP, CRYPTO_UNWRAP, CRYPTO_SIGN };

int crypto_attach(struct blocks *b, struct instance *i, struct error *err) WUR;
int crypto_find(struct blocks *b, str name, struct instance **ret, struct error *err) WUR;

CO int block_crypto_get_key(struct blocks *b, struct instance *provider, str key,
                            enum crypto_key_format format, struct arena *a, str *ret,
                            struct error *err) WUR;
CO int block_crypto_run(struct blocks *b, struct instance *provider, enum crypto_op op,
                        const struct crypto_input *in, struct arena *a, struct crypto_output *ret,
                        struct error *err) WUR;
/* in->tag is the signature. */
CO int block_crypto_verify(struct blocks *b, struct instance *provider,
                           const struct crypto_input *in, bool *ret, struct error *err) WUR;

/* ---- whole messages, by the contract's scheme (encryption.h) ---- */

struct crypto_stream { /* as in struct encryption_io */
    CO int (*read)(void *arg, str *ret, struct error *err);
    CO int (*write)(void *arg, str data, struct error *err);
    void *arg;
};
CO int block_crypto_seal(struct blocks *b, struct instance *provider,
                         const struct encryption_options *o, const struct crypto_stream *s,
                         struct error *err) WUR;
/* key: empty = the one that the message names. */
CO int block_crypto_open(struct blocks *b, struct instance *provider, str key,
                         const struct crypto_stream *s, struct error *err) WUR;
