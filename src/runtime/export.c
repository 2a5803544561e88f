#include "runtime/export.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "block/core/parallel.h"
#include "fiber/sync.h"
#include "http/grpc.h"
#include "loop/tls.h"
#include "loop/worker.h"
#include "runtime/private.h"
#include "telemetry/span.h"

#include <stdio.h>

enum {
    BATCH = 512,
    BATCH_BYTES = 16 << 20, /* more than 512 spans can need */
    ANSWER_MAX = 64 << 10,
    CA_MAX = 1 << 20,
};
static const uint64_t PERIOD = MS(200), RETRY_FIRST = MS(500), RETRY_LONGEST = SEC(8),
                      RETRY_TOTAL = SEC(30);
static const char SCOPE[] = "dapr.runtime.trace";

struct target { /* one collector */
    struct exporter *e;
    const struct trace_target *t;
    struct http_client *client;
    struct fiber *fiber; /* while it sends */
    struct log_limit log;
};

struct exporter {
    const struct tracing *settings;
    struct target target[TRACE_TARGETS];
    struct span_block *batch; /* the one under way */
    size_t n_batch;
    struct fiber *fiber; /* worker 0, like what follows */
    struct waitq wake;
    bool stopping;
    uint64_t until; /* once stopping: when to give up, by sched_now() */
    bool done;
};

/* ---- one try ---- */

static uint64_t time_left(const struct exporter *e, uint64_t until)
{
    uint64_t now = sched_now();
    until = e->stopping ? min_u64(until, e->until) : until;
    return until > now ? until - now : 0;
}

struct outcome {
    int code;          /* 0 or negative */
    bool again;        /* worth another try */
    uint64_t pause_ns; /* asked for by the collector; 0 = it said nothing */
    struct error err;
};

