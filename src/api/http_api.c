#include "api/api.h"

#include "api/access.h"
#include "api/cors.h"
#include "api/request.h"
#include "api/routes.h"
#include "api/trace_http.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "block/call/invoke.h"
#include "block/core/pipeline.h"
#include "component/config.h"
#include "component/resource.h"
#include "format/uri.h"
#include "telemetry/http_labels.h"
#include "telemetry/metrics.h"

#include <stdio.h>

struct api {
    struct api_config config;
    bool has_rules; /* api.allowed or api.denied */
};

static struct metric_family server_count = {
    .name = "dapr_http_server_request_count",
    .help = "Requests to the HTTP API.",
    .label = { "method", "path", "status" },
};
static struct metric_family server_responses = {
    .name = "dapr_http_server_response_count",
    .help = "Answers of the HTTP API.",
    .label = { "method", "path", "status" },
};
static struct metric_family server_latency = {
    .name = "dapr_http_server_latency",
    .help = "Time of a request to the HTTP API, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "method", "path", "status" },
};
static struct metric_family request_bytes = {
    .name = "dapr_http_server_request_bytes",
    .help = "Size of request bodies.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
};
static struct metric_family response_bytes = {
    .name = "dapr_http_server_response_bytes",
    .help = "Size of answers' bodies.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
};

int api_new(const struct api_config *config, struct api **ret, struct error *err)
{
    struct api *a = mem_zalloc(sizeof *a);
    if (!a)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    a->config = *config;
    const struct configuration *c = &config->blocks->resources->config;
    a->has_rules = c->api_allowed.n || c->api_denied.n;
    error_counting(c->metrics.record_error_codes == TRI_YES);
    *ret = a;
    return 0;
}

void api_free(struct api *a)
{
    mem_free(a);
}

struct blocks *api_blocks(struct api *a)
{
    return a->config.blocks;
}

const struct api_config *api_config_of(const struct api *a)
{
    return &a->config;
}

/* ---- the path ---- */

/* Go's path.Clean on the escaped path; most paths are clean already. */
static int clean(struct http_exchange *x, str *ret)
{
    str p = x->req.path;
    bool suspicious = !p.n || p.p[0] != '/';
    for (size_t i = 1; i < p.n && !suspicious; i++)
        suspicious = p.p[i - 1] == '/' && (p.p[i] == '/' || p.p[i] == '.');
    if (!suspicious) {
        *ret = p.n > 1 && p.p[p.n - 1] == '/' && !str_starts(p, S("/v1.0/publish"))
                   ? str_take(p, p.n - 1)
                   : p;
        return 0;
    }
    return uri_clean(x->arena, p.n ? p : S("/"), ret);
}

/* Path parameters are unescaped by the rules of queries: '+' is a space (surprise 3). */
static int unescape(struct request *r)
{
    for (size_t i = 0; i < PATH_PARTS; i++)
        if (r->part[i].n &&
            (str_find_c(r->part[i], '%') >= 0 || str_find_c(r->part[i], '+') >= 0) &&
            uri_decode(r->a, r->part[i], URI_QUERY, &r->part[i]) < 0)
            return -INVALID;
    return 0;
}

/* ---- who may call what ---- */

CO static bool authorized(struct request *r, const struct route *route)
{
    if (!r->config->token || (route && route->open))
        return true;
    str token = http_headers_get(&r->x->req.headers, S("dapr-api-token"));
    if (!access_same_secret(token, str_c(r->config->token))) {
        reply_text(r, 401, S("invalid api token"));
        return false;
    }
    http_headers_remove(&r->x->req.headers, S("dapr-api-token"));
    return true;
}

static bool rule_names(const struct config_api_rule *rule, const struct route *route)
{
    if (!str_ieq(rule->protocol, S("http")))
        return false; /* an empty protocol applies to nothing (surprise 12) */
    str version = rule->version, group = str_c(route->group);
    if (str_eq(rule->name, group) && str_eq(version, str_c(route->version)))
        return true;
    /* legacy: a prefix of "<apiVersion>/<route>" */
    str path = str_skip(str_c(route->pattern), 1);
    return str_starts(path, version) && str_starts(str_skip(path, version.n), S("/")) &&
           str_starts(str_skip(path, version.n + 1), rule->name);
}

/* A refused endpoint is as if it weren't there: the request goes to the fallback. */
static bool available(const struct api *a, const struct route *route)
{
    if (!a->has_rules || route->open)
        return true;
    const struct configuration *c = &a->config.blocks->resources->config;
    for (size_t i = 0; i < c->api_denied.n; i++)
        if (rule_names(&c->api_denied.v[i], route))
            return false;
    bool any = false;
    for (size_t i = 0; i < c->api_allowed.n; i++) {
        any = any || str_ieq(c->api_allowed.v[i].protocol, S("http"));
        if (rule_names(&c->api_allowed.v[i], route))
            return true;
    }
    return !any;
}

/* ---- measuring ---- */

/* State and secret paths lose the key (surprise 60); what callers may vary is bounded by the
 * family's cap. */
static str path_label(const struct request *r, const struct route *route)
{
    return http_path_label(r->path, route && (str_eq(str_c(route->group), S("state")) ||
                                              str_eq(str_c(route->group), S("secrets"))));
}

