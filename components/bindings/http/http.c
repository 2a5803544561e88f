/* http.c — bindings.http: an output binding that calls an HTTP endpoint.
 * Owner:  the instance holds one pooled client; results go into the caller's arena.
 * Thread: any worker.   Limits: maxResponseBodySize, REDIRECTS_MAX redirects, responseTimeout.
 * Failure: a status that isn't 2xx is -UNKNOWN with *ret filled, unless errorIfNot2XX is off: the
 * contract shows the answer's metadata beside the error. No connection: -UNAVAILABLE. */
#include "base/buf.h"
#include "component/kinds.h"
#include "http/schemes.h"
#include "loop/worker.h"
#include "pem.h"
#include "url.h"

enum { REDIRECTS_MAX = 10, STATUS_TEXT_MAX = 64 };

struct http_binding {
    const char *url;
    bool error_if_not_2xx;
    int64_t timeout_ns, max_body;
    const char *token, *token_header;
    const char *root_ca, *client_cert, *client_key, *renegotiation;
    struct arena pem; /* what those three hold, or lead to */
    struct http_schemes *clients;
};

/* One invocation, redirects included. */
struct invocation {
    struct http_binding *b;
    struct arena *a;
    struct kvs metadata;
    str method, body;
    bool has_body;
    struct binding_url url;
    bool other_host; /* a redirect has led away: no secrets go there */
    struct error *err;
};

static int out_of_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the call does not fit into the request's memory");
}

/* ---- the request ---- */

static const struct {
    const char *operation, *method;
    bool body;
} verbs[] = {
    { "create", "POST", true },    { "get", "GET", false },         { "head", "HEAD", false },
    { "post", "POST", true },      { "put", "PUT", true },          { "patch", "PATCH", true },
    { "delete", "DELETE", false }, { "options", "OPTIONS", false }, { "trace", "TRACE", false },
};

static int choose_verb(struct invocation *i, str operation, str data)
{
    for (size_t k = 0; k < COUNT(verbs); k++) {
        if (!str_ieq(str_c(verbs[k].operation), operation))
            continue;
        i->method = str_c(verbs[k].method);
        i->has_body = verbs[k].body;
        i->body = verbs[k].body ? data : S("");
        return 0;
    }
    return fail(i->err, INVALID, NULL,
                "invalid operation: " STR_FMT ": use the name of an HTTP method in lower case",
                STR_ARG(operation));
}

/* Metadata with exactly this key: unlike kvs_get(), since letter case tells headers apart. */
static str exact(struct kvs kvs, str key)
{
    for (size_t i = 0; i < kvs.n; i++)
        if (str_eq(kvs.v[i].key, key))
            return kvs.v[i].value;
    return (str){ 0 };
}

static bool is_header_key(str key)
{
    return key.n && key.p[0] >= 'A' && key.p[0] <= 'Z';
}

/* What frames the message is ours to say. */
static bool is_framing(str name)
{
    static const char *const framing[] = { "Host", "Content-Length", "Transfer-Encoding", "Trailer",
                                           "Expect" };
    for (size_t i = 0; i < COUNT(framing); i++)
        if (str_ieq(name, str_c(framing[i])))
            return true;
    return false;
}

static bool is_secret(str name)
{
    return str_ieq(name, S("Authorization")) || str_ieq(name, S("Cookie")) ||
           str_ieq(name, S("Www-Authenticate"));
}

static int set_header(struct invocation *i, struct http_headers *h, str name, str value)
{
    if (!http_is_token(name) || !http_is_field_value(value))
        return fail(i->err, INVALID, NULL,
                    "metadata '" STR_FMT "' can't be a header: its name or value has characters "
                    "that HTTP doesn't allow",
                    STR_ARG(str_take(name, 64)));
    return http_headers_set(h, name, value) ? out_of_memory(i->err) : 0;
}

static int add_defaults(struct invocation *i, struct http_headers *h)
{
    static const char json[] = "application/json; charset=utf-8";
    const struct http_binding *b = i->b;
    int r = set_header(i, h, S("Accept"), str_c(json));
    if (!r && i->has_body)
        r = set_header(i, h, S("Content-Type"), str_c(json));
    if (!r && i->url.basic.n && !i->other_host)
        r = set_header(i, h, S("Authorization"), i->url.basic);
    if (!r && *b->token && *b->token_header && !i->other_host)
        r = set_header(i, h, str_c(b->token_header), str_c(b->token));
    return r;
}

