#include "components/common/key/key.h"

#include "base/mem.h"
#include "format/json.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

/* JSON Web Keys: RFC 7517, RFC 7518 section 6, RFC 8037. */

enum { FIELD_MAX = 4096, POINT_MAX = 66 };

/* ---- members ---- */

/* base64url without padding; the result is in buf, *ret.p NULL when the member is absent. */
static bool member(struct json v, const char *name, unsigned char *buf, size_t max, str *ret)
{
    struct json f = json_get(v, str_c(name));
    size_t n = 0;
    *ret = (str){ 0 };
    if (f.type == JSON_NONE)
        return true;
    if (f.type != JSON_STRING || f.raw.n < 2 || f.raw.n - 2 > max ||
        !key_decode64(str_of(f.raw.p + 1, f.raw.n - 2), (char *)buf, &n))
        return false;
    *ret = str_of(buf, n);
    return true;
}

static void text_member(struct json v, const char *name, char *to, size_t size)
{
    struct buf b;
    struct json f = json_get(v, str_c(name));
    buf_init(&b, size - 1);
    if (f.type == JSON_STRING && json_string_put(&b, f) == 0 && buf_ok(&b) && b.len)
        memcpy(to, buf_str(&b).p, b.len);
    buf_done(&b);
}

static void read_ops(struct json v, struct key *k)
{
    static const char *const name[KEY_OPS] = { "encrypt",   "decrypt", "wrapKey",
                                               "unwrapKey", "sign",    "verify" };
    struct json_iter it = json_iter(json_get(v, S("key_ops")));
    struct json op;
    while (json_next(&it, NULL, &op))
        for (size_t i = 0; i < KEY_OPS; i++)
            k->ops |= (unsigned)json_eq_str(op, str_c(name[i])) << i;
}

static int bad(struct error *err, const char *what)
{
    ERR_clear_error();
    return fail(err, INVALID, NULL, "failed to parse the key: %s", what);
}

/* ---- the kinds ---- */

static EVP_PKEY *from_params(const char *type, bool is_private, OSSL_PARAM *params)
{
    EVP_PKEY *p = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!ctx || !params || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &p, is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) !=
            1)
        p = NULL;
    EVP_PKEY_CTX_free(ctx);
    return p;
}

struct big { /* a member as a number, under OpenSSL's name */
    const char *member, *param;
    BIGNUM *n;
};

