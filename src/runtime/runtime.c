#include "runtime/runtime.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "block/configuration.h"
#include "block/core/chaos.h"
#include "block/core/live.h"
#include "block/streaming.h"
#include "format/duration.h"
#include "loop/worker.h"
#include "runtime/private.h"
#include "telemetry/metrics.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { ARENA_MAX = 64 << 20 };

/* ---- making ---- */

/* As it is written in tables; NULL: none that we speak. */
static const char *app_protocol(const struct options *o)
{
    static const char *const known[] = { "http", "https", "h2c", "grpc", "grpcs" };
    for (size_t i = 0; i < COUNT(known); i++)
        if (str_ieq(str_c(o->app_protocol), str_c(known[i])))
            return known[i];
    return NULL;
}

static int check_options(const struct options *o, struct error *err)
{
    if (!str_eq(str_c(o->mode), S("standalone")))
        return fail(err, UNIMPLEMENTED, NULL, "mode %s isn't supported yet: use --mode standalone",
                    o->mode);
    if (!o->app_id[0])
        return fail(err, INVALID, NULL, "app-id is required: start with --app-id <name>");
    if (strchr(o->app_id, '.'))
        return fail(err, INVALID, NULL, "app-id %s can't contain a dot: it separates the namespace",
                    o->app_id);
    if (o->app_port && o->app_port == o->http_port)
        return fail(err, INVALID, NULL,
                    "the 'dapr-http-port' argument value %lld conflicts with 'app-port'",
                    (long long)o->http_port);
    if (o->app_port && o->app_port == o->grpc_port)
        return fail(err, INVALID, NULL,
                    "the 'dapr-grpc-port' argument value %lld conflicts with 'app-port'",
                    (long long)o->grpc_port);
    if (o->health_timeout_ms > o->health_interval_s * 1000)
        return fail(err, INVALID, NULL,
                    "app-health-probe-timeout must be at most app-health-probe-interval (%lld s)",
                    (long long)o->health_interval_s);
    if (!app_protocol(o))
        return fail(err, INVALID, NULL, "app-protocol %s is none of http, https, h2c, grpc, grpcs",
                    o->app_protocol);
    for (size_t i = 0; i < o->disable_init_endpoints.n; i++) {
        str e = str_c(o->disable_init_endpoints.v[i]);
        if (!str_ieq(e, S("config")) && !str_ieq(e, S("subscribe")))
            return fail(err, INVALID, NULL,
                        "disable-init-endpoints: %s is neither config nor subscribe",
                        o->disable_init_endpoints.v[i]);
    }
    return 0;
}

