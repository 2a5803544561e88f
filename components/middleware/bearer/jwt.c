#include "jwt.h"

#include "base/mem.h"

#include <stdatomic.h>

#include <openssl/ecdsa.h>
#include <openssl/err.h>

static int refuse(struct error *err, const char *why)
{
    return fail(err, UNAUTHENTICATED, NULL, "%s", why);
}

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the token doesn't fit into the request's memory");
}

/* ---- the three parts ---- */

/* base64url without padding and nothing else: key_decode64() is more lenient. */
static bool is_url64(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '_')
            return false;
    }
    return s.n % 4 != 1;
}

static int decode(str text, struct arena *a, str *ret, struct error *err)
{
    char *p = arena_alloc(a, text.n + 1);
    size_t n;
    if (!p)
        return no_memory(err);
    if (!is_url64(text) || !key_decode64(text, p, &n))
        return refuse(err, "a part of the token is no base64url");
    *ret = str_of(p, n);
    return 0;
}

static int decode_object(str text, struct arena *a, struct json *ret, struct error *err)
{
    str bytes = S("");
    int r = decode(text, a, &bytes, err);
    if (r < 0)
        return r;
    if (json_parse(bytes, ret, NULL) < 0 || ret->type != JSON_OBJECT)
        return refuse(err, "a part of the token is no JSON object");
    return 0;
}

static int text_of(struct json v, struct arena *a, str *ret, struct error *err)
{
    *ret = S("");
    if (v.type != JSON_STRING)
        return v.type == JSON_NONE ? 0 : refuse(err, "a member of the token has the wrong type");
    return json_string(a, v, ret) < 0 ? no_memory(err) : 0;
}

int jwt_parse(str token, struct arena *a, struct jwt *ret, struct error *err)
{
    str head, payload, signature, rest;
    struct json header;
    *ret = (struct jwt){ 0 };
    if (!str_cut(token, '.', &head, &rest) || !str_cut(rest, '.', &payload, &signature) ||
        str_find_c(signature, '.') >= 0)
        return refuse(err, "a token has three parts");
    ret->text = str_take(token, head.n + 1 + payload.n);
    int r = decode_object(head, a, &header, err);
    if (r >= 0 && json_get(header, S("crit")).type != JSON_NONE)
        r = refuse(err, "the token asks for extensions that aren't known here");
    if (r >= 0)
        r = text_of(json_get(header, S("alg")), a, &ret->alg, err);
    if (r >= 0)
        r = text_of(json_get(header, S("kid")), a, &ret->kid, err);
    if (r >= 0)
        r = decode_object(payload, a, &ret->claims, err);
    return r < 0 ? r : decode(signature, a, &ret->signature, err);
}

/* ---- claims ---- */

static int audience_has(struct json aud, str wanted, struct arena *a, struct error *err)
{
    str text;
    if (aud.type == JSON_STRING)
        return json_string(a, aud, &text) < 0 ? no_memory(err) : str_eq(text, wanted);
    if (aud.type != JSON_ARRAY)
        return 0;
    struct json unused, item;
    struct json_iter it = json_iter(aud);
    while (json_next(&it, &unused, &item)) {
        int r = item.type == JSON_STRING ? audience_has(item, wanted, a, err) : 0;
        if (r)
            return r;
    }
    return 0;
}

/* *ret is left alone where there's no such claim. */
static int date(const struct jwt *t, const char *name, double *ret, struct error *err)
{
    struct json v = json_get(t->claims, str_c(name));
    if (v.type == JSON_NONE)
        return 0;
    return v.type == JSON_NUMBER && json_double(v, ret)
               ? 0
               : refuse(err, "a date of the token is no number");
}

static int check_dates(const struct jwt *t, double now, double skew, struct error *err)
{
    double exp = now + 1, nbf = now, iat = now;
    int r = date(t, "exp", &exp, err);
    if (r >= 0)
        r = date(t, "nbf", &nbf, err);
    if (r >= 0)
        r = date(t, "iat", &iat, err);
    if (r < 0)
        return r;
    if (!(now < exp + skew))
        return refuse(err, "the token has expired");
    return nbf <= now + skew && iat <= now + skew ? 0 : refuse(err, "the token doesn't count yet");
}

int jwt_check_claims(const struct jwt *t, str issuer, str audience, double now_s, double skew_s,
                     struct arena *a, struct error *err)
{
    str iss;
    int r = text_of(json_get(t->claims, S("iss")), a, &iss, err);
    if (r < 0)
        return r;
    if (!str_eq(iss, issuer))
        return refuse(err, "the token is another issuer's");
    r = audience_has(json_get(t->claims, S("aud")), audience, a, err);
    if (r < 0)
        return r;
    return r ? check_dates(t, now_s, skew_s, err) : refuse(err, "the token is for somebody else");
}

/* ---- keys ---- */

struct keyset {
    atomic_uint refs;
    size_t n;
    struct key key[];
};

static void done(struct keyset *k)
{
    for (size_t i = 0; i < k->n; i++)
        key_done(&k->key[i]);
    mem_free(k);
}

/* What can't be read is for somebody else: a set may hold keys of kinds still to be invented. */
static void add(struct keyset *k, str jwk)
{
    struct key *key = &k->key[k->n];
    *key = (struct key){ 0 };
    bool use = key_parse(jwk, KEY_JWK, key, NULL) >= 0 && key->pkey &&
               (!key->use[0] || str_eq(str_c(key->use), S("sig")));
    if (use)
        k->n++;
    else
        key_done(key);
}