static int add_metadata(struct invocation *i, struct http_headers *h)
{
    static const char *const trace[] = { "traceparent", "tracestate", "baggage" };
    for (size_t k = 0; k < i->metadata.n; k++) {
        struct kv kv = i->metadata.v[k];
        if (!is_header_key(kv.key) || is_framing(kv.key) || (i->other_host && is_secret(kv.key)))
            continue;
        int r = set_header(i, h, kv.key, kv.value);
        if (r)
            return r;
    }
    for (size_t k = 0; k < COUNT(trace); k++) { /* last: the runtime's own context wins */
        str value = exact(i->metadata, str_c(trace[k]));
        int r = value.n ? set_header(i, h, str_c(trace[k]), value) : 0;
        if (r)
            return r;
    }
    http_headers_strip_hop(h);
    return 0;
}

static int make_request(struct invocation *i, struct http_request *ret)
{
    *ret = (struct http_request){
        .method = i->method,
        .target = i->url.target,
        .authority = i->url.authority,
        .content_length = (int64_t)i->body.n,
    };
    (void)str_cut(ret->target, '?', &ret->path, &ret->query);
    http_headers_init(&ret->headers, i->a);
    int r = add_defaults(i, &ret->headers);
    return r ? r : add_metadata(i, &ret->headers);
}

/* ---- the answer ---- */

/* "content-type" as "Content-Type", whichever way the peer wrote it. */
static str canonical(struct arena *a, str name)
{
    char *p = arena_cstr(a, name);
    bool start = true;
    for (size_t i = 0; p && i < name.n; i++) {
        if (start && p[i] >= 'a' && p[i] <= 'z')
            p[i] = (char)(p[i] - 32);
        else if (!start && p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] + 32);
        start = p[i] == '-';
    }
    return (str){ p, p ? name.n : 0 };
}

/* Several fields of one name become one, with ", " between. */
static int add_field(struct arena *a, struct kv *v, size_t *n, const struct http_header *h)
{
    str name = canonical(a, h->name);
    if (!name.p)
        return -EXHAUSTED;
    for (size_t i = 0; i < *n; i++) {
        if (!str_eq(v[i].key, name))
            continue;
        str part[] = { v[i].value, S(", "), h->value };
        v[i].value = arena_join(a, part, COUNT(part));
        return v[i].value.p ? 0 : -EXHAUSTED;
    }
    v[*n] = (struct kv){ name, arena_dup(a, h->value) };
    return v[(*n)++].value.p ? 0 : -EXHAUSTED;
}

static int fill_metadata(struct invocation *i, const struct http_response *res,
                         struct binding_result *ret)
{
    struct kv *v = arena_alloc(i->a, (res->headers.n + 2) * sizeof *v);
    if (!v)
        return out_of_memory(i->err);
    size_t n = 2;
    v[0] = (struct kv){ S("statusCode"), arena_printf(i->a, "%d", res->status) };
    v[1] = (struct kv){ S("status"),
                        arena_printf(i->a, "%d %s", res->status, http_reason(res->status)) };
    if (!v[0].value.p || !v[1].value.p)
        return out_of_memory(i->err);
    for (size_t k = 0; k < res->headers.n; k++)
        if (add_field(i->a, v, &n, &res->headers.v[k]))
            return out_of_memory(i->err);
    ret->metadata = (struct kvs){ v, n };
    return 0;
}

CO static int read_body(struct invocation *i, struct http_call *call, str *ret)
{
    AUTO(buf_done) struct buf body;
    size_t max = i->b->max_body > 0 ? (size_t)i->b->max_body : SIZE_MAX / 2;
    buf_init(&body, max);
    str chunk;
    int r;
    while ((r = http_call_read(call, &chunk)) > 0) {
        buf_put(&body, chunk);
        if (!buf_ok(&body))
            return fail(i->err, EXHAUSTED, NULL,
                        "the response is larger than %zu bytes: raise maxResponseBodySize", max);
    }
    if (r < 0)
        return fail(i->err, (enum code) - r, NULL, "the response broke off: %s",
                    code_name((enum code) - r));
    *ret = arena_dup(i->a, buf_str(&body));
    return ret->p ? 0 : out_of_memory(i->err);
}

/* ---- redirects, by the rules that the contract's client follows ---- */

