/* cases.h — the cases of crypto providers, and how their keys get there.
 * Owner:  texts live in the case's arena.   Thread: a case's fiber.   Failure: CHECK(). */
#pragma once

#include "test/conformance/suite.h"

#include "component/crypto.h"

#include <openssl/evp.h>

extern const struct suite_case crypto_cipher_cases[], crypto_pkey_cases[];
extern const size_t n_crypto_cipher_cases, n_crypto_pkey_cases;

const struct crypto_ops *crypto_ops_of(const struct suite *s);

/* ---- keys.c: as a provider's tools would put them there; one row for each engine ---- */
CO void key_bytes(struct suite *s, const char *name, str bytes);
CO void key_text(struct suite *s, const char *name, const char *text);
CO void key_pem(struct suite *s, const char *name, EVP_PKEY *key); /* frees key */

str unhex(struct suite *s, const char *hex);
bool same(str got, str want);

typedef CO int crypto_call(void *self, const struct crypto_input *in, struct arena *a,
                           struct crypto_output *ret, struct error *err);
/* The operation's result; prints why it failed only when it was expected to work. */
CO int run(struct suite *s, crypto_call *fn, const struct crypto_input *in,
           struct crypto_output *ret);
CO int verify(struct suite *s, const struct crypto_input *in); /* 1, 0, or negative */