static EVP_PKEY *rsa_key(struct json v, unsigned char *buf, bool *ret_private)
{
    struct big row[] = {
        { "n", OSSL_PKEY_PARAM_RSA_N, NULL },
        { "e", OSSL_PKEY_PARAM_RSA_E, NULL },
        { "d", OSSL_PKEY_PARAM_RSA_D, NULL },
        { "p", OSSL_PKEY_PARAM_RSA_FACTOR1, NULL },
        { "q", OSSL_PKEY_PARAM_RSA_FACTOR2, NULL },
        { "dp", OSSL_PKEY_PARAM_RSA_EXPONENT1, NULL },
        { "dq", OSSL_PKEY_PARAM_RSA_EXPONENT2, NULL },
        { "qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1, NULL },
    };
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY *p = NULL;
    bool ok = b;
    for (size_t i = 0; ok && i < COUNT(row); i++) {
        str s;
        ok = member(v, row[i].member, buf, FIELD_MAX, &s);
        if (!ok || !s.n)
            continue;
        row[i].n = BN_secure_new();
        ok = row[i].n && BN_bin2bn((const unsigned char *)s.p, (int)s.n, row[i].n) &&
             OSSL_PARAM_BLD_push_BN(b, row[i].param, row[i].n) == 1;
    }
    *ret_private = row[2].n;
    if (ok && row[0].n && row[1].n) {
        OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
        p = from_params("RSA", *ret_private, params);
        OSSL_PARAM_free(params);
    }
    for (size_t i = 0; i < COUNT(row); i++)
        BN_clear_free(row[i].n);
    OSSL_PARAM_BLD_free(b);
    return p;
}

static const struct curve {
    const char *name, *group;
    size_t bytes;
} curves[] = {
    { "P-256", "prime256v1", 32 },
    { "P-384", "secp384r1", 48 },
    { "P-521", "secp521r1", 66 },
};

static const struct curve *curve_of(struct json v)
{
    for (size_t i = 0; i < COUNT(curves); i++)
        if (json_eq_str(json_get(v, S("crv")), str_c(curves[i].name)))
            return &curves[i];
    return NULL;
}

/* 4, x, y; left zeros may be missing in the members. */
static bool ec_point(struct json v, const struct curve *c, unsigned char *buf,
                     unsigned char point[1 + 2 * POINT_MAX])
{
    str s;
    memset(point, 0, 1 + 2 * POINT_MAX);
    point[0] = 4;
    for (size_t i = 0; i < 2; i++) {
        if (!member(v, i ? "y" : "x", buf, FIELD_MAX, &s) || !s.n || s.n > c->bytes)
            return false;
        memcpy(point + 1 + i * c->bytes + c->bytes - s.n, s.p, s.n);
    }
    return true;
}

static EVP_PKEY *ec_key(struct json v, unsigned char *buf, bool *ret_private)
{
    const struct curve *c = curve_of(v);
    unsigned char point[1 + 2 * POINT_MAX];
    str s;
    if (!c || !ec_point(v, c, buf, point) || !member(v, "d", buf, FIELD_MAX, &s))
        return NULL;
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    BIGNUM *d = BN_secure_new();
    *ret_private = s.n;
    bool ok =
        b && d &&
        OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, c->group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * c->bytes) == 1;
    if (ok && s.n)
        ok = BN_bin2bn((const unsigned char *)s.p, (int)s.n, d) &&
             OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1;
    OSSL_PARAM *params = ok ? OSSL_PARAM_BLD_to_param(b) : NULL;
    EVP_PKEY *p = from_params("EC", *ret_private, params);
    OSSL_PARAM_free(params);
    BN_clear_free(d);
    OSSL_PARAM_BLD_free(b);
    return p;
}

static EVP_PKEY *okp_key(struct json v, unsigned char *buf, bool *ret_private)
{
    str s;
    if (!json_eq_str(json_get(v, S("crv")), S("Ed25519")) || !member(v, "d", buf, FIELD_MAX, &s))
        return NULL;
    *ret_private = s.n;
    if (s.n)
        return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)s.p,
                                            s.n);
    if (!member(v, "x", buf, FIELD_MAX, &s))
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)s.p, s.n);
}

static int oct_key(struct json v, unsigned char *buf, struct key *ret, struct error *err)
{
    str s;
    if (!member(v, "k", buf, FIELD_MAX, &s) || !s.n)
        return bad(err, "an oct key needs k in base64url");
    ret->bytes = mem_dup(s.p, s.n);
    ret->n = s.n;
    return ret->bytes ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

int jwk_parse(str text, struct key *ret, struct error *err)
{
    static const struct {
        const char *kty;
        EVP_PKEY *(*make)(struct json v, unsigned char *buf, bool *ret_private);
    } row[] = { { "RSA", rsa_key }, { "EC", ec_key }, { "OKP", okp_key } };
    unsigned char buf[FIELD_MAX];
    struct json v;
    if (json_parse(text, &v, NULL) < 0 || v.type != JSON_OBJECT)
        return bad(err, "it is no JSON Web Key");
    text_member(v, "kid", ret->kid, sizeof ret->kid);
    text_member(v, "alg", ret->alg, sizeof ret->alg);
    text_member(v, "use", ret->use, sizeof ret->use);
    read_ops(v, ret);
    struct json kty = json_get(v, S("kty"));
    int r = json_eq_str(kty, S("oct")) ? oct_key(v, buf, ret, err) : -UNKNOWN;
    for (size_t i = 0; r == -UNKNOWN && i < COUNT(row); i++)
        if (json_eq_str(kty, str_c(row[i].kty))) {
            ret->pkey = row[i].make(v, buf, &ret->is_private);
            r = ret->pkey ? 0 : bad(err, "its members don't make a key of its kty and crv");
        }
    OPENSSL_cleanse(buf, sizeof buf);
    ERR_clear_error();
    return r == -UNKNOWN ? bad(err, "kty must be oct, RSA, EC or OKP") : r;
}

/* ---- the public part ---- */

static void write_url64(struct json_w *w, const char *name, const unsigned char *p, size_t n)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct buf b;
    unsigned bits = 0, have = 0;
    buf_init(&b, FIELD_MAX);
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | p[i];
        for (have += 8; have >= 6;)
            buf_putc(&b, alphabet[bits >> (have -= 6) & 63]);
    }
    if (have)
        buf_putc(&b, alphabet[bits << (6 - have) & 63]);
    json_w_kv(w, str_c(name), buf_str(&b));
    buf_done(&b);
}