static bool same_host(const struct binding_url *a, const struct binding_url *b)
{
    return strcmp(a->address, b->address) == 0 && a->tls == b->tls;
}

/* 0: no redirect; 1: the invocation is changed to go on; -CODE. */
static int redirect(struct invocation *i, const struct http_response *res)
{
    int status = res->status;
    bool changes = status == 301 || status == 302 || status == 303;
    str location = http_headers_get(&res->headers, S("Location"));
    if ((!changes && status != 307 && status != 308) || !location.n)
        return 0;
    struct binding_url to;
    int r = binding_url_follow(i->a, &i->url, location, &to, i->err);
    if (r)
        return r;
    i->other_host = i->other_host || !same_host(&i->url, &to);
    i->url = to;
    if (changes && !str_eq(i->method, S("GET")) && !str_eq(i->method, S("HEAD"))) {
        i->method = S("GET");
        i->body = S("");
        i->has_body = false;
    }
    return 1;
}

CO static int send(struct invocation *i, struct http_call **ret,
                   const struct http_response **ret_res)
{
    struct http_request req;
    struct error local = { 0 };
    struct error *err = i->err ? i->err : &local;
    int r = make_request(i, &req);
    if (r)
        return r;
    struct http_client *client = http_schemes_get(i->b->clients, i->url.tls, err);
    if (!client)
        return -(int)err->code;
    r = http_call_start(client, i->url.address, &req, i->body, true, ret, err);
    return r ? r : http_call_response(*ret, ret_res, err);
}

/* 1: go on with a redirect. */
CO static int call_once(struct invocation *i, bool may_redirect, struct binding_result *ret,
                        int *ret_status)
{
    AUTO(http_call_freep) struct http_call *call = NULL;
    const struct http_response *res;
    int r = send(i, &call, &res);
    if (r)
        return fail(i->err, (enum code) - r, NULL, "%s: %s", i->url.address,
                    code_name((enum code) - r));
    r = redirect(i, res);
    if (r < 0)
        return r;
    if (r > 0)
        return may_redirect
                   ? 1
                   : fail(i->err, UNKNOWN, NULL, "stopped after %d redirects", REDIRECTS_MAX);
    struct binding_result result = { 0 };
    r = fill_metadata(i, res, &result);
    if (!r)
        r = read_body(i, call, &result.data);
    if (r)
        return r;
    *ret = result;
    *ret_status = res->status;
    return 0;
}

/* ---- the component ---- */

static bool wants_error(const struct http_binding *b, struct kvs metadata)
{
    str text = exact(metadata, S("errorIfNot2XX"));
    return text.n ? str_truthy(text) : b->error_if_not_2xx;
}

CO static int http_invoke(void *self, str operation, str data, struct kvs metadata, struct arena *a,
                          struct binding_result *ret, struct error *err)
{
    struct http_binding *b = self;
    struct invocation i = { .b = b, .a = a, .metadata = metadata, .err = err };
    int r = choose_verb(&i, operation, data);
    if (!r)
        r = binding_url_make(a, str_c(b->url), exact(metadata, S("path")), &i.url, err);
    if (r)
        return r;
    DEADLINE((uint64_t)b->timeout_ns);
    int status = 0;
    for (int n = 0; (r = call_once(&i, n < REDIRECTS_MAX, ret, &status)) > 0; n++) {}
    if (!r && status / 100 != 2 && wants_error(b, metadata))
        return fail(err, UNKNOWN, NULL, "received status code %d", status);
    return r;
}

/* The texts live as long as the binding: clients are made when they're needed. */
CO static int tls_options(struct http_binding *b, struct tls_options *ret, struct error *err)
{
    struct {
        const char *name, *value;
        str *to;
    } pem[] = {
        { "MTLSRootCA", b->root_ca, &ret->ca },
        { "MTLSClientCert", b->client_cert, &ret->certificate },
        { "MTLSClientKey", b->client_key, &ret->key },
    };
    int r = 0;
    for (size_t i = 0; i < COUNT(pem) && !r; i++)
        r = binding_pem(&b->pem, pem[i].name, pem[i].value, pem[i].to, err);
    if (!r && !tls_renegotiation_parse(str_c(b->renegotiation), &ret->renegotiation))
        r = fail(err, INVALID, NULL,
                 "MTLSRenegotiation '%s' is none of RenegotiateNever, RenegotiateOnceAsClient, "
                 "RenegotiateFreelyAsClient",
                 b->renegotiation);
    return r;
}

