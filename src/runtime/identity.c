#include "runtime/identity.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "block/call/csr.h"
#include "format/spiffe.h"
#include "loop/worker.h"
#include "runtime/private.h"
#include "telemetry/metrics.h"

#include <signal.h>

enum {
    ARENA_MAX = 8 << 20, /* of one request, the answer included */
    TRY_S = 10,          /* for one request */
    LOOK_S = 60,         /* between two looks at the wall clock, which may have been set */
    PAUSE_LONGEST_S = 60,
    IDLE_S = 10, /* a connection to the sentry isn't kept for the next renewal */
};
static const char SCOPE[] = "dapr.runtime.security";
static const char KUBERNETES_TOKEN[] = "/var/run/secrets/dapr.io/sentrytoken/token";

static struct metric_family init_total = {
    .name = "dapr_runtime_mtls_init_total",
    .help = "First certificates that the sentry has signed for this sidecar.",
};
static struct metric_family init_fail = {
    .name = "dapr_runtime_mtls_init_fail_total",
    .help = "Failed tries to get a first certificate.",
    .label = { "reason" },
};
static struct metric_family rotated = {
    .name = "dapr_runtime_mtls_workload_cert_rotated_total",
    .help = "Certificates that were renewed.",
};
static struct metric_family rotated_fail = {
    .name = "dapr_runtime_mtls_workload_cert_rotated_fail_total",
    .help = "Failed tries to renew the certificate.",
    .label = { "reason" },
};

struct identity {
    struct identity_config config;
    char *sentry_id; /* whom we ask */
    char *own_path;  /* "/ns/<namespace>/<app id>": what a certificate for us must say */
    struct http_client *sentry;
    struct tls_context *server, *h1, *h2; /* NULL before the first certificate */
    struct identity_plan plan;
    struct fiber *fiber; /* worker 0, like what follows */
    bool running, done;
};

/* ---- what proves who we are ---- */

static int read_token(str path, struct arena *a, str *ret)
{
    AUTO(buf_done) struct buf text;
    buf_init(&text, IDENTITY_TOKEN_MAX);
    int r = host_read_file(path, &text);
    if (r < 0)
        return r;
    *ret = arena_dup(a, str_trim(buf_str(&text)));
    return ret->p ? 0 : -EXHAUSTED;
}

int identity_token(const char *token_file, const char *kubernetes_file, struct arena *a,
                   str *ret_token, enum sentry_validator *ret_validator, struct error *err)
{
    *ret_token = S("");
    *ret_validator = SENTRY_UNKNOWN;
    if (!token_file && read_token(str_c(kubernetes_file), a, ret_token) < 0)
        return 0;
    *ret_validator = token_file ? SENTRY_JWKS : SENTRY_KUBERNETES;
    if (token_file && (read_token(str_c(token_file), a, ret_token) < 0 || !ret_token->n))
        return fail(err, INVALID, NULL,
                    "DAPR_SENTRY_TOKEN_FILE: can't read a token (at most %d KiB) from '%s'",
                    IDENTITY_TOKEN_MAX >> 10, token_file);
    return 0;
}

/* ---- when ---- */

/* The end of time is in 2255 here. */
static uint64_t wall_ns_of(int64_t s)
{
    return s > 0 ? SEC(min_u64((uint64_t)s, UINT64_C(9000000000))) : 0;
}

int identity_plan(const struct tls_certificate *c, uint64_t wall_ns, double random,
                  struct identity_plan *ret)
{
    uint64_t until = wall_ns_of(c->until_s);
    if (until <= wall_ns)
        return -INVALID;
    uint64_t life = until - wall_ns; /* authorities date back, for clocks that differ */
    uint64_t wait = (uint64_t)((double)life * (0.65 + 0.1 * random)), pause = life / 20;
    ret->renew_ns = wall_ns + (wait > SEC(1) ? wait : SEC(1));
    ret->pause_ns = min_u64(pause > SEC(1) ? pause : SEC(1), SEC(PAUSE_LONGEST_S));
    return 0;
}

/* ---- one certificate ---- */

static int put(struct tls_context **c, const struct tls_options *o, struct error *err)
{
    return *c ? tls_context_renew(*c, o, err) : tls_context_new(o, c, err);
}

static int install(struct identity *i, str certificate, str key, struct error *err)
{
    struct tls_options o = {
        .ca = str_c(i->config.trust_anchors),
        .certificate = certificate,
        .key = key,
        .spiffe = true,
    };
    int r = put(&i->h1, &o, err);
    o.h2 = true;
    if (r >= 0)
        r = put(&i->h2, &o, err);
    o.server = true;
    o.client_auth = TLS_CLIENT_MUST;
    return r < 0 ? r : put(&i->server, &o, err);
}