static void measure(const struct request *r, const struct route *route, uint64_t start)
{
    static struct metric_cell *_Atomic sizes[2]; /* without labels: the same two cells for ever */
    struct http_exchange *x = r->x;
    char status[3];
    str label[] = { http_method_label(x->req.method), path_label(r, route),
                    http_status_text(x->status ? x->status : 499, status) };
    uint64_t hash = metric_hash(label, COUNT(label));
    metric_add(metric_cell_hashed(&server_count, label, hash), 1);
    if (http_labels_increased())
        metric_add(metric_cell_hashed(&server_responses, label, hash), 1);
    metric_observe(&server_latency, metric_cell_hashed(&server_latency, label, hash),
                   (double)(clock_now_ns() - start) / 1e6);
    if (UNLIKELY(!sizes[1])) {
        sizes[0] = metric_cell(&request_bytes, NULL);
        sizes[1] = metric_cell(&response_bytes, NULL);
    }
    metric_observe(&request_bytes, sizes[0], (double)x->bytes_in);
    metric_observe(&response_bytes, sizes[1], (double)x->bytes_out);
}

static void log_request(const struct request *r, const struct route *route, uint64_t start)
{
    const struct configuration *c = &r->b->resources->config;
    bool health = route && route->open;
    if (!r->config->log_requests || (health && c->log_omit_health_checks == TRI_YES))
        return;
    char method[512], code[16], took[32], size[32];
    bool obfuscate = c->log_obfuscate_urls == TRI_YES;
    if (obfuscate && r->callee.n) /* by a header too: its path is the app's */
        snprintf(method, sizeof method, "InvokeService/" STR_FMT,
                 STR_ARG(str_take(r->callee, 200)));
    else if (obfuscate)
        snprintf(method, sizeof method, "%s", route ? route->name : "InvokeService");
    else
        snprintf(method, sizeof method, STR_FMT " " STR_FMT, STR_ARG(r->x->req.method),
                 STR_ARG(str_take(r->path, 400)));
    char agent[200];
    snprintf(agent, sizeof agent, STR_FMT,
             STR_ARG(str_take(http_headers_get(&r->x->req.headers, S("User-Agent")), 190)));
    snprintf(code, sizeof code, "%d", r->x->status);
    snprintf(took, sizeof took, "%llu", (unsigned long long)((clock_now_ns() - start) / MS(1)));
    snprintf(size, sizeof size, "%llu", (unsigned long long)r->x->bytes_out);
    const char *fields[] = { "method", method, "useragent", agent, "code", code,
                             "size",   size,   "duration",  took,  NULL };
    log_fields(LOG_INFO, "dapr.runtime.http-info", fields, "HTTP API Called");
}

/* ---- the way of a request ---- */

struct dispatch {
    struct request *r;
    const struct route *route;
    str path; /* as it came: a middleware may have changed it */
};

/* What the path stands for now; NULL = the fallback. */
static const struct route *find_route(struct request *r)
{
    const struct route *route = route_find(r->x->req.method, r->path, r->part);
    return route && available(r->api, route) ? route : NULL;
}

/* The end of httpPipeline. */
CO static void dispatch(void *arg, struct http_exchange *x)
{
    struct dispatch *d = arg;
    d->r->x = x;
    if (!str_eq(x->req.path, d->path)) {
        if (clean(x, &d->r->path) < 0) {
            reply_text(d->r, 400, S("the path is too long"));
            return;
        }
        d->route = find_route(d->r);
    }
    if (d->route && unescape(d->r) < 0)
        reply_text(d->r, 400, S("invalid escape in the path"));
    else if (d->route)
        d->route->handle(d->r);
    else
        fallback_route(d->r);
}

static void read_trace(struct request *r)
{
    trace_read(&r->trace, http_headers_get(&r->x->req.headers, S("traceparent")),
               http_headers_get(&r->x->req.headers, S("tracestate")));
}

static bool begin(struct request *r, struct api *a, struct http_exchange *x)
{
    *r = (struct request){
        .api = a,
        .config = &a->config,
        .b = a->config.blocks,
        .x = x,
        .a = x->arena,
    };
    return clean(x, &r->path) >= 0;
}

CO void api_handle(void *api, struct http_exchange *x)
{
    uint64_t start = clock_now_ns();
    struct request r;
    if (!begin(&r, api, x)) {
        reply_text(&r, 400, S("the path is too long"));
        return;
    }
    read_trace(&r);
    PINNED(r.b);
    struct dispatch d = { &r, find_route(&r), x->req.path };
    struct span span;
    if (trace_http_begin(&r, &span) && !cors_handle(r.config->allowed_origins, &r.x) &&
        authorized(&r, d.route))
        pipeline_run(catalog_pipeline(r.b, PIPELINE_HTTP), r.x, dispatch, &d);
    r.x = x;
    measure(&r, d.route, start);
    log_request(&r, d.route, start);
    trace_http_end(&r, d.route, &span);
}

CO void api_handle_public(void *api, struct http_exchange *x)
{
    struct request r;
    const struct route *route = NULL;
    if (begin(&r, api, x))
        route = route_find(x->req.method, r.path, r.part);
    if (route && (route->open || route->handle == metadata_get_route))
        route->handle(&r);
    else
        reply_text(&r, 404, S("404 page not found\n"));
}
