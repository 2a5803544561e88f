#include "block/app.h"

#include "base/clock.h"
#include "base/mem.h"
#include "block/pipeline.h"
#include "http/memory.h"
#include "loop/stream.h"
#include "telemetry/metrics.h"

#include <stdio.h>

static struct metric_family client_count = {
    .name = "dapr_http_client_completed_count",
    .help = "Calls to the app that were answered.",
    .label = { "method", "path", "status" },
};
static struct metric_family client_latency = {
    .name = "dapr_http_client_roundtrip_latency",
    .help = "Time of a call to the app, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "method", "path", "status" },
};
static struct metric_family probe_count = {
    .name = "dapr_http_healthprobes_completed_count",
    .help = "Health probes that were answered.",
    .label = { "status" },
};
static struct metric_family probe_latency = {
    .name = "dapr_http_healthprobes_roundtrip_latency",
    .help = "Time of a health probe, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "status" },
};

int app_new(const struct app_config *config, struct app **ret, struct error *err)
{
    struct app *a = mem_zalloc(sizeof *a);
    if (!a)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    a->config = *config;
    const char *format = strchr(config->host, ':') ? "[%s]:%u" : "%s:%u";
    snprintf(a->address, sizeof a->address, format, config->host, config->port);
    slots_init(&a->slots, config->max_concurrency);
    atomic_init(&a->healthy, true);
    struct http_client_config client = {
        .h2 = str_eq(str_c(config->protocol), S("h2c")),
        .max_conns = 1024,
        .max_idle = 64,
        .max_header_bytes = config->max_header_bytes,
    };
    a->client = http_client_new(&client);
    if (!a->client) {
        app_free(a);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    *ret = a;
    return 0;
}

void app_free(struct app *a)
{
    if (!a)
        return;
    if (a->client)
        http_client_free(a->client);
    slots_done(&a->slots);
    mem_free(a);
}

static void count_probe(int status, uint64_t start_ns)
{
    char text[3];
    str label[] = { http_status_text(status, text) };
    metric_add(metric_cell(&probe_count, label), 1);
    metric_observe(&probe_latency, metric_cell(&probe_latency, label),
                   (double)(clock_now_ns() - start_ns) / 1e6);
}

void app_count(str verb, str path, int status, uint64_t start_ns)
{
    char text[3];
    str label[] = { verb, path, http_status_text(status, text) };
    uint64_t hash = metric_hash(label, COUNT(label));
    metric_add(metric_cell_hashed(&client_count, label, hash), 1);
    metric_observe(&client_latency, metric_cell_hashed(&client_latency, label, hash),
                   (double)(clock_now_ns() - start_ns) / 1e6);
}

/* Whatever a message's metadata says, these are the connection's business. */
static bool may_carry(const struct kv *h)
{
    static const str ours[] = { S("content-length"), S("host"), S("expect") };
    for (size_t i = 0; i < COUNT(ours); i++)
        if (str_ieq(h->key, ours[i]))
            return false;
    return http_is_token(h->key) && http_is_field_value(h->value);
}

static int build_request(struct app *a, const struct app_call *call, struct arena *arena,
                         struct http_request *req)
{
    str part[] = { S("/"), call->path }; /* routes may be written without their slash */
    *req = (struct http_request){
        .method = str_c(call->verb),
        .target = str_starts(call->path, S("/")) ? call->path : arena_join(arena, part, 2),
        .content_length = (int64_t)call->body.n,
    };
    http_headers_init(&req->headers, arena);
    int r = req->target.p ? 0 : -EXHAUSTED;
    for (size_t i = 0; i < call->headers.n && r >= 0; i++)
        if (may_carry(&call->headers.v[i]))
            r = http_headers_add(&req->headers, call->headers.v[i].key, call->headers.v[i].value);
    http_headers_strip_hop(&req->headers);
    if (r >= 0 && call->content_type.n)
        r = http_headers_set(&req->headers, S("Content-Type"), call->content_type);
    if (r >= 0 && a->config.token && !call->probe)
        r = http_headers_set(&req->headers, S("dapr-api-token"), str_c(a->config.token));
    return r;
}

CO static int exchange(struct app *a, const struct app_call *call, const struct http_request *req,
                       str content, struct arena *arena, struct app_answer *ret, struct error *err)
{
    AUTO(http_call_freep) struct http_call *c = NULL;
    int r = http_call_start(a->client, a->address, req, content, true, &c, err);
    if (r < 0)
        return r;
    const struct http_response *response;
    r = http_call_response(c, &response, err);
    if (r < 0)
        return r;
    str body;
    r = http_call_read_all(c, call->max_answer, &body);
    if (r < 0)
        return fail(err, (enum code) - r, NULL,
                    r == -RANGE ? "the app's answer to %s " STR_FMT " is larger than %zu bytes"
                                : "the app's answer to %s " STR_FMT " broke off (limit %zu bytes)",
                    call->verb, STR_ARG(call->path), call->max_answer);
    ret->status = response->status;
    ret->content_type = arena_dup(arena, http_headers_get(&response->headers, S("Content-Type")));
    ret->body = arena_dup(arena, body);
    return ret->body.p && ret->content_type.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* ---- an answer by way of an exchange in memory: for middlewares, and for an app in this process
 * ---- */

struct inside {
    struct app *a;
    const struct app_call *call;
    struct error *err;
};

/* The end of the pipeline: the request, as the middlewares have left it, to the app. */
CO static void pass_on(void *arg, struct http_exchange *x)
{
    struct inside *in = arg;
    if (in->a->config.handle) {
        in->a->config.handle(in->a->config.handle_arg, x);
        return;
    }
    str body;
    struct app_answer answer;
    struct http_request req = x->req;
    if (http_read_all(x, SIZE_MAX, &body) < 0)
        return;
    req.content_length = (int64_t)body.n;
    if (exchange(in->a, in->call, &req, body, x->arena, &answer, in->err) < 0)
        return;
    struct http_headers h;
    http_headers_init(&h, x->arena);
    if (answer.content_type.n && http_headers_add(&h, S("Content-Type"), answer.content_type) < 0)
        return;
    (void)http_reply(x, answer.status, &h, answer.body);
}

CO static int exchange_inside(struct app *a, const struct app_call *call, struct http_request *req,
                              struct arena *arena, struct app_answer *ret, struct error *err)
{
    static const struct pipeline none;
    struct inside in = { a, call, err };
    struct http_memory m;
    (void)str_cut(req->target, '?', &req->path, &req->query);
    http_memory_init(&m, req, call->body, arena, call->max_answer);
    pipeline_run(a->pipeline ? a->pipeline : &none, &m.x, pass_on, &in);
    int r = m.too_large ? -RANGE : !m.x.ended || m.aborted ? -UNAVAILABLE : 0;
    ret->status = m.x.status;
    ret->content_type = http_headers_get(&m.reply_headers, S("Content-Type"));
    ret->body = arena_dup(arena, buf_str(&m.reply));
    http_memory_done(&m);
    if (r < 0) {
        fail(err, (enum code) - r, NULL,
             m.too_large ? "the app's answer to %s " STR_FMT " is larger than %zu bytes"
                         : "no whole answer of the app to %s " STR_FMT " (limit %zu bytes)",
             call->verb, STR_ARG(call->path), call->max_answer);
        return err ? -(int)err->code : r; /* what the call to the app failed by, if it did */
    }
    return ret->body.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

CO int app_do(struct app *a, const struct app_call *call, struct arena *arena,
              struct app_answer *ret, struct error *err)
{
    uint64_t start = clock_now_ns();
    struct http_request req;
    if (build_request(a, call, arena, &req) < 0)
        return fail(err, EXHAUSTED, NULL, "the call to the app needs too much memory");
    int r = call->probe ? 0 : slots_take(&a->slots);
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "no free place among --app-max-concurrency calls");
    bool inside = a->config.handle || (a->pipeline && a->pipeline->n && !call->probe);
    r = inside ? exchange_inside(a, call, &req, arena, ret, err)
               : exchange(a, call, &req, call->body, arena, ret, err);
    if (!call->probe)
        slots_give(&a->slots);
    if (r >= 0 && call->probe)
        count_probe(ret->status, start);
    else if (r >= 0)
        app_count(str_c(call->verb), call->path, ret->status, start);
    return r;
}

CO bool app_listening(struct app *a)
{
    if (a->config.handle)
        return true;
    DEADLINE(MS(500));
    struct stream *s;
    struct error err = { 0 };
    if (stream_dial(a->address, &s, &err) < 0)
        return false;
    stream_close(s);
    return true;
}