int keyset_parse(str text, struct keyset **ret, struct error *err)
{
    struct json root, unused, item;
    if (json_parse(text, &root, NULL) < 0 || json_get(root, S("keys")).type != JSON_ARRAY)
        return fail(err, INVALID, NULL, "it is no set of JSON Web Keys");
    struct json_iter it = json_iter(json_get(root, S("keys")));
    struct keyset *k = mem_zalloc(sizeof *k + KEYS_MAX * sizeof k->key[0]);
    if (!k)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    atomic_init(&k->refs, 1);
    while (k->n < KEYS_MAX && json_next(&it, &unused, &item))
        if (item.type == JSON_OBJECT)
            add(k, item.raw);
    if (!k->n) {
        done(k);
        return fail(err, INVALID, NULL, "it holds no key that signatures can be verified with");
    }
    *ret = k;
    return 0;
}

struct keyset *keyset_ref(struct keyset *k)
{
    atomic_fetch_add(&k->refs, 1);
    return k;
}

void keyset_unref(struct keyset *k)
{
    if (k && atomic_fetch_sub(&k->refs, 1) == 1)
        done(k);
}

size_t keyset_count(const struct keyset *k)
{
    return k->n;
}

/* ---- signatures ---- */

static const struct algorithm {
    const char *name, *digest; /* NULL: the message is signed as it is */
    int type;
    int bits; /* of the key: at least (RSA), exactly (curves) */
} algorithms[] = {
    { "RS256", "SHA256", EVP_PKEY_RSA, 2048 }, { "RS384", "SHA384", EVP_PKEY_RSA, 2048 },
    { "RS512", "SHA512", EVP_PKEY_RSA, 2048 }, { "PS256", "SHA256", EVP_PKEY_RSA, 2048 },
    { "PS384", "SHA384", EVP_PKEY_RSA, 2048 }, { "PS512", "SHA512", EVP_PKEY_RSA, 2048 },
    { "ES256", "SHA256", EVP_PKEY_EC, 256 },   { "ES384", "SHA384", EVP_PKEY_EC, 384 },
    { "ES512", "SHA512", EVP_PKEY_EC, 521 },   { "EdDSA", NULL, EVP_PKEY_ED25519, 0 },
};

static const struct algorithm *find(str name)
{
    for (size_t i = 0; i < COUNT(algorithms); i++)
        if (str_eq(name, str_c(algorithms[i].name)))
            return &algorithms[i];
    return NULL;
}

static bool fits(const struct key *k, const struct algorithm *alg)
{
    int bits = EVP_PKEY_get_bits(k->pkey);
    if (EVP_PKEY_get_base_id(k->pkey) != alg->type ||
        key_allows(k, KEY_VERIFY, str_c(alg->name), NULL) < 0)
        return false;
    return alg->type == EVP_PKEY_RSA ? bits >= alg->bits : !alg->bits || bits == alg->bits;
}

/* Two numbers side by side, which OpenSSL wants as DER. */
static int der_of(str raw, int bits, struct arena *a, str *ret)
{
    size_t half = ((size_t)bits + 7) / 8;
    *ret = S("");
    if (raw.n != 2 * half)
        return 0; /* an empty signature verifies nowhere */
    ECDSA_SIG *s = ECDSA_SIG_new();
    BIGNUM *x = BN_bin2bn((const unsigned char *)raw.p, (int)half, NULL);
    BIGNUM *y = BN_bin2bn((const unsigned char *)raw.p + half, (int)half, NULL);
    unsigned char *out = arena_alloc(a, 2 * half + 16), *end = out;
    bool ok = s && x && y && out && ECDSA_SIG_set0(s, x, y) == 1;
    if (ok)
        *ret = str_of(out, (size_t)i2d_ECDSA_SIG(s, &end));
    else {
        BN_free(x);
        BN_free(y);
    }
    ECDSA_SIG_free(s);
    return ok ? 0 : -EXHAUSTED;
}

static bool verify_with(const struct jwt *t, const struct algorithm *alg, const struct key *k,
                        str digest, struct arena *a)
{
    struct crypto_input in = { .algorithm = t->alg, .data = digest, .tag = t->signature };
    bool good = false;
    if (alg->type == EVP_PKEY_EC && der_of(t->signature, alg->bits, a, &in.tag) < 0)
        return false;
    return in.tag.n && key_verify(k, &in, &good, NULL) >= 0 && good;
}

static bool hash(const struct jwt *t, const struct algorithm *alg,
                 unsigned char out[EVP_MAX_MD_SIZE], str *ret)
{
    unsigned n = 0;
    if (!alg->digest) {
        *ret = t->text;
        return true;
    }
    bool ok =
        EVP_Digest(t->text.p, t->text.n, out, &n, EVP_get_digestbyname(alg->digest), NULL) == 1;
    *ret = str_of(out, n);
    return ok;
}

int jwt_verify(const struct jwt *t, const struct keyset *keys, struct arena *a, struct error *err)
{
    unsigned char space[EVP_MAX_MD_SIZE];
    str digest;
    const struct algorithm *alg = find(t->alg);
    if (!alg)
        return refuse(err, "the token is signed by an algorithm that isn't taken");
    if (!hash(t, alg, space, &digest))
        return no_memory(err);
    bool known = !t->kid.n;
    for (size_t i = 0; i < keys->n; i++) {
        const struct key *k = &keys->key[i];
        if (t->kid.n && !str_eq(t->kid, str_c(k->kid)))
            continue;
        known = true;
        if (fits(k, alg) && verify_with(t, alg, k, digest, a))
            return 0;
    }
    return known ? refuse(err, "the token's signature is wrong")
                 : fail(err, NOT_FOUND, NULL, "the token names a key that isn't known");
}
