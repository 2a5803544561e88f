#include "block/app/app_rpc.h"

#include "base/clock.h"
#include "block/app/channel.h"
#include "block/core/observe.h"
#include "block/core/proto.h"
#include "http/grpc.h"
#include "telemetry/metrics.h"
#include "telemetry/trace.h"

enum { REFUSED_TRIES = 8 /* a quarter of a second in all */ };

static struct metric_family probe_count = {
    .name = "dapr_grpc_io_healthprobes_completed_count",
    .help = "gRPC health probes that were answered.",
    .label = { "grpc_client_status" },
};
static struct metric_family probe_latency = {
    .name = "dapr_grpc_io_healthprobes_roundtrip_latency",
    .help = "Time of a gRPC health probe, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "grpc_client_status" },
};

int app_rpc_no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the call to the app doesn't fit into memory");
}

void app_rpc_count(const struct app_rpc *c, const struct app_rpc_answer *answer, uint64_t start_ns)
{
    double ms = (double)(clock_now_ns() - start_ns) / 1e6;
    enum code code = answer->status.code;
    if (!c->probe) {
        observe_rpc(c->path, code, c->sent, answer->message.n, start_ns);
        return;
    }
    str label[] = { str_c(code_go_name(code)) };
    metric_add(metric_cell(&probe_count, label), 1);
    metric_observe(&probe_latency, metric_cell(&probe_latency, label), ms);
}

/* gRPC's own fields, and the connection's, are no metadata of the app. */
static bool is_own(str name)
{
    static const str own[] = {
        S("content-type"),  S("grpc-status"),
        S("grpc-message"),  S("grpc-status-details-bin"),
        S("grpc-encoding"), S("grpc-accept-encoding"),
        S("trailer"),       S("content-length"),
        S(WORDS_STATUS),    S(WORDS_TYPE),
    };
    for (size_t i = 0; i < COUNT(own); i++)
        if (str_ieq(name, own[i]))
            return true;
    return false;
}

int app_rpc_metadata(const struct http_headers *from, struct arena *a, struct http_headers *to)
{
    http_headers_init(to, a);
    for (size_t i = 0; from && i < from->n; i++) {
        if (is_own(from->v[i].name))
            continue;
        str name = arena_dup(a, from->v[i].name), value = arena_dup(a, from->v[i].value);
        if (!name.p || !value.p || http_headers_add(to, name, value) < 0)
            return -EXHAUSTED;
    }
    return 0;
}

/* The status, and a copy of the message before the call ends. */
CO static int receive(struct http_call *call, const struct app_rpc *c, struct arena *a,
                      struct app_rpc_answer *ret, struct error *err)
{
    const struct http_response *head;
    struct grpc_status status;
    str message = S("");
    int r = grpc_call_recv(call, c->max_answer, &message);
    if (r == -EXHAUSTED) {
        ret->status = (struct words_status){
            EXHAUSTED, arena_printf(a, "the app's answer is larger than %zu bytes", c->max_answer),
            S("")
        };
        return 0;
    }
    if (r > 0 && !(ret->message = arena_dup(a, message)).p)
        return app_rpc_no_memory(err);
    if (r >= 0)
        r = grpc_call_status(call, &status);
    if (r >= 0)
        r = http_call_response(call, &head, err);
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "the app's answer to " STR_FMT " broke off",
                    STR_ARG(c->path));
    ret->status = (struct words_status){ status.code, arena_dup(a, status.message),
                                         arena_dup(a, status.details) };
    bool only = !http_call_trailers(call); /* a head alone: then it holds the trailers */
    const struct http_headers *trailers = only ? &head->headers : http_call_trailers(call);
    return ret->status.message.p && ret->status.details.p &&
                   app_rpc_metadata(only ? NULL : &head->headers, a, &ret->headers) >= 0 &&
                   app_rpc_metadata(trailers, a, &ret->trailers) >= 0
               ? 0
               : app_rpc_no_memory(err);
}

