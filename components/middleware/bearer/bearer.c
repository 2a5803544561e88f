/* bearer.c — middleware.http.bearer: only requests with a token that an OpenID issuer has signed.
 * Owner:  the instance holds the keys (counted: a request verifies with those it began with), the
 * clients, and a fiber that fetches the keys anew.
 * Thread: any worker; keys are fetched on the one that opened it.   Limits: FETCH_MAX bytes of a
 * document, FETCH_NS for it; an unknown key is looked for once in UNKNOWN_NS.
 * Failure: open fails where the keys can't be had; later the old ones stay. A request without a
 * good token gets 401. */
#include "base/clock.h"
#include "base/log.h"
#include "component/kinds.h"
#include "fetch.h"
#include "fiber/sync.h"
#include "http/server.h"
#include "jwt.h"
#include "loop/worker.h"

#include <pthread.h>

#define SCOPE "proa.middleware.bearer"

static const uint64_t REFRESH_NS = SEC(600), UNKNOWN_NS = SEC(1);
static const double SKEW_S = 300;

struct bearer {
    const char *issuer, *audience, *jwks_url;
    struct fetcher fetcher;
    struct arena arena; /* of .url */
    str url;            /* of the keys */
    struct worker *home;
    struct fiber *keeper;
    struct wait_group fibers;
    struct fiber_mutex fetching;
    pthread_mutex_t lock; /* of what follows; held for an instant */
    struct keyset *keys;
    uint64_t tried_ns; /* when they were asked for last */
};

/* ---- the keys ---- */

static struct keyset *keys_now(struct bearer *m)
{
    pthread_mutex_lock(&m->lock);
    struct keyset *k = keyset_ref(m->keys);
    pthread_mutex_unlock(&m->lock);
    return k;
}

/* Whether it's long enough ago that the issuer was asked. */
static bool may_ask(struct bearer *m)
{
    pthread_mutex_lock(&m->lock);
    bool yes = clock_now_ns() - m->tried_ns >= UNKNOWN_NS;
    pthread_mutex_unlock(&m->lock);
    return yes;
}

static void replace_keys(struct bearer *m, struct keyset *fresh)
{
    pthread_mutex_lock(&m->lock);
    struct keyset *old = m->keys;
    if (fresh)
        m->keys = fresh;
    m->tried_ns = clock_now_ns();
    pthread_mutex_unlock(&m->lock);
    if (fresh)
        keyset_unref(old);
}

CO static int fetch_keys(struct bearer *m, struct error *err)
{
    struct arena a;
    str text;
    struct keyset *fresh = NULL;
    arena_init(&a, 2 * FETCH_MAX);
    int r = fetch(&m->fetcher, m->url, &a, &text, err);
    if (r >= 0 && (r = keyset_parse(text, &fresh, err)) < 0)
        (void)fail_wrap(err, STR_FMT, STR_ARG(str_take(m->url, 200)));
    replace_keys(m, fresh);
    arena_done(&a);
    return r;
}

static void complain(const struct error *err)
{
    log_warn(SCOPE, "the issuer's keys could not be fetched anew, those of before stay: %s",
             err->text);
}

CO static void keep(void *arg)
{
    struct bearer *m = arg;
    while (fiber_sleep(REFRESH_NS) == 0) {
        struct error err = { 0 };
        if (fiber_mutex_lock(&m->fetching) < 0)
            break;
        int r = fetch_keys(m, &err);
        fiber_mutex_unlock(&m->fetching);
        if (r < 0 && r != -CANCELLED)
            complain(&err);
    }
    m->keeper = NULL;
    wait_group_done(&m->fibers);
}

struct asking {
    struct ticket ticket;
    struct bearer *m;
};

/* Of many that miss the same key one asks; the others find that it has been done. */
CO static void ask_at_home(void *arg)
{
    struct asking *q = arg;
    struct error err = { 0 };
    int r = fiber_mutex_lock(&q->m->fetching);
    if (r == 0 && may_ask(q->m) && fetch_keys(q->m, &err) < 0)
        complain(&err);
    if (r == 0)
        fiber_mutex_unlock(&q->m->fetching);
    ticket_done(&q->ticket, r);
}

/* The issuer may have changed its keys. A request that comes while they are fetched waits, too. */
CO static bool ask_again(struct bearer *m)
{
    struct asking q = { .m = m };
    ticket_init(&q.ticket);
    return worker_spawn(m->home, "bearer.keys", ask_at_home, &q) == 0 &&
           ticket_wait(&q.ticket) == 0;
}

/* ---- a request ---- */

CO static int verify(struct bearer *m, const struct jwt *t, struct arena *a, struct error *err)
{
    struct keyset *keys = keys_now(m);
    int r = jwt_verify(t, keys, a, err);
    keyset_unref(keys);
    if (r != -NOT_FOUND || !ask_again(m))
        return r;
    *err = (struct error){ 0 };
    keys = keys_now(m);
    r = jwt_verify(t, keys, a, err);
    keyset_unref(keys);
    return r;
}

CO static int check(struct bearer *m, struct http_exchange *x, struct error *err)
{
    static const str scheme = S("Bearer ");
    str value = http_headers_get(&x->req.headers, S("authorization"));
    struct jwt t = { 0 };
    if (!str_istarts(value, scheme))
        return fail(err, UNAUTHENTICATED, NULL, "no bearer token");
    int r = jwt_parse(str_trim(str_skip(value, scheme.n)), x->arena, &t, err);
    if (r >= 0)
        r = verify(m, &t, x->arena, err);
    if (r >= 0)
        r = jwt_check_claims(&t, str_c(m->issuer), str_c(m->audience),
                             (double)clock_wall_ns() / 1e9, SKEW_S, x->arena, err);
    return r;
}

