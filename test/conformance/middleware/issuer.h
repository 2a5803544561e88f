/* issuer.h — an OpenID issuer in this process, for tests: a server with its two documents, keys,
 * and tokens signed with them. Owner:  the test; issuer_close() ends it.   Thread: in a fiber
 * (TEST_LOOP).   Failure: REQUIRE().
 */
#pragma once

#include "components/common/key/key.h"
#include "http/server.h"
#include "test/testing.h"

#include <stdatomic.h>

enum issuer_key { ISSUER_RSA, ISSUER_EC, ISSUER_ED, ISSUER_NEW /* an Ed25519 key */, ISSUER_KEYS };

struct issuer {
    struct http_server *server;
    char url[64];
    struct key key[ISSUER_KEYS]; /* kid: "rsa", "ec", "ed", "new" */
    struct arena a;
    atomic_uint asked; /* for its keys */
    /* What it answers; NULL = what is right. */
    const char *discovery, *jwks;
    _Atomic int status; /* 0 = 200 */
    struct error err;
    int result;
};

/* Its set has all keys but ISSUER_NEW, until rotate. */
CO void issuer_open(struct issuer *s);
CO void issuer_close(struct issuer *s);
void issuer_rotate(struct issuer *s);

/* head, claims: JSON texts. sign: by which key; alg: what that signature is made by. */
str issuer_sign(struct issuer *s, const char *head, const char *claims, enum issuer_key sign,
                const char *alg);
/* {"alg":alg,"kid":…} over claims for "me" that count now. */
str issuer_token(struct issuer *s, enum issuer_key key, const char *alg);