static bool again_status(int status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

/* What the OTLP specification calls retryable, and what never reached anybody. */
static bool again_code(enum code c)
{
    return c == UNAVAILABLE || c == TIMEOUT || c == ABORTED || c == EXHAUSTED || c == RANGE ||
           c == DATA_LOSS || c == CANCELLED;
}

static int build_headers(const struct trace_target *t, struct arena *a, struct http_headers *h)
{
    http_headers_init(h, a);
    int r = http_headers_add(h, S("user-agent"), S("proa/" PROA_VERSION));
    if (r >= 0 && t->protocol != TRACE_OTLP_GRPC)
        r = http_headers_add(h, S("content-type"),
                             t->protocol == TRACE_ZIPKIN ? S("application/json")
                                                         : S("application/x-protobuf"));
    for (size_t i = 0; i < t->headers.n && r >= 0; i++)
        r = http_headers_set(h, t->headers.v[i].key, t->headers.v[i].value);
    return r;
}

CO static void try_http(struct target *x, str body, struct arena *a, struct outcome *o)
{
    struct http_request req = { .method = S("POST"),
                                .target = x->t->path,
                                .authority = x->t->authority,
                                .content_length = (int64_t)body.n };
    AUTO(http_call_freep) struct http_call *call = NULL;
    const struct http_response *res;
    str answer, after;
    if (build_headers(x->t, a, &req.headers) < 0) {
        o->code = fail(&o->err, EXHAUSTED, NULL, "out of memory");
        return;
    }
    o->code = http_call_start(x->client, x->t->address, &req, body, true, &call, &o->err);
    if (o->code >= 0)
        o->code = http_call_response(call, &res, &o->err);
    if (o->code < 0 || (res->status >= 200 && res->status <= 299)) {
        o->again = o->code < 0 && again_code((enum code) - o->code);
        if (o->code >= 0)
            (void)http_call_read_all(call, ANSWER_MAX,
                                     &answer); /* so that the connection is kept */
        return;
    }
    uint64_t seconds;
    o->again = again_status(res->status);
    after = http_headers_get(&res->headers, S("Retry-After"));
    if (str_to_u64(after, &seconds))
        o->pause_ns = SEC(min_u64(seconds, 3600));
    if (http_call_read_all(call, ANSWER_MAX, &answer) < 0)
        answer = S("");
    o->code = fail(&o->err, UNKNOWN, NULL, "it answered with status %d: " STR_FMT, res->status,
                   STR_ARG(str_take(answer, 200)));
}

CO static void try_grpc(struct target *x, str body, struct arena *a, struct outcome *o)
{
    struct http_headers metadata;
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct grpc_status status;
    str answer;
    if (build_headers(x->t, a, &metadata) < 0) {
        o->code = fail(&o->err, EXHAUSTED, NULL, "out of memory");
        return;
    }
    o->code = grpc_call_start(x->client, x->t->address, x->t->authority, x->t->path, &metadata,
                              x->t->timeout_ns, &call, &o->err);
    if (o->code >= 0)
        o->code = grpc_call_send(call, body, true);
    while (o->code >= 0 && (o->code = grpc_call_recv(call, ANSWER_MAX, &answer)) > 0)
        ;
    if (o->code >= 0)
        o->code = grpc_call_status(call, &status);
    if (o->code >= 0 && status.code != OK)
        o->code = fail(&o->err, status.code, NULL, "%s: " STR_FMT, code_name(status.code),
                       STR_ARG(str_take(status.message, 200)));
    o->again = o->code < 0 && again_code((enum code) - o->code);
    if (o->code < 0)
        fail(&o->err, (enum code) - o->code, NULL, "the connection broke");
}

CO static struct outcome try_once(struct target *x, str body)
{
    struct outcome o = { 0 };
    struct arena a;
    arena_init(&a, MIB(1));
    DEADLINE(min_u64(x->t->timeout_ns, time_left(x->e, UINT64_MAX)));
    if (x->t->protocol == TRACE_OTLP_GRPC)
        try_grpc(x, body, &a, &o);
    else
        try_http(x, body, &a, &o);
    if (o.code < 0)
        fail(&o.err, (enum code) - o.code, NULL, "no answer within the timeout");
    arena_done(&a);
    return o;
}

/* ---- a batch, to every target ---- */

/* 0: the time is over. -CANCELLED: the fiber has to end. Other values: woken, to stop. */
CO static int pause_for(struct exporter *e, uint64_t ns)
{
    DEADLINE(ns);
    int r = waitq_wait(&e->wake);
    return r == -TIMEOUT ? 0 : r == 0 ? 1 : r;
}

CO static bool deliver(struct target *x, str body, struct error *err)
{
    uint64_t until = sched_now() + RETRY_TOTAL, pause = RETRY_FIRST;
    for (;; pause = min_u64(pause * 2, RETRY_LONGEST)) {
        struct outcome o = try_once(x, body);
        if (o.code >= 0)
            return true;
        /* a little less or more, so that a fleet doesn't come back as one */
        uint64_t wait =
            o.pause_ns ? o.pause_ns : (uint64_t)((double)pause * (0.8 + 0.4 * id_random_unit()));
        if (!o.again || fiber_cancelled() || wait >= time_left(x->e, until) ||
            pause_for(x->e, wait) < 0) {
            *err = o.err;
            return false;
        }
    }
}

CO static void send_to(void *arg, size_t i)
{
    struct exporter *e = arg;
    struct target *x = &e->target[i];
    struct error err = { 0 };
    AUTO(buf_done) struct buf body;
    buf_init(&body, BATCH_BYTES);
    if (x->t->protocol == TRACE_ZIPKIN)
        encode_zipkin(&body, &e->settings->resource, e->batch);
    else
        encode_otlp(&body, &e->settings->resource, e->batch);
    if (!buf_ok(&body))
        fail(&err, EXHAUSTED, NULL, "the batch doesn't fit into memory");
    x->fiber = fiber_self();
    bool ok = buf_ok(&body) && deliver(x, buf_str(&body), &err);
    x->fiber = NULL;
    span_exported(e->n_batch, ok);
    uint64_t missed;
    if (!ok && log_allow(&x->log, SEC(10), &missed))
        log_warn(SCOPE, "%zu spans could not be sent to %s and are given up: %s", e->n_batch,
                 x->t->address, err.text);
}

static void log_span(const struct span_block *b)
{
    static const char *const status[] = { "unset", "ok", "error" };
    static const char *const kind[] = {
        "", "internal", "server", "client", "producer", "consumer"
    };
    char trace[33] = "", id[17] = "", parent[17] = "", took[32];
    id_hex(b->trace_id, sizeof b->trace_id, trace);
    id_hex(b->id, sizeof b->id, id);
    if (b->has_parent)
        id_hex(b->parent, sizeof b->parent, parent);
    snprintf(took, sizeof took, "%.3f", (double)(b->end_ns - b->start_ns) / 1e6);
    const char *fields[] = {
        "traceId",     trace, "spanId", id,       "parentSpanId",    parent, "kind",
        kind[b->kind], "ms",  took,     "status", status[b->status], NULL
    };
    str name = span_text(b, b->name);
    log_fields(LOG_INFO, SCOPE, fields, "span " STR_FMT, STR_ARG(name));
}

/* Takes the first BATCH spans off the list. */
static struct span_block *cut_batch(struct span_block **list, size_t *ret_n)
{
    struct span_block *first = *list, *last = first;
    for (*ret_n = 1; *ret_n < BATCH && last->next; ++*ret_n)
        last = last->next;
    *list = last->next;
    last->next = NULL;
    return first;
}

CO static void export_waiting(struct exporter *e)
{
    struct span_block *list = span_take();
    while (list) {
        e->batch = cut_batch(&list, &e->n_batch);
        for (const struct span_block *b = e->settings->to_stdout ? e->batch : NULL; b; b = b->next)
            log_span(b);
        parallel_for(e->settings->n_targets, TRACE_TARGETS, send_to, e);
        span_release(e->batch);
    }
}

CO static void export_main(void *arg)
{
    struct exporter *e = arg;
    e->fiber = fiber_self();
    while (!e->stopping && pause_for(e, PERIOD) >= 0)
        if (!e->stopping)
            export_waiting(e);
    if (e->stopping)
        export_waiting(e);
    e->fiber = NULL;
    e->done = true;
}

/* ---- start and stop ---- */

static void exporter_free(struct exporter *e)
{
    for (size_t i = 0; i < TRACE_TARGETS; i++)
        if (e->target[i].client)
            http_client_free(e->target[i].client);
    mem_free(e);
}

/* The system's roots, or those of OTEL_EXPORTER_OTLP_CERTIFICATE. */
static int open_tls(const struct trace_target *t, bool h2, struct tls_context **ret,
                    struct error *err)
{
    AUTO(buf_done) struct buf ca;
    buf_init(&ca, CA_MAX);
    if (t->ca_file.n && host_read_file(t->ca_file, &ca) < 0)
        return fail(err, INVALID, NULL,
                    "tracing: OTEL_EXPORTER_OTLP_CERTIFICATE: can't read " STR_FMT
                    " (at most %d KiB)",
                    STR_ARG(t->ca_file), CA_MAX >> 10);
    struct tls_options o = { .ca = buf_str(&ca), .h2 = h2 };
    int r = tls_context_new(&o, ret, err);
    return r < 0 ? fail_wrap(err, "tracing: TLS to %s", t->address) : 0;
}

static int open_target(struct exporter *e, size_t i, struct error *err)
{
    const struct trace_target *t = &e->settings->target[i];
    struct http_client_config c = { .h2 = t->protocol == TRACE_OTLP_GRPC, .max_conns = 2 };
    int r = t->secure ? open_tls(t, c.h2, &c.tls, err) : 0;
    if (r < 0)
        return r;
    e->target[i] = (struct target){ .e = e, .t = t, .client = http_client_new(&c) };
    tls_context_unref(c.tls); /* the client has its own */
    return e->target[i].client ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

int export_start(const struct tracing *settings, struct exporter **ret, struct error *err)
{
    struct exporter *e = mem_zalloc(sizeof *e);
    if (!e)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    e->settings = settings;
    waitq_init(&e->wake);
    int r = 0;
    for (size_t i = 0; i < settings->n_targets && r >= 0; i++)
        r = open_target(e, i, err);
    if (r >= 0 && worker_spawn(worker_at(0), "export", export_main, e) < 0)
        r = fail(err, EXHAUSTED, NULL, "out of memory");
    if (r < 0) {
        exporter_free(e);
        return r;
    }
    *ret = e;
    return 0;
}

static void cancel_all(struct exporter *e)
{
    if (e->fiber)
        fiber_cancel(e->fiber);
    for (size_t i = 0; i < TRACE_TARGETS; i++)
        if (e->target[i].fiber)
            fiber_cancel(e->target[i].fiber);
}

struct stop {
    struct exporter *e;
    uint64_t grace_ns;
};

CO static void stop_step(void *arg)
{
    struct stop *s = arg;
    struct exporter *e = s->e;
    e->until = sched_now() + s->grace_ns;
    e->stopping = true;
    waitq_wake_all(&e->wake, 0);
    while (!e->done) {
        if (!time_left(e, UINT64_MAX) || fiber_cancelled())
            cancel_all(e);
        if (fiber_sleep(MS(1)) < 0)
            fiber_yield();
    }
}

void export_stop(struct exporter *e, uint64_t grace_ns)
{
    struct stop stop = { e, grace_ns };
    if (!e)
        return;
    if (worker_run(worker_at(0), "stop-export", stop_step, &stop) < 0)
        return; /* its fiber may still run: better lost than freed under it */
    exporter_free(e);
}
