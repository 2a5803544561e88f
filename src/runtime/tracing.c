#include "runtime/tracing.h"

#include "format/uri.h"
#include "http/message.h"

enum { HEADERS_MAX = 64, DEFAULT_TIMEOUT_S = 10 };

struct reader {
    const struct config_tracing *c;
    tracing_getenv *env;
    void *arg;
    struct arena *a;
    struct error *err;
};

static int no_memory(struct reader *x)
{
    return fail(x->err, EXHAUSTED, NULL, "tracing: out of memory");
}

/* OTEL_EXPORTER_OTLP_TRACES_<what>, else OTEL_EXPORTER_OTLP_<what>; empty = neither. */
static str otlp_env(const struct reader *x, const char *what, bool *ret_traces)
{
    static const char *const front[] = { "OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_" };
    for (size_t i = 0; i < COUNT(front); i++) {
        str part[] = { str_c(front[i]), str_c(what) };
        str name = arena_join(x->a, part, 2), value = name.p ? x->env(x->arg, name) : S("");
        if (ret_traces)
            *ret_traces = i == 0;
        if (str_trim(value).n)
            return str_trim(value);
    }
    return S("");
}

/* ---- headers and attributes: key=value ---- */

static str lower(struct arena *a, str s)
{
    char *p = arena_alloc(a, s.n + 1);
    for (size_t i = 0; p && i < s.n; i++)
        p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]);
    return str_of(p, p ? s.n : 0);
}

static int add_pair(struct reader *x, str pair, bool escaped, bool header, const char *where,
                    struct kvs *to)
{
    struct kv *kv = (struct kv *)to->v;
    str key, value;
    if (!str_trim(pair).n)
        return 0;
    if (!str_cut(pair, '=', &key, &value) || !str_trim(key).n) /* a header may be a secret */
        return fail(x->err, INVALID, NULL, "tracing: \"" STR_FMT "\" in %s is not key=value",
                    STR_ARG(header ? S("…") : str_take(pair, 60)), where);
    key = str_trim(key);
    value = str_trim(value);
    if (escaped && (uri_decode(x->a, value, URI_PATH, &value) < 0 ||
                    uri_decode(x->a, key, URI_PATH, &key) < 0))
        return fail(x->err, INVALID, NULL, "tracing: a broken %%-escape in %s", where);
    if (header && (!http_is_token(key) || !http_is_field_value(value)))
        return fail(x->err, INVALID, NULL, "tracing: %s has no header's name or value in it",
                    where);
    if (to->n == HEADERS_MAX)
        return fail(x->err, INVALID, NULL, "tracing: more than %d pairs in %s", HEADERS_MAX, where);
    kv[to->n++] = (struct kv){ header ? lower(x->a, key) : key, value };
    return kv[to->n - 1].key.p ? 0 : no_memory(x);
}

/* "k=v,k2=v2", percent-encoded, as OpenTelemetry's variables have it. */
static int env_pairs(struct reader *x, str text, bool header, const char *where, struct kvs *to)
{
    str item;
    int r = 0;
    for (str rest = text; r >= 0 && str_next(&rest, ',', &item);)
        r = add_pair(x, item, true, header, where, to);
    return r;
}

static int new_pairs(struct reader *x, struct kvs *ret)
{
    struct kv *kv = arena_alloc(x->a, HEADERS_MAX * sizeof *kv);
    *ret = (struct kvs){ kv, 0 };
    return kv ? 0 : no_memory(x);
}

/* Those of the file take the place of the environment's (facts 9.2). */
static int read_headers(struct reader *x, struct kvs *ret)
{
    int r = new_pairs(x, ret);
    for (size_t i = 0; i < x->c->otel_headers.n && r >= 0; i++)
        r = add_pair(x, x->c->otel_headers.v[i], false, true, "otel.headers", ret);
    if (r >= 0 && !x->c->otel_headers.n)
        r = env_pairs(x, otlp_env(x, "HEADERS", NULL), true, "OTEL_EXPORTER_OTLP_HEADERS", ret);
    return r;
}

/* ---- where to ---- */

static int set_address(struct reader *x, struct trace_target *t, str text, const char *where,
                       uint16_t port, str *ret_path)
{
    struct uri uri;
    str trimmed = str_trim(text);
    if (uri_parse(trimmed, &uri) < 0 || !uri.host.n)
        return fail(x->err, INVALID, NULL,
                    "tracing: %s \"" STR_FMT "\" is not an address like host:%u or http://host:%u",
                    where, STR_ARG(str_take(trimmed, 100)), port, port);
    if (uri.scheme.n && !str_ieq(uri.scheme, S("http")) && !str_ieq(uri.scheme, S("https")))
        return fail(x->err, INVALID, NULL,
                    "tracing: %s begins with " STR_FMT ":, not http: or https:", where,
                    STR_ARG(str_take(uri.scheme, 20)));
    if (uri.scheme.n)
        t->secure = str_ieq(uri.scheme, S("https"));
    str authority = arena_printf(x->a, uri.ipv6 ? "[" STR_FMT "]:%u" : STR_FMT ":%u",
                                 STR_ARG(uri.host), uri.port ? uri.port : port);
    t->host = arena_dup(x->a, uri.host);
    t->authority = authority;
    t->address = authority.p;
    *ret_path = uri.path;
    return authority.p && t->host.p ? 0 : no_memory(x);
}

