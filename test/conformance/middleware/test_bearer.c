/* middleware.http.bearer against an issuer of ours. */
#include "components/middleware/bearer/jwt.h"
#include "fixture.h"
#include "http/memory.h"
#include "issuer.h"

struct setup {
    struct issuer issuer;
    struct fixture f;
};

CO static int open_with(struct setup *s, const char *key, const char *value)
{
    const char *md[] = { "issuer", s->issuer.url, "audience", "me", key, value, NULL };
    return fixture_open(&s->f, "middleware.http.bearer", md, NULL);
}

CO static void setup_open(struct setup *s)
{
    issuer_open(&s->issuer);
    CHECK_OK(open_with(s, NULL, NULL), "%s", s->f.err.text);
}

CO static void setup_close(struct setup *s)
{
    fixture_close(&s->f);
    issuer_close(&s->issuer);
}

CO static void pass(struct middleware_chain *rest, struct http_exchange *x)
{
    CHECK_OK(http_reply(x, 204, NULL, S("")));
}

/* The status of a request with this Authorization, empty = none; 204 came through. */
CO static int ask_as(struct setup *s, str authorization, char challenge[64])
{
    struct http_request req = { .method = S("GET"), .target = S("/"), .path = S("/") };
    struct middleware_chain rest = { pass };
    struct http_memory m;
    struct arena a;
    arena_init(&a, MIB(1));
    http_headers_init(&req.headers, &a);
    if (authorization.n)
        CHECK_OK(http_headers_add(&req.headers, S("Authorization"), authorization));
    http_memory_init(&m, &req, S(""), &a, KIB(64));
    CONTAINER_OF(s->f.type, struct middleware_ops, t)->handle(s->f.self, &m.x, &rest);
    str told = http_headers_get(&m.reply_headers, S("WWW-Authenticate"));
    if (challenge)
        snprintf(challenge, 64, STR_FMT, STR_ARG(told));
    if (m.x.status == 401)
        CHECK_STR(buf_str(&m.reply), "Unauthorized");
    int status = m.x.status;
    http_memory_done(&m);
    arena_done(&a);
    return status;
}

CO static int ask(struct setup *s, str token)
{
    str part[] = { S("Bearer "), token };
    return ask_as(s, arena_join(&s->issuer.a, part, 2), NULL);
}

TEST_LOOP(tokens_of_each_algorithm_pass)
{
    static const struct {
        enum issuer_key key;
        const char *alg;
    } row[] = { { ISSUER_RSA, "RS256" },
                { ISSUER_RSA, "PS256" },
                { ISSUER_EC, "ES256" },
                { ISSUER_ED, "EdDSA" } };
    struct setup s;
    setup_open(&s);
    EACH (row, r) {
        str token = issuer_token(&s.issuer, r->key, r->alg);
        CHECK_EQ(ask(&s, token), 204, "%s", r->alg);
        str part[] = { S("bEARER   "), token };
        CHECK_EQ(ask_as(&s, arena_join(&s.issuer.a, part, 2), NULL), 204, "%s", r->alg);
        for (size_t at = 0; at < token.n; at += 7) { /* any change of it counts */
            char *copy = arena_cstr(&s.issuer.a, token);
            copy[at] = copy[at] == 'A' ? 'Q' : 'A';
            CHECK_EQ(ask(&s, str_of(copy, token.n)), 401, "%s byte %zu", r->alg, at);
        }
    }
    CHECK_EQ(atomic_load(&s.issuer.asked) >= 1, 1);
    setup_close(&s);
}