int runtime_new(const struct options *options, const struct runtime_app *app, struct runtime **ret,
                struct error *err)
{
    int code = check_options(options, err);
    if (code < 0)
        return code;
    struct runtime *r = mem_zalloc(sizeof *r);
    if (!r || !(r->blocks.streamings = streamings_new()) || blocks_init(&r->blocks) < 0) {
        if (r)
            streamings_free(r->blocks.streamings);
        mem_free(r);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    r->options = options;
    if (app)
        r->inside = *app;
    arena_init(&r->arena, ARENA_MAX);
    pthread_mutex_init(&r->lock, NULL);
    fiber_mutex_init(&r->deliveries);
    r->blocks.app_id = options->app_id;
    r->blocks.namespace_raw = options->namespace_ ? options->namespace_ : "";
    r->blocks.namespace_ = r->blocks.namespace_raw[0] ? r->blocks.namespace_raw : "default";
    host_address(options->host_ip, r->host_address);
    if (gethostname(r->hostname, sizeof r->hostname - 1) < 0)
        r->hostname[0] = 0;
    r->http_port = (uint16_t)options->http_port;
    r->grpc_port = (uint16_t)options->grpc_port;
    *ret = r;
    return 0;
}

struct blocks *runtime_blocks(struct runtime *r)
{
    return &r->blocks;
}

bool runtime_ready(struct runtime *r)
{
    return atomic_load(&r->ready);
}

/* ---- what the API asks ---- */

static bool is_ready(void *arg, struct error *err)
{
    struct runtime *r = arg;
    if (atomic_load(&r->ready) && !atomic_load(&r->stopping))
        return true;
    fail(err, INTERNAL, "ERR_HEALTH_NOT_READY", "dapr is not ready: [runtime]");
    return false;
}

static bool is_outbound_ready(void *arg, struct error *err)
{
    struct runtime *r = arg;
    if (atomic_load(&r->outbound_ready))
        return true;
    fail(err, INTERNAL, "ERR_OUTBOUND_HEALTH_NOT_READY", "dapr outbound is not ready");
    return false;
}

static const char *not_ready(const struct runtime *r)
{
    if (atomic_load(&r->leaving))
        return "the sidecar is about to stop";
    if (!atomic_load(&r->ready))
        return "the start isn't over: the app is waited for";
    return r->app && !atomic_load(&r->app->healthy) ? "the app is unhealthy" : NULL;
}

static bool probe(void *arg, enum host_probe probe, struct error *err)
{
    struct runtime *r = arg;
    const char *why = NULL;
    switch (probe) {
    case PROBE_LIVE:
        break;
    case PROBE_STARTED:
        why = atomic_load(&r->ready) ? NULL : "the start isn't over: the app is waited for";
        break;
    case PROBE_READY:
        why = not_ready(r);
        break;
    case PROBE_STAYS:
        why = atomic_load(&r->leaving) ? "the sidecar is about to stop" : NULL;
        break;
    }
    if (why)
        fail(err, UNAVAILABLE, "ERR_HEALTH_NOT_READY", "%s", why);
    return !why;
}

/* The contract's shutdown is what a signal does. */
CO static void shut_down(void *arg, bool force)
{
    if (force) {
        log_info(RUNTIME_SCOPE,
                 "Force shutdown requested, exiting immediately without graceful shutdown");
        (void)fiber_sleep(MS(100)); /* for the answer to get out (surprise 71) */
        _exit(1);
    }
    log_info(RUNTIME_SCOPE, "Shutdown requested via API");
    kill(getpid(), SIGTERM);
}

/* ---- resources ---- */

int resources_read(struct runtime *r, struct resources **ret, struct error *err)
{
    const struct options *o = r->options;
    struct resource_options opt = {
        .path = o->resources_path.v,
        .n_paths = o->resources_path.n,
        .config = o->config.v,
        .n_configs = o->config.n,
        .app_id = str_c(o->app_id),
        .namespace_ = str_c(r->blocks.namespace_raw),
        .chaos = o->enable_chaos,
        .getenv = host_getenv,
    };
    return resources_load(&opt, ret, err);
}

void resources_tell(const struct resources *res)
{
    char text[DIAG_TEXT_MAX];
    const struct diags *d = &res->diags;
    for (size_t i = 0; i < d->n; i++)
        log_at(d->v[i].level == DIAG_WARN ? LOG_WARN : LOG_ERROR, RUNTIME_SCOPE, "%s",
               diag_print(&d->v[i], text));
}

static int load_resources(struct runtime *r, struct error *err)
{
    int code = resources_read(r, &r->resources, err);
    if (code < 0)
        return code;
    resources_tell(r->resources);
    r->live = resources_ref(r->resources);
    if (r->resources->fatal)
        return fail(err, INVALID, NULL, "failed to load resources from disk: %s",
                    r->resources->fatal);
    r->resiliency = resiliency_new((const struct resiliency_spec *const *)r->resources->resiliency,
                                   r->resources->n_resiliencies, err);
    r->blocks.resources = r->resources;
    r->blocks.live = live_new();
    if (!r->blocks.live)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    live_set(r->blocks.live, r->resources);
    if (r->options->enable_chaos) {
        r->blocks.chaos = chaos_new();
        if (!r->blocks.chaos)
            return fail(err, EXHAUSTED, NULL, "out of memory");
        log_warn(RUNTIME_SCOPE, "Chaos is enabled: the API can make calls fail on purpose");
        chaos_reload(r->blocks.chaos, NULL, r->resources);
    }
    r->blocks.resiliency = r->resiliency;
    r->blocks.trace_zero = !r->resources->config.loaded || r->resources->config.tracing.present;
    return r->resiliency ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* ---- servers ---- */

static const uint64_t KEEPALIVE_NS = SEC(10); /* of gRPC's connections: facts 3.1 */

static int open_server(struct runtime *r, const char *address,
                       const struct http_server_config *config, struct http_server **ret,
                       struct error *err)
{
    /* A port may be in use for a moment longer by whoever we replace: try for 10 s (facts 1). */
    uint64_t until = clock_now_ns() + SEC(10), pause = MS(10);
    for (;;) {
        struct error cause = { 0 };
        int code = http_server_open(address, config, ret, &cause);
        if (code >= 0)
            return 0;
        if (clock_now_ns() + pause > until || atomic_load(&r->stopping))
            return fail(err, cause.code, NULL, "%s", cause.text);
        struct timespec t = { .tv_nsec = (long)pause };
        nanosleep(&t, NULL);
        pause = min_u64(pause * 2, MS(500));
    }
}

static int open_internal(struct runtime *r, struct error *err)
{
    const struct options *o = r->options;
    struct http_server_config c = {
        .handle = api_handle_internal,
        .arg = r->api,
        .max_header_bytes = (size_t)o->read_buffer_size + KIB(4), /* what sidecars add */
        .max_body_bytes = 0,
        .h2 = true,
        .long_streams = true,
        .tls = r->identity ? identity_server(r->identity) : NULL,
        .keepalive_ns = KEEPALIVE_NS,
    };
    char address[160];
    const char *host = o->internal_listen_address;
    if (o->internal_port)
        snprintf(address, sizeof address, "%s:%lld", host, (long long)o->internal_port);
    else
        snprintf(address, sizeof address, "%s:%u", host, host_stable_port(o->app_id));
    struct error first = { 0 };
    int code = o->internal_port ? open_server(r, address, &c, &r->internal, &first)
                                : http_server_open(address, &c, &r->internal, &first);
    if (code < 0 && !o->internal_port) { /* taken: any other will do */
        snprintf(address, sizeof address, "%s:0", host);
        code = http_server_open(address, &c, &r->internal, err);
    } else if (code < 0)
        return fail(err, first.code, NULL, "%s", first.text);
    if (code >= 0)
        r->internal_port = http_server_port(r->internal);
    str loopback[] = { S("127.0.0.1"), S("localhost"), S("[::1]") };
    for (size_t i = 0; i < COUNT(loopback); i++)
        if (str_eq(str_c(host), loopback[i])) /* advertised as well: surprise 73 */
            snprintf(r->host_address, sizeof r->host_address, "%s", host);
    return code;
}

static int add_server(struct runtime *r, const char *address,
                      const struct http_server_config *config, struct error *err)
{
    if (r->n_servers == SERVERS_MAX)
        return fail(err, EXHAUSTED, NULL, "more than %d listen addresses", SERVERS_MAX);
    int code = open_server(r, address, config, &r->servers[r->n_servers], err);
    if (code >= 0)
        r->n_servers++;
    return code;
}

/* One listener for each of --dapr-listen-addresses; one that fails is logged, none at all is fatal.
 */
static int open_api(struct runtime *r, int64_t port, const char *kind,
                    const struct http_server_config *config, struct error *err)
{
    const struct options *o = r->options;
    char address[256];
    if (o->unix_domain_socket[0]) {
        snprintf(address, sizeof address, "unix:%s/dapr-%s-%s.socket", o->unix_domain_socket,
                 o->app_id, kind);
        return add_server(r, address, config, err);
    }
    size_t opened = 0;
    str item, rest = str_c(o->listen_addresses);
    struct error last = { 0 };
    do {
        bool any = str_next(&rest, ',', &item);
        bool v6 = any && str_find_c(item, ':') >= 0 && !str_starts(item, S("["));
        snprintf(address, sizeof address, v6 ? "[" STR_FMT "]:%lld" : STR_FMT ":%lld",
                 STR_ARG(any ? item : S("")), (long long)port);
        struct error cause = { 0 };
        if (add_server(r, address, config, &cause) >= 0)
            opened++;
        else {
            log_warn(RUNTIME_SCOPE, "can't listen on %s: %s", address, cause.text);
            last = cause;
        }
    } while (rest.p);
    return opened ? 0
                  : fail(err, UNAVAILABLE, NULL, "could not listen on any endpoint: %s", last.text);
}

static int open_servers(struct runtime *r, struct error *err)
{
    const struct options *o = r->options;
    struct http_server_config c = {
        .handle = api_handle,
        .arg = r->api,
        .max_header_bytes = (size_t)o->read_buffer_size,
        .max_body_bytes = (uint64_t)o->max_body_size,
        .h2 = !o->disable_h2c,
    };
    int code = open_api(r, o->http_port, "http", &c, err);
    if (code >= 0 && r->n_servers && !o->unix_domain_socket[0])
        r->http_port = http_server_port(r->servers[0]);
    if (code < 0)
        return code;
    log_info(RUNTIME_SCOPE, "HTTP server is running on port %u", r->http_port);
    struct http_server_config grpc = c;
    grpc.handle = api_handle_grpc;
    grpc.h2_only = true;
    grpc.h2 = true;
    grpc.long_streams = true;
    grpc.keepalive_ns = KEEPALIVE_NS;
    grpc.max_body_bytes = 0; /* the limit is a message's, not a stream's */
    grpc.idle_timeout_ns = SEC(180);
    grpc.max_arena_bytes = /* a message and its copies */
        o->max_body_size ? MIB(16) + 4 * (size_t)o->max_body_size : SIZE_MAX / 2;
    grpc.max_header_bytes = (size_t)o->read_buffer_size << 10; /* as it is there: surprise 9 */
    code = open_api(r, o->grpc_port, "grpc", &grpc, err);
    if (code < 0)
        return code;
    char address[256];
    if (o->public_port) {
        struct http_server_config public_ = c;
        public_.handle = api_handle_public;
        snprintf(address, sizeof address, "%s:%lld", o->public_listen_address,
                 (long long)o->public_port);
        code = add_server(r, address, &public_, err);
    }
    bool metrics = o->enable_metrics && r->resources->config.metrics.enabled != TRI_NO;
    if (code >= 0 && metrics) {
        struct http_server_config m = c;
        m.handle = api_handle_metrics;
        snprintf(address, sizeof address, "%s:%lld", o->metrics_listen_address,
                 (long long)o->metrics_port);
        code = add_server(r, address, &m, err);
    }
    return code;
}

/* ---- start ---- */

struct step {
    struct runtime *r;
    int code;
    struct error err;
};

CO static void load_step(void *arg)
{
    struct step *s = arg;
    s->code = load_components(s->r, &s->err);
}

static void release_resources(void *resources)
{
    resources_unref(resources);
}

bool apply_overload(struct runtime *r, struct resources *res)
{
    struct overload_spec spec = res->overload ? *res->overload : overload_none();
    if (!r->app)
        return true;
    struct overload *o = overload_new(&spec, res, release_resources);
    if (!o)
        return false;
    (void)resources_ref(res);
    admit_configure(r->app->admit, &r->blocks, o);
    return true;
}

static int make_app(struct runtime *r, struct error *err)
{
    const struct options *o = r->options;
    if (!o->app_port && !r->inside.handle) {
        log_warn(RUNTIME_SCOPE, "App channel is not initialized. Did you configure an app-port?");
        return 0;
    }
    struct app_config c = {
        .app_id = o->app_id,
        .host = o->app_channel_address,
        .port = (uint16_t)o->app_port,
        .protocol = app_protocol(o),
        .max_concurrency = (size_t)o->app_max_concurrency,
        .max_header_bytes = (size_t)o->read_buffer_size,
        .max_body_bytes = (size_t)o->max_body_size,
        .token = o->app_token,
        .handle = r->inside.handle,
        .handle_arg = r->inside.arg,
    };
    int code = app_new(&c, &r->app, err);
    if (code < 0)
        return code;
    r->app->blocks = &r->blocks;
    r->blocks.app = r->app;
    return apply_overload(r, r->resources) ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

static int make_api(struct runtime *r, struct error *err)
{
    const struct options *o = r->options;
    bool log_api = o->api_logging == OPTION_YES ||
                   (o->api_logging == OPTION_UNSET && r->resources->config.log_api == TRI_YES);
    struct api_config c = {
        .blocks = &r->blocks,
        .host = { .arg = r,
                  .ready = is_ready,
                  .outbound_ready = is_outbound_ready,
                  .probe = probe,
                  .shutdown = shut_down,
                  .describe = describe_metadata,
                  .set_metadata = describe_set,
                  .write_feed = describe_feed },
        .token = o->api_token,
        .allowed_origins = o->allowed_origins,
        .max_body_bytes = (uint64_t)o->max_body_size,
        .log_requests = log_api,
    };
    return api_new(&c, &r->api, err);
}

/* With mTLS nothing is served or called between sidecars before there is a certificate. */
static int prove_identity(struct runtime *r, struct error *err)
{
    const struct options *o = r->options;
    if (!o->enable_mtls)
        return 0;
    str domain = r->resources->config.acl.trust_domain;
    struct identity_config c = {
        .app_id = o->app_id,
        .namespace_ = r->blocks.namespace_,
        .trust_domain = domain.n ? domain : S("public"),
        .trust_anchors = o->trust_anchors,
        .sentry_address = o->sentry_address,
        .sentry_domain = o->control_plane_trust_domain,
        .sentry_namespace = o->control_plane_namespace,
        .sentry_identity = o->sentry_identity,
        .token_file = o->sentry_token_file,
        .audience = (char *const *)o->sentry_audiences.v,
        .n_audiences = o->sentry_audiences.n,
    };
    return identity_start(&c, &r->identity, err);
}

static int make_invoker(struct runtime *r, struct error *err)
{
    struct invoker_tls tls;
    if (r->identity)
        tls = (struct invoker_tls){ identity_h1(r->identity), identity_h2(r->identity) };
    int code = invoker_new(r->host_address, r->options->conn_idle_ns, r->identity ? &tls : NULL,
                           &r->blocks.invoker, err);
    return code < 0 ? code
                    : invoker_place(r->blocks.invoker, r->options->zone, r->options->region, err);
}

static bool has_files(const struct runtime *r)
{
    return r->options->resources_path.n || r->options->config.n;
}

/* What all that follows goes by. */
static int prepare(struct runtime *r, struct error *err)
{
    int code = load_resources(r, err);
    if (code >= 0)
        code = telemetry_start(r, err);
    return code < 0 ? code : prove_identity(r, err);
}

/* The files, and the app's instances. */
static void follow_changes(struct runtime *r)
{
    bool follows = config_feature(&r->resources->config, S("HotReload")) && has_files(r);
    if (!follows || worker_spawn(worker_at(0), "reload", reload_main, r) < 0)
        atomic_store(&r->reload_done, true);
    if (!r->app || worker_spawn(worker_at(0), "relief", relief_main, r) < 0)
        atomic_store(&r->relief_done, true);
}

/* The contract's order: facts 5.4. The internal port comes first: name resolution advertises it. */
int runtime_start(struct runtime *r, struct error *err)
{
    r->start_ns = clock_now_ns();
    metrics_setup(r->options->app_id);
    int code = prepare(r, err);
    if (code >= 0)
        code = make_api(r, err);
    if (code >= 0)
        code = open_internal(r, err);
    if (code >= 0)
        code = make_invoker(r, err);
    if (code >= 0)
        code = make_app(r, err);
    if (code < 0)
        return code;
    struct step load = { .r = r };
    code = worker_run(worker_at(0), "load", load_step, &load);
    if (code >= 0 && load.code < 0)
        return fail(err, load.err.code, NULL, "%s", load.err.text);
    if (code >= 0)
        code = open_servers(r, err);
    if (code < 0)
        return code;
    log_info(RUNTIME_SCOPE, "Internal gRPC server is running on port %u", r->internal_port);
    code = worker_spawn(worker_at(0), "life", life_main, r);
    if (code < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    follow_changes(r);
    atomic_store(&r->outbound_ready, true);
    return 0;
}

/* ---- stop ---- */

/* Nobody finds us any more, while all that is under way, and what still comes, is done. */
CO static void leave_step(void *arg)
{
    struct runtime *r = arg;
    const struct instance *i = r->blocks.resolver;
    const struct resolver_ops *ops = runtime_resolver(r);
    if (ops && ops->leave)
        ops->leave(i->self);
}

CO static void pause_step(void *arg)
{
    struct runtime *r = arg;
    r->deliveries_over = true;
    life_stop_deliveries(r);
    streamings_stop(r->blocks.streamings);
}

CO static void drain_step(void *arg)
{
    struct runtime *r = arg;
    while (!atomic_load(&r->life_done) || !atomic_load(&r->reload_done) ||
           !atomic_load(&r->relief_done)) {
        if (r->life)
            fiber_cancel(r->life);
        if (r->reloader)
            fiber_cancel(r->reloader);
        if (r->reliever)
            fiber_cancel(r->reliever);
        (void)fiber_sleep(MS(1));
    }
    life_stop_deliveries(r);
    outboxes_stop(TAKE(r->outboxes));
    configuration_stop(&r->blocks); /* the streams that wait for changes end */
}

CO static void close_resolver_step(void *arg)
{
    struct runtime *r = arg;
    instance_free(TAKE(r->blocks.resolver));
}

CO static void close_step(void *arg)
{
    struct runtime *r = arg;
    subscriptions_done(&r->subscriptions);
    configuration_stop(&r->blocks);
    blocks_done(&r->blocks);
    streamings_free(TAKE(r->blocks.streamings));
    while (r->n_sources)
        instance_free(r->sources[--r->n_sources]);
}

static bool started(const struct runtime *r)
{
    return atomic_load(&r->outbound_ready);
}

static void pause_ns(uint64_t ns)
{
    struct timespec t = { .tv_sec = (time_t)(ns / SEC(1)), .tv_nsec = (long)(ns % SEC(1)) };
    nanosleep(&t, NULL);
}

/* --dapr-block-shutdown-duration: no more deliveries, APIs stay open, until time is up or the app
 * is ill. */
static void block_shutdown(struct runtime *r)
{
    int64_t left = r->options->block_shutdown;
    if (!options_given(r->options, "dapr-block-shutdown-duration") || left <= 0)
        return;
    char text[32];
    (void)duration_print(left, text);
    log_info(RUNTIME_SCOPE, "Blocking graceful shutdown for %s or until app reports unhealthy...",
             text);
    while (left > 0 && (!r->app || atomic_load(&r->app->healthy))) {
        pause_ns(MS(100));
        left -= (int64_t)MS(100);
    }
    log_info(RUNTIME_SCOPE, left > 0 ? "App reported unhealthy, entering shutdown..."
                                     : "Block shutdown period expired, entering shutdown...");
}

/* Ends and frees what listens: until then (clock_now_ns()) for what is in flight. */
static size_t stop_servers(struct runtime *r, uint64_t until)
{
    size_t cut = 0;
    for (size_t i = 0; i <= r->n_servers; i++) {
        struct http_server **s = i < r->n_servers ? &r->servers[i] : &r->internal;
        uint64_t now = clock_now_ns();
        if (*s)
            cut += http_server_stop(*s, until == UINT64_MAX ? until
                                        : now < until       ? until - now
                                                            : 0);
    }
    for (size_t i = 0; i < r->n_servers; i++)
        http_server_free(TAKE(r->servers[i]));
    r->n_servers = 0;
    http_server_free(TAKE(r->internal));
    return cut;
}

size_t runtime_stop(struct runtime *r)
{
    if (!started(r))
        return 0;
    int64_t seconds = r->options->graceful_seconds;
    atomic_store(&r->leaving, true); /* not ready */
    atomic_store(&r->blocks.leaving, true);
    (void)worker_run(worker_at(0), "leave", leave_step, r);
    if (r->app)
        sleep_end(&r->app->sleep);
    (void)worker_run(worker_at(0), "pause", pause_step,
                     r); /* what is in flight is acknowledged first */
    block_shutdown(r);   /* still follows the app's health */
    (void)worker_run(worker_at(0), "drain", drain_step, r);
    atomic_store(&r->stopping, true);
    (void)worker_run(worker_at(0), "resolver", close_resolver_step, r);
    /* Whoever watches the grace from the signal on (main.c) ends the process first: the callers of
     * what hangs see the end of their connections, not an answer. */
    uint64_t until = seconds ? clock_now_ns() + SEC((uint64_t)seconds) + MS(500) : UINT64_MAX;
    size_t cut = stop_servers(r, until);
    telemetry_stop(r, until);
    atomic_store(&r->outbound_ready, false);
    return cut;
}

void runtime_free(struct runtime *r)
{
    if (!r)
        return;
    if (started(r))
        (void)runtime_stop(r);
    (void)stop_servers(r, 0); /* of a start that failed */
    telemetry_stop(r, 0);
    if (workers_count())
        (void)worker_run(worker_at(0), "close", close_step, r);
    invoker_free(r->blocks.invoker);
    identity_stop(r->identity);
    free_endpoints(r);
    app_free(r->app);
    api_free(r->api);
    resiliency_free(r->resiliency);
    live_free(r->blocks.live);
    chaos_free(r->blocks.chaos);
    resources_unref(r->live);
    resources_unref(r->resources);
    for (size_t i = 0; i < r->n_attributes; i++) {
        mem_free((void *)r->attribute[i].key.p);
        mem_free((void *)r->attribute[i].value.p);
    }
    pthread_mutex_destroy(&r->lock);
    arena_done(&r->arena);
    mem_free(r);
}

struct api *runtime_api(struct runtime *r)
{
    return r->api;
}