/* What exactly was wrong nobody is told but the log: RFC 6750 section 3. */
CO static void refuse(struct http_exchange *x, const struct error *err)
{
    struct http_headers h;
    bool memory = err->code == EXHAUSTED;
    bool token = http_headers_has(&x->req.headers, S("authorization"));
    log_debug(SCOPE, "refused: %s", err->text);
    http_headers_init(&h, x->arena);
    bool full =
        http_headers_add(&h, S("Content-Type"), S("text/plain; charset=utf-8")) ||
        (!memory && http_headers_add(&h, S("WWW-Authenticate"),
                                     token ? S("Bearer error=\"invalid_token\"") : S("Bearer")));
    (void)http_reply(x, memory ? 500 : 401, full ? NULL : &h,
                     memory ? S("the token is too large for its memory") : S("Unauthorized"));
}

CO static void bearer_handle(void *self, struct http_exchange *x, struct middleware_chain *rest)
{
    struct error err = { 0 };
    if (check(self, x, &err) >= 0)
        middleware_next(rest, x);
    else
        refuse(x, &err);
}

/* ---- life ---- */

static str without_slash(str s)
{
    return str_ends(s, S("/")) ? str_take(s, s.n - 1) : s;
}

/* What the issuer says about itself (OpenID Connect Discovery). */
static int read_discovery(struct bearer *m, str text, struct error *err)
{
    struct json root;
    str issuer = S("");
    if (json_parse(text, &root, NULL) < 0 || root.type != JSON_OBJECT)
        return fail(err, INVALID, NULL, "the issuer's openid-configuration is no JSON object");
    struct json iss = json_get(root, S("issuer")), uri = json_get(root, S("jwks_uri"));
    if (iss.type != JSON_STRING || uri.type != JSON_STRING)
        return fail(err, INVALID, NULL,
                    "the issuer's openid-configuration lacks issuer or jwks_uri");
    /* json_string() may borrow from the text, which goes */
    if (json_string(&m->arena, iss, &issuer) < 0 || json_string(&m->arena, uri, &m->url) < 0 ||
        !(m->url = arena_dup(&m->arena, m->url)).p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (str_eq(issuer, str_c(m->issuer)))
        return 0;
    return fail(err, INVALID, NULL,
                "the issuer calls itself \"" STR_FMT "\", not \"%s\": write it in the same way",
                STR_ARG(str_take(issuer, 200)), m->issuer);
}

CO static int find_keys(struct bearer *m, struct error *err)
{
    m->url = str_c(m->jwks_url);
    if (m->url.n)
        return 0;
    struct arena a;
    str text;
    arena_init(&a, 2 * FETCH_MAX);
    str part[] = { without_slash(str_c(m->issuer)), S("/.well-known/openid-configuration") };
    str url = arena_join(&a, part, COUNT(part));
    int r = url.p ? fetch(&m->fetcher, url, &a, &text, err)
                  : fail(err, EXHAUSTED, NULL, "out of memory");
    if (r >= 0)
        r = read_discovery(m, text, err);
    arena_done(&a);
    return r;
}

CO static int bearer_open(void *self, const struct component_env *env, struct error *err)
{
    struct bearer *m = self;
    pthread_mutex_init(&m->lock, NULL);
    fiber_mutex_init(&m->fetching);
    wait_group_init(&m->fibers);
    arena_init(&m->arena, MIB(1));
    m->home = worker_self();
    int r = fetcher_init(&m->fetcher, err);
    if (r >= 0)
        r = find_keys(m, err);
    if (r >= 0)
        r = fetch_keys(m, err);
    if (r < 0)
        return r;
    m->keeper = fiber_spawn("bearer.keep", keep, m);
    if (!m->keeper)
        return fail(err, EXHAUSTED, NULL, "no fiber is left to keep the keys fresh");
    wait_group_add(&m->fibers);
    return 0;
}

CO static void bearer_close(void *self)
{
    struct bearer *m = self;
    SHIELD();
    if (m->keeper)
        fiber_cancel(m->keeper);
    (void)wait_group_wait(&m->fibers);
    fetcher_done(&m->fetcher);
    keyset_unref(TAKE(m->keys));
    arena_done(&m->arena);
    pthread_mutex_destroy(&m->lock);
}

static const struct cfg_field bearer_fields[] = {
    { .name = "issuer",
      .alias = "issuerURL",
      .kind = CFG_STR,
      .off = offsetof(struct bearer, issuer),
      .flags = CFG_REQUIRED,
      .doc = "who signs the tokens, as their claim iss has it: https://accounts.example.com" },
    { .name = "audience",
      .alias = "clientID",
      .kind = CFG_STR,
      .off = offsetof(struct bearer, audience),
      .flags = CFG_REQUIRED,
      .doc = "for whom they must be: one of their claim aud" },
    { .name = "jwksURL",
      .kind = CFG_STR,
      .off = offsetof(struct bearer, jwks_url),
      .doc = "where the issuer's keys are; without it, where <issuer>/.well-known/"
             "openid-configuration says" },
};

const struct middleware_ops middleware_bearer = {
    .t = {
        .kind = "middleware.http",
        .type = "middleware.http.bearer",
        .version = "v1",
        .doc = "only requests with a token that an OpenID issuer has signed",
        .size = sizeof(struct bearer),
        .fields = bearer_fields,
        .n_fields = COUNT(bearer_fields),
        .open = bearer_open,
        .close = bearer_close,
    },
    .handle = bearer_handle,
};