static bool write_number(struct json_w *w, const struct key *k, const char *name, const char *param,
                         size_t width)
{
    unsigned char buf[2048];
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(k->pkey, param, &n) != 1)
        return false;
    int len = (int)(width ? width : (size_t)BN_num_bytes(n));
    bool ok = len <= (int)sizeof buf && BN_bn2binpad(n, buf, len) == len;
    if (ok)
        write_url64(w, name, buf, (size_t)len);
    BN_free(n);
    return ok;
}

static const struct curve *curve_by_group(const struct key *k)
{
    char group[64];
    size_t n;
    if (EVP_PKEY_get_group_name(k->pkey, group, sizeof group, &n) != 1)
        return NULL;
    for (size_t i = 0; i < COUNT(curves); i++)
        if (str_eq(str_c(curves[i].group), str_c(group)))
            return &curves[i];
    return NULL;
}

static void write_common(struct json_w *w, const struct key *k, const char *kty)
{
    if (k->kid[0])
        json_w_kv(w, S("kid"), str_c(k->kid));
    json_w_kv(w, S("kty"), str_c(kty));
}

/* Members in alphabetical order. */
static bool write_public(struct json_w *w, const struct key *k)
{
    unsigned char raw[32];
    size_t n = sizeof raw;
    if (k->alg[0])
        json_w_kv(w, S("alg"), str_c(k->alg));
    if (EVP_PKEY_get_base_id(k->pkey) == EVP_PKEY_RSA) {
        bool ok = write_number(w, k, "e", OSSL_PKEY_PARAM_RSA_E, 0);
        write_common(w, k, "RSA");
        return ok && write_number(w, k, "n", OSSL_PKEY_PARAM_RSA_N, 0);
    }
    const struct curve *c = curve_by_group(k);
    if (EVP_PKEY_get_base_id(k->pkey) == EVP_PKEY_ED25519) {
        json_w_kv(w, S("crv"), S("Ed25519"));
        write_common(w, k, "OKP");
        bool ok = EVP_PKEY_get_raw_public_key(k->pkey, raw, &n) == 1;
        write_url64(w, "x", raw, ok ? n : 0);
        return ok;
    }
    if (!c)
        return false;
    json_w_kv(w, S("crv"), str_c(c->name));
    write_common(w, k, "EC");
    return write_number(w, k, "x", OSSL_PKEY_PARAM_EC_PUB_X, c->bytes) &&
           write_number(w, k, "y", OSSL_PKEY_PARAM_EC_PUB_Y, c->bytes);
}

int key_public_jwk(const struct key *k, struct arena *a, str *ret, struct error *err)
{
    if (!k->pkey)
        return fail(err, NOT_FOUND, NULL, "key not found: a symmetric key has no public part");
    struct buf b;
    struct json_w w;
    buf_init(&b, KIB(16));
    json_w_init(&w, &b, 0);
    json_w_object(&w);
    bool ok = write_public(&w, k);
    json_w_object_end(&w);
    str text = ok && buf_ok(&b) ? arena_dup(a, buf_str(&b)) : (str){ 0 };
    buf_done(&b);
    ERR_clear_error();
    if (!ok)
        return fail(err, INVALID, NULL, "this key's curve has no name among JSON Web Keys");
    if (!text.p)
        return key_no_memory(err);
    *ret = text;
    return 0;
}
