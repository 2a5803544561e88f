/* crypto.h — the interface of a crypto provider: operations with keys that never leave it.
 * Owner:  results go into the caller's arena.   Thread: any worker, concurrently; may suspend.
 * Failure: -NOT_FOUND no such key, -INVALID an algorithm or input that the key doesn't take,
 * others as in component.h. A NULL slot means 'not supported'. */
#pragma once

#include "component/component.h"

struct crypto_input {
    str key;       /* name, or name/version */
    str algorithm; /* "A256KW", "RSA-OAEP-256", "A256GCM", "ES256" … (RFC 7518 and kin) */
    str data;      /* plaintext, ciphertext, key to wrap, digest … */
    str nonce, tag, associated_data;
};

struct crypto_output {
    str data, tag;
};

enum crypto_key_format { CRYPTO_KEY_PEM, CRYPTO_KEY_JSON };

struct crypto_ops {
    struct component_type t;
    /* The public part of an asymmetric key, as PKIX PEM or a JWK. */
    CO int (*get_key)(void *self, str key, enum crypto_key_format format, struct arena *a, str *ret,
                      struct error *err);
    CO int (*encrypt)(void *self, const struct crypto_input *in, struct arena *a,
                      struct crypto_output *ret, struct error *err);
    CO int (*decrypt)(void *self, const struct crypto_input *in, struct arena *a,
                      struct crypto_output *ret, struct error *err);
    CO int (*wrap_key)(void *self, const struct crypto_input *in, struct arena *a,
                       struct crypto_output *ret, struct error *err);
    CO int (*unwrap_key)(void *self, const struct crypto_input *in, struct arena *a,
                         struct crypto_output *ret, struct error *err);
    CO int (*sign)(void *self, const struct crypto_input *in, struct arena *a,
                   struct crypto_output *ret, struct error *err);
    /* in->tag is the signature. */
    CO int (*verify)(void *self, const struct crypto_input *in, bool *ret, struct error *err);
};