static void tell(const struct tls_certificate *c, const struct identity_plan *p)
{
    char until[RFC3339_MAX], renewed[RFC3339_MAX];
    clock_rfc3339(wall_ns_of(c->until_s), false, 0, until);
    clock_rfc3339(p->renew_ns, false, 0, renewed);
    log_info(SCOPE, "certificate of " STR_FMT " is valid until %s; it will be renewed at %s",
             STR_ARG(c->id), until, renewed);
}

static int accept_answer(struct identity *i, str pem, str key, struct arena *a, struct error *err)
{
    struct tls_certificate c;
    struct identity_plan plan;
    int r = tls_certificate_read(pem, a, &c, err);
    if (r < 0)
        return fail_wrap(err, "the sentry's certificate can't be used");
    if (!spiffe_is(c.id, str_c(i->own_path)))
        return fail(err, INVALID, NULL, "the sentry's certificate is for " STR_FMT ", not for %s",
                    STR_ARG(str_take(c.id, 200)), i->own_path);
    if (identity_plan(&c, clock_wall_ns(), id_random_unit(), &plan) < 0)
        return fail(err, INVALID, NULL,
                    "the sentry's certificate has ended already: compare the clocks");
    r = install(i, pem, key, err);
    if (r < 0)
        return r;
    i->plan = plan;
    tell(&c, &plan);
    return 0;
}

CO static int request(struct identity *i, const struct csr *csr, struct arena *a, struct error *err)
{
    const struct identity_config *c = &i->config;
    struct sentry_request q = {
        .id = str_c(c->sentry_identity ? c->sentry_identity : c->app_id),
        .namespace_ = str_c(c->namespace_),
        .trust_domain = c->trust_domain,
        .csr = csr->request,
        .audience = c->audience,
        .n_audiences = c->n_audiences,
    };
    str pem;
    int r = identity_token(c->token_file, KUBERNETES_TOKEN, a, &q.token, &q.validator, err);
    if (r >= 0)
        r = sentry_sign(i->sentry, c->sentry_address, str_c(i->sentry_id), &q, a, &pem, err);
    return r < 0 ? r : accept_answer(i, pem, csr->key, a, err);
}

CO static int fetch(struct identity *i, struct error *err)
{
    AUTO(arena_done) struct arena a;
    struct csr csr;
    DEADLINE(SEC(TRY_S));
    arena_init(&a, ARENA_MAX);
    int r = csr_new(&a, &csr, err);
    if (r < 0)
        return r;
    r = request(i, &csr, &a, err);
    csr_forget(&csr);
    return r;
}

static void count(struct metric_family *done, struct metric_family *failed, int r)
{
    str reason = str_c(code_name((enum code) - r));
    metric_add(r < 0 ? metric_cell(failed, &reason) : metric_cell(done, NULL), 1);
}

/* ---- renewing ---- */

CO static int wait_until(uint64_t wall_ns)
{
    int r = fiber_cancelled() ? -CANCELLED : 0;
    for (uint64_t now; r >= 0 && (now = clock_wall_ns()) < wall_ns;)
        r = fiber_sleep(min_u64(wall_ns - now, SEC(LOOK_S)));
    return r;
}

CO static void renew_main(void *arg)
{
    struct identity *i = arg;
    i->fiber = fiber_self();
    while (wait_until(i->plan.renew_ns) >= 0) {
        struct error err = { 0 };
        int r = fetch(i, &err);
        if (fiber_cancelled())
            break;
        count(&rotated, &rotated_fail, r);
        if (r >= 0)
            continue;
        i->plan.renew_ns = clock_wall_ns() + i->plan.pause_ns;
        log_warn(SCOPE, "the certificate couldn't be renewed, trying again in %llu s: %s",
                 (unsigned long long)(i->plan.pause_ns / SEC(1)), err.text);
    }
    i->fiber = NULL;
    i->done = true;
}

/* ---- life ---- */

struct start {
    struct identity *i;
    int code;
    struct error err;
};

