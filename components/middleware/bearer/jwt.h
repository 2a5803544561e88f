/* jwt.h — signed JSON Web Tokens (RFC 7515, 7519) and the key sets that they are verified with.
 * Owner:  a token borrows from its text and the caller's arena; a key set is counted.
 * Thread: any; a key set is immutable.
 * Failure: -UNAUTHENTICATED what is wrong with a token; -NOT_FOUND no key of its kid; -INVALID a
 * key set that is none. Limits: KEYS_MAX keys. */
#pragma once

#include "components/common/key/key.h"
#include "format/json.h"

enum { KEYS_MAX = 256 };

struct jwt {
    str text;           /* what is signed: header and payload, as they came */
    str signature;      /* decoded */
    str alg, kid;       /* kid "": the token names no key */
    struct json claims; /* an object */
};

int jwt_parse(str token, struct arena *a, struct jwt *ret, struct error *err) WUR;

/* Who issued it, for whom, and from when to when it counts; skew_s is forgiven. */
int jwt_check_claims(const struct jwt *t, str issuer, str audience, double now_s, double skew_s,
                     struct arena *a, struct error *err) WUR;

struct keyset;
/* {"keys": [JWK, …]}; keys of kinds that sign nothing are left out. */
int keyset_parse(str text, struct keyset **ret, struct error *err) WUR;
struct keyset *keyset_ref(struct keyset *k);
void keyset_unref(struct keyset *k); /* NULL is fine */
size_t keyset_count(const struct keyset *k);

/* By the key that the token names, or, when it names none, by any that fits its algorithm.
 * Symmetric algorithms and "none" never do. */
int jwt_verify(const struct jwt *t, const struct keyset *keys, struct arena *a, struct error *err)
    WUR;