static uint64_t time_left(void)
{
    uint64_t until = fiber_deadline(), now = sched_now();
    return until == UINT64_MAX ? UINT64_MAX : until > now ? until - now : 1;
}

/* The trace once more in binary, which is what gRPC apps read (facts 9.2). */
static int add_binary_trace(struct http_headers *metadata, char bin[TRACE_BINARY_TEXT + 1])
{
    struct trace_context t;
    trace_read(&t, http_headers_get(metadata, S("traceparent")), S(""));
    str text = trace_binary_text(&t, bin);
    return text.n ? http_headers_set(metadata, S("grpc-trace-bin"), text) : 0;
}

CO static int exchange_once(struct app *a, struct app_rpc *c, str bytes, struct arena *arena,
                            struct app_rpc_answer *ret, bool *ret_reached, bool *ret_refused,
                            struct error *err)
{
    AUTO(http_call_freep) struct http_call *call = NULL;
    *ret_refused = false;
    int r = grpc_call_start(a->client, a->address, str_c(a->address), c->path, &c->metadata,
                            time_left(), &call, err);
    if (r < 0)
        return r;
    *ret_reached = true;
    r = grpc_call_send(call, bytes, true);
    /* An app that takes no more has answered already, or has left: the answer says which. */
    if (r == -CANCELLED || r == -TIMEOUT)
        return fail(err, (enum code) - r, NULL, "the call to the app was interrupted");
    r = receive(call, c, arena, ret, err);
    *ret_refused = r == -UNAVAILABLE && http_call_refused(call);
    return r;
}

/* An app that has as many streams as it likes refuses a further one, having taken nothing of it:
 * it's asked again. */
CO int app_rpc_exchange(struct app *a, struct app_rpc *c, struct arena *arena,
                        struct app_rpc_answer *ret, bool *ret_reached, struct error *err)
{
    str bytes = S("");
    char bin[TRACE_BINARY_TEXT + 1];
    bool refused = true;
    int r = 0;
    *ret = (struct app_rpc_answer){ 0 };
    *ret_reached = false;
    if ((c->in && proto_pack_to(c->in, arena, &bytes) < 0) ||
        add_binary_trace(&c->metadata, bin) < 0 ||
        (a->config.token &&
         http_headers_set(&c->metadata, S("dapr-api-token"), str_c(a->config.token)) < 0))
        return app_rpc_no_memory(err);
    c->sent = bytes.n;
    for (unsigned n = 0; refused && n <= REFUSED_TRIES; n++) {
        if (n && fiber_sleep(MS(1) << (n - 1)) < 0)
            break;
        if (n && err)
            *err = (struct error){ 0 };
        r = exchange_once(a, c, bytes, arena, ret, ret_reached, &refused, err);
    }
    return r;
}

CO int app_rpc_ask(struct app *a, struct app_rpc *c, struct arena *arena,
                   struct app_rpc_answer *ret, struct error *err)
{
    bool reached;
    uint64_t start = clock_now_ns();
    c->max_answer = c->max_answer ? c->max_answer : CHANNEL_ANSWER_MAX;
    c->metadata.arena = arena;
    struct admit_place place;
    int r = c->probe ? 0 : app_enter(a, &place, &(struct admit_ask){ .method = c->path }, err);
    if (r < 0)
        return r;
    r = app_rpc_exchange(a, c, arena, ret, &reached, err);
    if (!c->probe)
        app_leave(a, &place, r, 0);
    if (r >= 0)
        app_rpc_count(c, ret, start);
    return r;
}

/* An app that says CANCELLED isn't a caller of ours that has left. */
int app_rpc_refused(const struct app_rpc_answer *a, struct error *err, const char *what)
{
    enum code code = a->status.code == CANCELLED ? UNKNOWN : a->status.code;
    return fail(err, code, NULL, "%s: rpc error: code = %s desc = " STR_FMT, what,
                code_go_name(a->status.code), STR_ARG(str_take(a->status.message, 300)));
}

int app_rpc_unreadable(struct error *err, const char *what)
{
    return fail(err, INTERNAL, NULL, "the app's answer to %s is no such message", what);
}