static int add_zipkin(struct reader *x, struct tracing *ret)
{
    struct trace_target *t = &ret->target[ret->n_targets++];
    *t = (struct trace_target){ .protocol = TRACE_ZIPKIN, .timeout_ns = SEC(DEFAULT_TIMEOUT_S) };
    uint16_t port = str_istarts(str_trim(x->c->zipkin), S("https:")) ? 443 : 80;
    str path;
    int r = set_address(x, t, x->c->zipkin, "zipkin.endpointAddress", port, &path);
    t->path = path.n ? path : S("/api/v2/spans");
    return r;
}

static int read_timeout(struct reader *x, uint64_t *ret)
{
    uint64_t ms;
    str text = otlp_env(x, "TIMEOUT", NULL);
    *ret = x->c->otel_timeout_ns ? x->c->otel_timeout_ns : SEC(DEFAULT_TIMEOUT_S);
    if (x->c->otel_timeout_ns || !text.n)
        return 0;
    if (!str_to_u64(text, &ms) || !ms || ms > 3600000)
        return fail(x->err, INVALID, NULL,
                    "tracing: OTEL_EXPORTER_OTLP_TIMEOUT \"" STR_FMT
                    "\" is not a number of milliseconds (1 to 3600000)",
                    STR_ARG(str_take(text, 40)));
    *ret = MS(ms);
    return 0;
}

/* OTLP over HTTP: the general endpoint is a base, one for traces is the whole of it. */
static int otlp_path(struct reader *x, struct trace_target *t, str path, bool whole)
{
    str part[] = { str_ends(path, S("/")) ? str_take(path, path.n - 1) : path, S("/v1/traces") };
    if (t->protocol == TRACE_OTLP_GRPC)
        t->path = S("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    else if (part[0].n && (whole || str_ends(part[0], part[1])))
        t->path = arena_dup(x->a, path);
    else
        t->path = arena_join(x->a, part, 2);
    return t->path.p ? 0 : no_memory(x);
}

static int add_otlp(struct reader *x, str endpoint, str protocol, bool secure, bool whole,
                    const char *where, struct tracing *ret)
{
    struct trace_target *t = &ret->target[ret->n_targets++];
    bool http = str_istarts(protocol, S("http"));
    str path = S("");
    *t = (struct trace_target){ .protocol = http ? TRACE_OTLP_HTTP : TRACE_OTLP_GRPC,
                                .secure = secure,
                                .ca_file = otlp_env(x, "CERTIFICATE", NULL) };
    int r = set_address(x, t, endpoint, where, http ? 4318 : 4317, &path);
    if (r >= 0)
        r = otlp_path(x, t, path, whole);
    if (r >= 0)
        r = read_timeout(x, &t->timeout_ns);
    return r < 0 ? r : read_headers(x, &t->headers);
}

static int read_targets(struct reader *x, struct tracing *ret)
{
    int r = x->c->zipkin.n ? add_zipkin(x, ret) : 0;
    if (r < 0)
        return r;
    if (x->c->otel_endpoint.n)
        return add_otlp(x, x->c->otel_endpoint, x->c->otel_protocol, x->c->otel_secure, false,
                        "otel.endpointAddress", ret);
    bool traces;
    str endpoint = otlp_env(x, "ENDPOINT", &traces);
    if (!endpoint.n)
        return 0;
    if (!x->c->rate_text.n)
        ret->rate = 1; /* surprise 59 */
    bool insecure;
    str said = otlp_env(x, "INSECURE", NULL);
    if (!str_to_bool(said, &insecure))
        insecure = false;
    return add_otlp(x, endpoint, otlp_env(x, "PROTOCOL", NULL), !insecure, traces,
                    "OTEL_EXPORTER_OTLP_ENDPOINT", ret);
}

/* ---- who we are ---- */

static int read_resource(struct reader *x, str app_id, struct trace_resource *ret)
{
    struct kvs pairs;
    int r = new_pairs(x, &pairs);
    if (r >= 0)
        r = env_pairs(x, x->env(x->arg, S("OTEL_RESOURCE_ATTRIBUTES")), false,
                      "OTEL_RESOURCE_ATTRIBUTES", &pairs);
    struct trace_attribute *attribute =
        r < 0 ? NULL : arena_alloc(x->a, (pairs.n + 1) * sizeof *attribute);
    if (!attribute)
        return r < 0 ? r : no_memory(x);
    str said = str_trim(x->env(x->arg, S("OTEL_SERVICE_NAME")));
    *ret = (struct trace_resource){ .service = app_id, .attribute = attribute };
    for (size_t i = 0; i < pairs.n; i++)
        if (str_eq(pairs.v[i].key, S("service.name")))
            ret->service = pairs.v[i].value;
        else
            attribute[ret->n++] = (struct trace_attribute){ pairs.v[i].key, pairs.v[i].value };
    if (said.n)
        ret->service = said;
    return 0;
}

int tracing_read(const struct config_tracing *c, str app_id, tracing_getenv *env, void *arg,
                 struct arena *a, struct tracing *ret, struct error *err)
{
    struct reader x = { c, env, arg, a, err };
    *ret = (struct tracing){ .rate = c->rate, .to_stdout = c->to_stdout };
    int r = read_targets(&x, ret);
    if (r >= 0)
        r = read_resource(&x, app_id, &ret->resource);
    bool asked = ret->n_targets || ret->to_stdout || c->rate_text.n;
    ret->on = asked && ret->rate > 0;
    return r;
}