TEST_LOOP(claims_must_be_right)
{
    static const struct {
        const char *name, *claims; /* ISS is the issuer, NOW+n a time */
        int want;
    } row[] = {
        { "as they should be", "{'iss':'ISS','aud':'me','exp':NOW+60}", 204 },
        { "one audience of several", "{'iss':'ISS','aud':['you','me'],'exp':NOW+60}", 204 },
        { "no dates", "{'iss':'ISS','aud':'me'}", 204 },
        { "expired a moment ago", "{'iss':'ISS','aud':'me','exp':NOW-200}", 204 },
        { "fractions", "{'iss':'ISS','aud':'me','exp':1e12,'nbf':0.5}", 204 },
        { "expired", "{'iss':'ISS','aud':'me','exp':NOW-400}", 401 },
        { "not yet", "{'iss':'ISS','aud':'me','nbf':NOW+400}", 401 },
        { "from the future", "{'iss':'ISS','aud':'me','iat':NOW+400}", 401 },
        { "a date that is text", "{'iss':'ISS','aud':'me','exp':'NOW+60'}", 401 },
        { "another issuer", "{'iss':'http://evil','aud':'me'}", 401 },
        { "no issuer", "{'aud':'me'}", 401 },
        { "an issuer that is a number", "{'iss':1,'aud':'me'}", 401 },
        { "for another", "{'iss':'ISS','aud':'you'}", 401 },
        { "for others", "{'iss':'ISS','aud':['you',1,null]}", 401 },
        { "for nobody", "{'iss':'ISS'}", 401 },
        { "no object", "[1]", 401 },
    };
    struct setup s;
    setup_open(&s);
    EACH (row, r) {
        AUTO(buf_done) struct buf b;
        buf_init(&b, KIB(4));
        for (const char *p = r->claims; *p; p++) {
            int shift, len;
            if (sscanf(p, "NOW%d%n", &shift, &len) == 1) {
                buf_printf(&b, "%lld", (long long)(clock_wall_ns() / SEC(1)) + shift);
                p += len - 1;
            } else if (strncmp(p, "ISS", 3) == 0) {
                buf_put(&b, str_c(s.issuer.url));
                p += 2;
            } else
                buf_putc(&b, *p == '\'' ? '"' : *p);
        }
        str claims = arena_dup(&s.issuer.a, buf_str(&b));
        str token = issuer_sign(&s.issuer, "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}",
                                arena_cstr(&s.issuer.a, claims), ISSUER_ED, "EdDSA");
        CHECK_EQ(ask(&s, token), r->want, "%s: " STR_FMT, r->name, STR_ARG(claims));
    }
    setup_close(&s);
}

TEST_LOOP(what_is_no_good_token_is_refused)
{
    static const struct {
        const char *name, *head;
        enum issuer_key sign;
        const char *alg;
        int want;
    } row[] = {
        { "no kid: any key that fits", "{\"alg\":\"EdDSA\"}", ISSUER_ED, "EdDSA", 204 },
        { "none", "{\"alg\":\"none\",\"kid\":\"ed\"}", ISSUER_ED, "EdDSA", 401 },
        { "symmetric", "{\"alg\":\"HS256\",\"kid\":\"ed\"}", ISSUER_ED, "EdDSA", 401 },
        { "no algorithm", "{\"kid\":\"ed\"}", ISSUER_ED, "EdDSA", 401 },
        { "another algorithm", "{\"alg\":\"RS256\",\"kid\":\"ed\"}", ISSUER_ED, "EdDSA", 401 },
        { "another key's", "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", ISSUER_NEW, "EdDSA", 401 },
        { "a key of another kind", "{\"alg\":\"RS256\",\"kid\":\"ec\"}", ISSUER_RSA, "RS256", 401 },
        { "another curve's", "{\"alg\":\"ES384\",\"kid\":\"ec\"}", ISSUER_EC, "ES256", 401 },
        { "an extension", "{\"alg\":\"EdDSA\",\"kid\":\"ed\",\"crit\":[\"x\"],\"x\":1}", ISSUER_ED,
          "EdDSA", 401 },
        { "an algorithm that is a number", "{\"alg\":1,\"kid\":\"ed\"}", ISSUER_ED, "EdDSA", 401 },
    };
    static const char *const text[] = {
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer ..",
        "Bearer e30.e30.",
        "Bearer e30=.e30.AA",
        "Basic bWU6cGFzcw==",
        "Bearer\te30.e30.AA",
    };
    struct setup s;
    char challenge[64];
    setup_open(&s);
    str claims = arena_printf(&s.issuer.a, "{\"iss\":\"%s\",\"aud\":\"me\"}", s.issuer.url);
    EACH (row, r)
        CHECK_EQ(ask(&s, issuer_sign(&s.issuer, r->head, claims.p, r->sign, r->alg)), r->want, "%s",
                 r->name);
    EACH (text, t) {
        CHECK_EQ(ask_as(&s, str_c(*t), challenge), 401, "%s", *t);
        CHECK_TEXT(challenge, "Bearer error=\"invalid_token\"", "%s", *t);
    }
    CHECK_EQ(ask_as(&s, S(""), challenge), 401);
    CHECK_TEXT(challenge, "Bearer", "nothing was wrong with what wasn't there");
    setup_close(&s);
}

