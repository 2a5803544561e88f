#include "proa.h"

#include "base/log.h"
#include "base/mem.h"
#include "lib/private.h"
#include "loop/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIBERS_MAX = 10000 };
static const char SCOPE[] = "proa.app";

/* The signals that end a service are taken by a thread of ours, by sigwait(). */
static struct proa *_Atomic serving;

const char *proa_version(void)
{
    return PROA_VERSION;
}

const char *proa_app_id(const struct proa *p)
{
    return p->app_id;
}

static char *copy(const char *s)
{
    return s ? mem_dup(s, strlen(s)) : NULL;
}

static int env_port(const char *name, int given)
{
    uint64_t v;
    const char *text = given ? NULL : getenv(name);
    return text && str_to_u64(str_c(text), &v) && v < 65536 ? (int)v : given;
}

struct proa *proa_new(const struct proa_options *options)
{
    struct proa *p = mem_zalloc(sizeof *p);
    if (!p)
        return NULL;
    if (options)
        p->options = *options;
    struct proa_options *o = &p->options;
    const char *id = o->app_id ? o->app_id : getenv("APP_ID"), *mode = getenv("PROA_MODE");
    if (!id || !id[0]) {
        fprintf(stderr, "proa: no app id: set proa_options.app_id or APP_ID in the environment\n");
        mem_free(p);
        return NULL;
    }
    if (mode && str_eq(str_c(mode), S("inside")))
        o->inside = true;
    o->app_port = env_port("APP_PORT", o->app_port);
    o->sidecar_port = env_port("DAPR_HTTP_PORT", o->sidecar_port);
    o->sidecar_port = o->sidecar_port ? o->sidecar_port : 3500;
    snprintf(p->sidecar, sizeof p->sidecar, "127.0.0.1:%d", o->sidecar_port);
    p->timeout_ns = SEC(30);
    arena_init(&p->arena, MIB(4));
    p->app_id = copy(id);
    if (!p->app_id) {
        mem_free(p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    return p;
}

void proa_set_timeout(struct proa *p, int ms)
{
    p->timeout_ns = MS((uint64_t)(ms > 0 ? ms : 1));
}

int proa_method(struct proa *p, const char *method, proa_method_fn *fn, void *arg)
{
    char *name = copy(method);
    if (!name || p->n_methods == METHODS_MAX) {
        mem_free(name);
        return -PROA_EXHAUSTED;
    }
    p->method[p->n_methods++] = (struct method){ name, fn, arg };
    return 0;
}

static void topic_free(struct topic *t)
{
    mem_free(t->pubsub);
    mem_free(t->topic);
    mem_free(t->dead_letter);
}

int proa_topic(struct proa *p, const char *pubsub, const char *topic, proa_topic_fn *fn, void *arg,
               const struct proa_topic_options *options)
{
    if (p->n_topics == TOPICS_MAX)
        return -PROA_EXHAUSTED;
    struct topic *t = &p->topic[p->n_topics];
    *t = (struct topic){ .pubsub = copy(pubsub), .topic = copy(topic), .fn = fn, .arg = arg };
    t->dead_letter = options ? copy(options->dead_letter) : NULL;
    snprintf(t->path, sizeof t->path, "/proa/topic/%zu", p->n_topics);
    if (t->pubsub && t->topic && (t->dead_letter || !options || !options->dead_letter)) {
        p->n_topics++;
        return 0;
    }
    topic_free(t);
    return -PROA_EXHAUSTED;
}

int proa_on_start(struct proa *p, void (*fn)(struct proa *p, void *arg), void *arg)
{
    p->on_start = fn;
    p->on_start_arg = arg;
    return 0;
}

void proa_stop(struct proa *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void proa_free(struct proa *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_methods; i++)
        mem_free(p->method[i].name);
    for (size_t i = 0; i < p->n_topics; i++)
        topic_free(&p->topic[i]);
    arena_done(&p->arena);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->app_id);
    mem_free(p);
}

/* ---- fibers ---- */

struct spawned {
    void (*fn)(void *arg);
    void *arg;
};

CO static void spawned_main(void *arg)
{
    struct spawned s = *(struct spawned *)arg;
    mem_free(arg);
    s.fn(s.arg);
}

int proa_spawn(struct proa *p, void (*fn)(void *arg), void *arg)
{
    if (!fiber_self())
        return -PROA_PRECONDITION;
    struct spawned *s = mem_alloc(sizeof *s);
    if (!s)
        return -PROA_EXHAUSTED;
    *s = (struct spawned){ fn, arg };
    if (fiber_spawn("spawned", spawned_main, s))
        return 0;
    mem_free(s);
    return -PROA_EXHAUSTED;
}

bool proa_sleep_ms(int ms)
{
    return fiber_self() && fiber_sleep(MS((uint64_t)(ms > 0 ? ms : 0))) == 0;
}

int proa_blocking(void (*fn)(void *arg), void *arg)
{
    if (fiber_self())
        return blocking(fn, arg);
    fn(arg); /* this thread is the caller's own: it may block */
    return 0;
}

/* ---- running ---- */

static int start_beside(struct proa *p, struct error *err)
{
    char address[32];
    struct http_server_config c = {
        .handle = serve,
        .arg = p,
        .max_header_bytes = KIB(64),
        .h2 = true,
    };
    snprintf(address, sizeof address, "127.0.0.1:%d", p->options.app_port);
    p->client = http_client_new(&(struct http_client_config){ 0 });
    if (!p->client)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    return http_server_open(address, &c, &p->server, err);
}

/* The runtime's flags, as a sidecar of this app would get them. */
static int inside_options(struct proa *p, struct error *err)
{
    const char *resources = p->options.resources ? p->options.resources : getenv("PROA_RESOURCES");
    const char *config = p->options.config ? p->options.config : getenv("PROA_CONFIG");
    char port[32];
    snprintf(port, sizeof port, "--dapr-http-port=%d", p->options.sidecar_port);
    char *argv[] = {
        "proa",
        "--app-id",
        p->app_id,
        "--resources-path",
        (char *)(resources ? resources : "resources"),
        port,
        "--dapr-grpc-port=0",
        "--metrics-port=0",
        "--dapr-listen-addresses=127.0.0.1",
        "--config",
        (char *)config,
    };
    int argc = (int)COUNT(argv) - (config ? 0 : 2);
    return options_parse(argc, argv, &p->arena, &p->runtime_options, err);
}

static int start_inside(struct proa *p, struct error *err)
{
    struct runtime_app app = { serve, p };
    int r = inside_options(p, err);
    if (r >= 0)
        r = runtime_new(&p->runtime_options, &app, &p->runtime, err);
    return r < 0 ? r : runtime_start(p->runtime, err);
}

/* Waits for the API and calls on_start; a fiber of worker 0. */
CO static void start_main(void *arg)
{
    struct proa *p = arg;
    p->start_fiber = fiber_self();
    bool up = false;
    while (p->on_start && !up && !fiber_cancelled()) {
        PROA_RESULT res = { 0 };
        struct api_request q = { .verb = "GET", .path = S("/v1.0/healthz/outbound") };
        up = api_call(p, &q, &res) >= 0 && res.status == 204;
        if (!up && fiber_sleep(MS(50)) < 0)
            break;
    }
    if (up)
        p->on_start(p, p->on_start_arg);
    p->start_fiber = NULL;
    pthread_mutex_lock(&p->lock);
    p->ended_start = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

CO static void cancel_start(void *arg)
{
    struct proa *p = arg;
    if (p->start_fiber)
        fiber_cancel(p->start_fiber);
}

static void *wait_for_signal(void *arg)
{
    sigset_t *signals = arg;
    int signal;
    while (sigwait(signals, &signal) != 0)
        ;
    struct proa *p = atomic_load(&serving);
    if (p)
        proa_stop(p);
    return NULL;
}

static void serve_until_stopped(struct proa *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->stop)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    (void)worker_run(worker_at(0), "stop", cancel_start, p);
    pthread_mutex_lock(&p->lock);
    while (!p->ended_start)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

static int start_workers(struct proa *p, struct error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = p->options.workers > 0 ? (size_t)p->options.workers
               : p->options.inside    ? (size_t)(cores > 0 ? cores : 1)
                                      : 1;
    return workers_start(n, FIBERS_MAX / n, err);
}

static int start_all(struct proa *p, struct error *err)
{
    int r = start_workers(p, err);
    if (r >= 0)
        r = p->options.inside ? start_inside(p, err) : start_beside(p, err);
    return r < 0 ? r : worker_spawn(worker_at(0), "start", start_main, p);
}

int proa_run(struct proa *p)
{
    static sigset_t signals; /* the thread may outlive this frame */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    log_setup(&(struct log_config){ .level = LOG_INFO, .fd = 1, .app_id = p->app_id });
    atomic_store(&serving, p);
    struct error err = { 0 };
    pthread_t thread;
    int r = start_all(p, &err);
    if (r >= 0) {
        if (pthread_create(&thread, NULL, wait_for_signal, &signals) == 0)
            pthread_detach(thread);
        else
            log_error(SCOPE, "no thread for signals: only proa_stop() ends this service");
        serve_until_stopped(p);
    } else
        log_error(SCOPE, "can't start: %s", err.text[0] ? err.text : "out of memory");
    atomic_store(&serving, NULL);
    if (p->server) {
        (void)http_server_stop(p->server, SEC(5));
        http_server_free(p->server);
    }
    runtime_free(p->runtime);
    if (p->client)
        http_client_free(p->client);
    (void)workers_stop(SEC(2));
    p->server = NULL;
    p->runtime = NULL;
    p->client = NULL;
    return r < 0;
}