/* The process waits for its signals only once the runtime runs: until then they are pending. */
static bool asked_to_end(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/* Before another try. */
CO static int pause_between(struct error *err)
{
    for (uint64_t until = sched_now() + SEC(IDENTITY_PAUSE_S); sched_now() < until;) {
        int r = asked_to_end() ? -CANCELLED : fiber_sleep(MS(100));
        if (r < 0)
            return fail_as(err, CANCELLED, NULL, "told to end before it was there");
    }
    return 0;
}

CO static void first_step(void *arg)
{
    struct start *s = arg;
    const char *address = s->i->config.sentry_address;
    for (int n = 0;; n++) {
        s->err = (struct error){ 0 };
        s->code = fetch(s->i, &s->err);
        count(&init_total, &init_fail, s->code);
        if (s->code >= 0 || n == IDENTITY_RETRIES)
            return;
        log_warn(SCOPE, "no certificate from the sentry at %s, retry %d of %d in %d s: %s", address,
                 n + 1, IDENTITY_RETRIES, IDENTITY_PAUSE_S, s->err.text);
        if (pause_between(&s->err) < 0)
            return;
    }
}

static void free_all(struct identity *i)
{
    if (i->sentry)
        http_client_free(i->sentry);
    tls_context_unref(i->server);
    tls_context_unref(i->h1);
    tls_context_unref(i->h2);
    mem_free(i->sentry_id);
    mem_free(i->own_path);
    mem_free(i);
}

/* A client that trusts the anchors and shows no certificate: there is none yet. */
static int open_sentry(struct identity *i, struct error *err)
{
    struct http_client_config c = { .h2 = true, .max_conns = 1, .idle_timeout_ns = SEC(IDLE_S) };
    struct tls_options o = { .ca = str_c(i->config.trust_anchors), .spiffe = true, .h2 = true };
    if (tls_context_new(&o, &c.tls, err) < 0)
        return fail_wrap(err, "DAPR_TRUST_ANCHORS");
    i->sentry = http_client_new(&c);
    tls_context_unref(c.tls); /* the client has its own */
    return i->sentry ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

static int name(struct identity *i, struct error *err)
{
    const struct identity_config *c = &i->config;
    AUTO(buf_done) struct buf text;
    buf_init(&text, KIB(8));
    buf_printf(&text, "spiffe://%s/ns/%s/dapr-sentry", c->sentry_domain, c->sentry_namespace);
    i->sentry_id = buf_ok(&text) ? mem_dup(buf_str(&text).p, text.len) : NULL;
    buf_clear(&text);
    buf_printf(&text, "/ns/%s/%s", c->namespace_, c->app_id);
    i->own_path = buf_ok(&text) ? mem_dup(buf_str(&text).p, text.len) : NULL;
    return i->sentry_id && i->own_path ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

static int check(const struct identity_config *c, struct error *err)
{
    if (!c->trust_anchors || !c->trust_anchors[0])
        return fail(err, INVALID, NULL,
                    "trust anchors are required: set DAPR_TRUST_ANCHORS to the PEM text of the "
                    "fleet's root certificates, or leave --enable-mtls out");
    if (!c->sentry_address[0])
        return fail(err, INVALID, NULL,
                    "--enable-mtls needs --sentry-address <host:port>: who signs certificates");
    return 0;
}

CO static void stop_step(void *arg)
{
    struct identity *i = arg;
    while (!i->done) {
        if (i->fiber)
            fiber_cancel(i->fiber);
        (void)fiber_sleep(MS(1));
    }
}

void identity_stop(struct identity *i)
{
    if (!i || (i->running && worker_run(worker_at(0), "stop-identity", stop_step, i) < 0))
        return; /* its fiber may still run: better lost than freed under it */
    free_all(i);
}

/* Off the workers: the first certificate, and the fiber that follows up. */
static int run(struct identity *i, struct error *err)
{
    struct start s = { .i = i };
    int r = worker_run(worker_at(0), "identity", first_step, &s);
    if (r < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (s.code < 0)
        return fail(err, s.err.code, NULL, "no certificate from the sentry at %s: %s",
                    i->config.sentry_address, s.err.text);
    if (worker_spawn(worker_at(0), "renew-identity", renew_main, i) < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    i->running = true;
    return 0;
}

int identity_start(const struct identity_config *c, struct identity **ret, struct error *err)
{
    int r = check(c, err);
    if (r < 0)
        return r;
    struct identity *i = mem_zalloc(sizeof *i);
    if (!i)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    i->config = *c;
    r = name(i, err);
    if (r >= 0)
        r = open_sentry(i, err);
    if (r >= 0)
        r = run(i, err);
    if (r < 0)
        identity_stop(i);
    else
        *ret = i;
    return r;
}

struct tls_context *identity_server(const struct identity *i)
{
    return i->server;
}

struct tls_context *identity_h1(const struct identity *i)
{
    return i->h1;
}

struct tls_context *identity_h2(const struct identity *i)
{
    return i->h2;
}