TEST_LOOP(a_new_key_is_asked_for_and_old_ones_stay_when_that_fails)
{
    struct setup s;
    setup_open(&s);
    str old = issuer_token(&s.issuer, ISSUER_ED, "EdDSA");
    str fresh = issuer_token(&s.issuer, ISSUER_NEW, "EdDSA");
    unsigned before = atomic_load(&s.issuer.asked);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(ask(&s, fresh), 401);
    CHECK(atomic_load(&s.issuer.asked) <= before + 1, "it isn't asked for each such token");

    atomic_store(&s.issuer.status, 503);
    uint64_t end = clock_now_ns() + SEC(20);
    while (atomic_load(&s.issuer.asked) == before && clock_now_ns() < end) {
        CHECK_EQ(ask(&s, fresh), 401);
        CHECK_OK(fiber_sleep(MS(20)));
    }
    CHECK_EQ(ask(&s, old), 204, "the keys of before stay");

    atomic_store(&s.issuer.status, 0);
    issuer_rotate(&s.issuer);
    int status = 0;
    while ((status = ask(&s, fresh)) != 204 && clock_now_ns() < end)
        CHECK_OK(fiber_sleep(MS(20)));
    CHECK_EQ(status, 204);
    CHECK_EQ(ask(&s, old), 401, "a key that was withdrawn");
    setup_close(&s);
}

TEST_LOOP(open_says_what_is_wrong_with_the_issuer)
{
    static const struct {
        const char *discovery, *jwks;
        int status;
        const char *says;
    } row[] = {
        { "no JSON", NULL, 0, "openid-configuration is no JSON object" },
        { "{\"issuer\":\"x\"}", NULL, 0, "lacks issuer or jwks_uri" },
        { "{\"issuer\":\"http://other\",\"jwks_uri\":\"http://x/\"}", NULL, 0, "calls itself" },
        { NULL, "{}", 0, "no set of JSON Web Keys" },
        { NULL, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},1]}", 0, "holds no key" },
        { NULL, NULL, 404, "status is 404" },
    };
    struct setup s;
    issuer_open(&s.issuer);
    const char *right = s.issuer.jwks;
    EACH (row, r) {
        s.issuer.discovery = r->discovery;
        s.issuer.jwks = r->jwks ? r->jwks : right;
        atomic_store(&s.issuer.status, r->status);
        CHECK(open_with(&s, NULL, NULL) < 0, "%s", r->says);
        CHECK(strstr(s.f.err.text, r->says), "%s: %s", r->says, s.f.err.text);
        fixture_close(&s.f);
    }
    static const char *const urls[] = { "ftp://x/", "http://127.0.0.1:1/keys", "http://u:secret@h/",
                                        "keys" };
    EACH (urls, u) {
        CHECK(open_with(&s, "jwksURL", *u) < 0, "%s", *u);
        CHECK(s.f.err.text[0] && !strstr(s.f.err.text, "secret"), "%s", s.f.err.text);
        fixture_close(&s.f);
    }
    issuer_close(&s.issuer);
}

TEST_LOOP(a_url_of_the_keys_needs_no_discovery)
{
    struct setup s;
    char url[100];
    issuer_open(&s.issuer);
    s.issuer.discovery = "not asked for";
    snprintf(url, sizeof url, "%s/keys?v=1", s.issuer.url);
    CHECK_OK(open_with(&s, "jwksURL", url), "%s", s.f.err.text);
    CHECK_EQ(ask(&s, issuer_token(&s.issuer, ISSUER_EC, "ES256")), 204);
    setup_close(&s);
}

TEST(no_allocation_failure_hurts_a_key_set)
{
    static const char text[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\","
                               "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    FAIL_EACH_ALLOC(n)
    {
        struct keyset *k = NULL;
        struct error err = { 0 };
        int r = keyset_parse(str_c(text), &k, &err);
        CHECK(test_alloc_failed(n) || (r == 0 && keyset_count(k) == 1), "allocation %zu: %s", n,
              err.text);
        keyset_unref(k);
    }
}