static int check_url(const struct http_binding *b, bool *ret_tls, struct error *err)
{
    struct arena a;
    struct binding_url url;
    arena_init(&a, KIB(64));
    int r = binding_url_make(&a, str_c(b->url), S(""), &url, err);
    *ret_tls = !r && url.tls;
    arena_done(&a);
    return r;
}

CO static int http_open(void *self, const struct component_env *env, struct error *err)
{
    struct http_binding *b = self;
    struct http_schemes_config config = { .client.dial_timeout_ns = SEC(15) };
    arena_init(&b->pem, MIB(4));
    if (b->timeout_ns <= 0)
        return fail(err, INVALID, NULL, "responseTimeout must be more than 0");
    int r = check_url(b, &config.secure, err);
    if (!r)
        r = tls_options(b, &config.tls, err);
    config.secure = config.secure || config.tls.ca.n || config.tls.certificate.n;
    return r ? r : http_schemes_new(&config, &b->clients, err);
}

static void free_clients(void *arg)
{
    http_schemes_free(arg);
}

CO static void http_close(void *self)
{
    struct http_binding *b = self;
    SHIELD();
    while (b->clients && blocking(free_clients, b->clients)) /* waits for all workers: not on one */
        (void)fiber_sleep(MS(10));
    b->clients = NULL;
    arena_done(&b->pem);
}

static const char *const http_operations[] = {
    "create", "get", "head", "post", "put", "patch", "delete", "options", "trace", NULL,
};

static const struct cfg_field http_fields[] = {
    { .name = "url",
      .kind = CFG_STR,
      .off = offsetof(struct http_binding, url),
      .flags = CFG_REQUIRED,
      .doc =
          "the endpoint, https://host:port/path; the metadata 'path' of a call is put behind it" },
    { .name = "errorIfNot2XX",
      .kind = CFG_BOOL,
      .off = offsetof(struct http_binding, error_if_not_2xx),
      .def = "true",
      .doc = "whether a status other than 2xx is an error; metadata of a call may say otherwise" },
    { .name = "responseTimeout",
      .kind = CFG_DURATION,
      .off = offsetof(struct http_binding, timeout_ns),
      .def = "5m",
      .doc = "limit of one call, redirects included" },
    { .name = "maxResponseBodySize",
      .kind = CFG_SIZE,
      .off = offsetof(struct http_binding, max_body),
      .def = "100Mi",
      .doc = "largest response; 0 = whatever fits into the request's memory" },
    { .name = "securityToken",
      .kind = CFG_STR,
      .off = offsetof(struct http_binding, token),
      .flags = CFG_SECRET,
      .doc = "sent with each call in the header securityTokenHeader" },
    { .name = "securityTokenHeader",
      .kind = CFG_STR,
      .off = offsetof(struct http_binding, token_header),
      .doc = "name of the header for securityToken" },
    { .name = "MTLSRootCA",
      .kind = CFG_STR,
      .off = offsetof(struct http_binding, root_ca),
      .flags = CFG_SECRET,
      .doc = "PEM, or a file with it: what the server's certificate must lead to; default: the "
             "system's" },
    { .name = "MTLSClientCert",
      .kind = CFG_STR,
      .off = offsetof(struct http_binding, client_cert),
      .flags = CFG_SECRET,
      .doc = "PEM, or a file with it: our certificate, with MTLSClientKey" },
    { .name = "MTLSClientKey",
      .kind = CFG_STR,
      .off = offsetof(struct http_binding, client_key),
      .flags = CFG_SECRET,
      .doc = "PEM, or a file with it: the key of MTLSClientCert" },
    { .name = "MTLSRenegotiation",
      .kind = CFG_STR,
      .off = offsetof(struct http_binding, renegotiation),
      .doc = "TLS 1.2: RenegotiateNever (default), RenegotiateOnceAsClient or "
             "RenegotiateFreelyAsClient" },
};

const struct binding_ops bindings_http = {
    .t = {
        .kind = "bindings",
        .type = "bindings.http",
        .version = "v1",
        .doc = "calls an HTTP endpoint",
        .size = sizeof(struct http_binding),
        .fields = http_fields,
        .n_fields = COUNT(http_fields),
        .open = http_open,
        .close = http_close,
    },
    .operations = http_operations,
    .invoke = http_invoke,
};
