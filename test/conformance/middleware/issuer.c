#include "issuer.h"

#include "base/id.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>

static const char *const kid[ISSUER_KEYS] = { "rsa", "ec", "ed", "new" };

/* ---- the documents ---- */

static str key_text(struct issuer *s, enum issuer_key i)
{
    str text;
    REQUIRE(key_public_jwk(&s->key[i], &s->a, &text, &s->err) == 0, "%s", s->err.text);
    return text;
}

static void make_jwks(struct issuer *s, bool fresh)
{
    str odd = S("{\"kty\":\"of the future\",\"kid\":\"x\"},{\"kty\":\"oct\",\"k\":\"AAAA\"}");
    str text =
        fresh ? arena_printf(&s->a, "{\"keys\":[" STR_FMT "]}", STR_ARG(key_text(s, ISSUER_NEW)))
              : arena_printf(&s->a, "{\"keys\":[" STR_FMT "," STR_FMT "," STR_FMT "," STR_FMT "]}",
                             STR_ARG(odd), STR_ARG(key_text(s, ISSUER_RSA)),
                             STR_ARG(key_text(s, ISSUER_EC)), STR_ARG(key_text(s, ISSUER_ED)));
    REQUIRE(text.p);
    s->jwks = text.p;
}

CO static void serve(void *arg, struct http_exchange *x)
{
    struct issuer *s = arg;
    int status = atomic_load(&s->status) ? atomic_load(&s->status) : 200;
    if (str_eq(x->req.path, S("/.well-known/openid-configuration"))) {
        str right = arena_printf(x->arena, "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/keys?v=1\"}",
                                 s->url, s->url);
        CHECK_OK(http_reply(x, status, NULL, s->discovery ? str_c(s->discovery) : right));
        return;
    }
    CHECK_STR(x->req.target, "/keys?v=1");
    atomic_fetch_add(&s->asked, 1);
    CHECK_OK(http_reply(x, status, NULL, str_c(s->jwks)));
}

static void open_server(void *arg)
{
    struct issuer *s = arg;
    struct http_server_config c = { .handle = serve, .arg = s };
    s->result = http_server_open("127.0.0.1:0", &c, &s->server, &s->err);
}

static void close_server(void *arg)
{
    struct issuer *s = arg;
    (void)http_server_stop(s->server, MS(200));
    http_server_free(s->server);
}

CO void issuer_open(struct issuer *s)
{
    *s = (struct issuer){ 0 };
    arena_init(&s->a, MIB(4));
    EVP_PKEY *made[] = { EVP_RSA_gen(2048), EVP_EC_gen("P-256"),
                         EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"),
                         EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
    for (size_t i = 0; i < ISSUER_KEYS; i++) {
        REQUIRE(made[i]);
        s->key[i] = (struct key){ .pkey = made[i], .is_private = true };
        snprintf(s->key[i].kid, sizeof s->key[i].kid, "%s", kid[i]);
    }
    make_jwks(s, false);
    REQUIRE(blocking(open_server, s) == 0 && s->result == 0, "%s", s->err.text);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", http_server_port(s->server));
}

CO void issuer_close(struct issuer *s)
{
    CHECK_OK(blocking(close_server, s));
    for (size_t i = 0; i < ISSUER_KEYS; i++)
        key_done(&s->key[i]);
    arena_done(&s->a);
}

void issuer_rotate(struct issuer *s)
{
    make_jwks(s, true);
}

/* ---- tokens ---- */

static str url64(struct issuer *s, str bytes)
{
    size_t n = base64_len(bytes.n);
    char *p = arena_alloc(&s->a, n);
    REQUIRE(p);
    base64_encode(bytes, p);
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] == '+' ? '-' : p[i] == '/' ? '_' : p[i];
    while (n && p[n - 1] == '=')
        n--;
    return str_of(p, n);
}

/* JWS has two numbers side by side where OpenSSL has DER. */
static str raw_signature(struct issuer *s, str der)
{
    const unsigned char *p = (const unsigned char *)der.p;
    unsigned char *out = arena_alloc(&s->a, 64);
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der.n);
    REQUIRE(sig && out);
    REQUIRE(BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32);
    REQUIRE(BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32);
    ECDSA_SIG_free(sig);
    return str_of(out, 64);
}

str issuer_sign(struct issuer *s, const char *head, const char *claims, enum issuer_key sign,
                const char *alg)
{
    str part[] = { url64(s, str_c(head)), S("."), url64(s, str_c(claims)) };
    str text = arena_join(&s->a, part, COUNT(part));
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct crypto_output out;
    struct crypto_input in = { .algorithm = str_c(alg), .data = text };
    if (!str_eq(str_c(alg), S("EdDSA"))) {
        REQUIRE(EVP_Digest(text.p, text.n, digest, &n, EVP_sha256(), NULL) == 1);
        in.data = str_of(digest, n);
    }
    REQUIRE(key_sign(&s->key[sign], &in, &s->a, &out, &s->err) == 0, "%s", s->err.text);
    str signature = sign == ISSUER_EC ? raw_signature(s, out.data) : out.data;
    str whole[] = { text, S("."), url64(s, signature) };
    return arena_join(&s->a, whole, COUNT(whole));
}

str issuer_token(struct issuer *s, enum issuer_key key, const char *alg)
{
    long long now = (long long)(clock_wall_ns() / SEC(1));
    str head =
        arena_printf(&s->a, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}", alg, kid[key]);
    str claims = arena_printf(&s->a,
                              "{\"iss\":\"%s\",\"aud\":\"me\",\"sub\":\"somebody\",\"iat\":%lld,"
                              "\"exp\":%lld}",
                              s->url, now, now + 60);
    return issuer_sign(s, head.p, claims.p, key, alg);
}
