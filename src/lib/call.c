#include "api/api.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/uri.h"
#include "http/memory.h"
#include "lib/private.h"
#include "loop/worker.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MAX = 64 << 20, ARENA_MAX = 128 << 20 };

void proa_result_free(struct proa_result *r)
{
    mem_free(r->data);
    r->data = NULL;
}

static int fail_result(struct proa_result *res, int code, const char *text)
{
    res->code = code;
    snprintf(res->error, sizeof res->error, "%.250s", text);
    if (!res->data)
        res->data = mem_dup("", 0);
    return code;
}

static void put_text(char *to, size_t size, str s)
{
    snprintf(to, size, STR_FMT, STR_ARG(str_take(s, size - 1)));
}

static int take_answer(struct proa_result *res, int status, const struct http_headers *h, str body)
{
    res->status = status;
    put_text(res->content_type, sizeof res->content_type, http_headers_get(h, S("Content-Type")));
    put_text(res->etag, sizeof res->etag, http_headers_get(h, S("Etag")));
    res->data = mem_dup(body.p, body.n);
    res->len = body.n;
    return res->data ? 0 : -EXHAUSTED;
}

/* ---- the two ways to the API ---- */

CO static int call_sidecar(struct proa *p, const struct http_request *req, str body,
                           struct proa_result *res, struct error *err)
{
    AUTO(http_call_freep) struct http_call *c = NULL;
    const struct http_response *response;
    str answer;
    int r = http_call_start(p->client, p->sidecar, req, body, true, &c, err);
    if (r >= 0)
        r = http_call_response(c, &response, err);
    if (r >= 0 && (r = http_call_read_all(c, ANSWER_MAX, &answer)) < 0)
        return fail(err, (enum code) - r, NULL, "the sidecar's answer broke off");
    return r < 0 ? r : take_answer(res, response->status, &response->headers, answer);
}

CO static int call_inside(struct proa *p, struct http_request *req, str body, struct arena *a,
                          struct proa_result *res, struct error *err)
{
    struct http_memory m;
    (void)str_cut(req->target, '?', &req->path, &req->query);
    http_memory_init(&m, req, body, a, ANSWER_MAX);
    m.x.peer = "127.0.0.1:0";
    api_handle(runtime_api(p->runtime), &m.x);
    int r = m.too_large ? -RANGE : !m.x.ended || m.aborted ? -UNAVAILABLE : 0;
    if (r >= 0)
        r = take_answer(res, m.x.status, &m.reply_headers, buf_str(&m.reply));
    http_memory_done(&m);
    return r < 0 ? fail(err, (enum code) - r, NULL, "the call gave no whole answer") : 0;
}

CO int api_call(struct proa *p, const struct api_request *q, struct proa_result *res)
{
    *res = (struct proa_result){ 0 };
    if (!fiber_self())
        return fail_result(res, -PRECONDITION,
                           "calls are for handlers: use proa_on_start() or proa_spawn()");
    struct arena a;
    arena_init(&a, ARENA_MAX);
    struct http_request req = {
        .method = str_c(q->verb),
        .target = q->path,
        .authority = str_c(p->sidecar),
        .content_length = (int64_t)q->body.n,
    };
    http_headers_init(&req.headers, &a);
    int r =
        q->content_type.n ? http_headers_add(&req.headers, S("Content-Type"), q->content_type) : 0;
    for (size_t i = 0; i < q->n_headers && r >= 0; i++)
        r = http_headers_add(&req.headers, q->headers[i].name, q->headers[i].value);
    const char *token = getenv("DAPR_API_TOKEN");
    if (r >= 0 && token && token[0])
        r = http_headers_add(&req.headers, S("dapr-api-token"), str_c(token));
    struct error err = { 0 };
    DEADLINE(p->timeout_ns);
    if (r >= 0)
        r = p->runtime ? call_inside(p, &req, q->body, &a, res, &err)
                       : call_sidecar(p, &req, q->body, res, &err);
    arena_done(&a);
    if (r < 0)
        return fail_result(res, r,
                           err.code          ? err.text
                           : r == -EXHAUSTED ? "out of memory"
                                             : "the call failed");
    return 0;
}

/* ---- answers to codes ---- */

/* The API's own error body has a message; an app's may say anything. */
static int judge(struct proa_result *res)
{
    if (res->status < 300)
        return 0;
    struct json root;
    struct arena a;
    arena_init(&a, MIB(1));
    str text = S("");
    if (json_parse(str_of(res->data, res->len), &root, NULL) < 0 ||
        json_string_or(&a, json_get(root, S("message")), S(""), &text) < 0 || !text.n)
        text = str_take(str_of(res->data, res->len), 200);
    snprintf(res->error, sizeof res->error, "status %d: " STR_FMT, res->status,
             STR_ARG(str_take(text, 230)));
    arena_done(&a);
    enum code code = res->status == 409   ? ABORTED
                     : res->status == 400 ? INVALID
                                          : code_of_http_status(res->status);
    res->code = -(int)code;
    return res->code;
}

CO static int run(struct proa *p, const struct api_request *q, struct proa_result *res,
                  struct buf *path, struct buf *body)
{
    int r;
    if (!buf_ok(path) || (body && !buf_ok(body))) {
        *res = (struct proa_result){ 0 };
        r = fail_result(res, -EXHAUSTED, "the request is too large");
    } else
        r = api_call(p, q, res);
    buf_done(path);
    if (body)
        buf_done(body);
    return r < 0 ? r : judge(res);
}

/* "/v1.0/<kind>/<escaped name>" */
static void begin_path(struct buf *path, const char *kind, const char *name)
{
    buf_init(path, KIB(64));
    buf_printf(path, "/v1.0/%s/", kind);
    uri_encode(path, str_c(name), URI_PATH);
}

/* A path from a handler, as far as a request line needs it: what is escaped already stays. */
static void put_path(struct buf *path, const char *text, bool query)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c > ' ' && *c < 0x7f && *c != '#' && (query || *c != '?')) {
            buf_putc(path, (char)*c);
            continue;
        }
        buf_putc(path, '%');
        buf_putc(path, hex[*c >> 4]);
        buf_putc(path, hex[*c & 15]);
    }
}

int proa_invoke(struct proa *p, const char *app_id, const char *method, const char *verb,
                const char *data, size_t len, struct proa_result *res)
{
    struct buf path;
    begin_path(&path, "invoke", app_id);
    buf_put(&path, S("/method/"));
    put_path(&path, method, true);
    struct api_request q = {
        .verb = verb,
        .path = buf_str(&path),
        .content_type = data ? S("application/json") : S(""),
        .body = str_of(data ? data : "", len),
    };
    return run(p, &q, res, &path, NULL);
}

int proa_state_get(struct proa *p, const char *store, const char *key, struct proa_result *res)
{
    struct buf path;
    begin_path(&path, "state", store);
    buf_putc(&path, '/');
    uri_encode(&path, str_c(key), URI_QUERY);
    struct api_request q = { .verb = "GET", .path = buf_str(&path) };
    int r = run(p, &q, res, &path, NULL);
    if (r >= 0 && res->status == 204)
        return fail_result(res, -NOT_FOUND, "the key isn't there");
    return r;
}

static void put_write(struct json_w *w, const struct proa_write *x, int ttl_s)
{
    json_w_object(w);
    json_w_kv(w, S("key"), str_c(x->key));
    if (x->json) {
        json_w_key(w, S("value"));
        json_w_raw(w, str_of(x->json, x->len));
    }
    if (x->etag) {
        if (x->etag[0])
            json_w_kv(w, S("etag"), str_c(x->etag));
        json_w_key(w, S("options"));
        json_w_object(w);
        json_w_kv(w, S("concurrency"), S("first-write"));
        json_w_object_end(w);
    }
    if (ttl_s > 0) {
        char text[16];
        int n = snprintf(text, sizeof text, "%d", ttl_s);
        json_w_key(w, S("metadata"));
        json_w_object(w);
        json_w_kv(w, S("ttlInSeconds"), str_of(text, (size_t)n));
        json_w_object_end(w);
    }
    json_w_object_end(w);
}

static bool json_valid(const char *json, size_t len)
{
    struct json v;
    return json_parse(str_of(json, len), &v, NULL) >= 0;
}

int proa_state_set(struct proa *p, const char *store, const char *key, const char *json, size_t len,
                   const char *etag, int ttl_s, struct proa_result *res)
{
    struct buf path, body;
    struct proa_write x = { key, json, len, etag };
    struct json_w w;
    if (!json_valid(json, len)) {
        *res = (struct proa_result){ 0 };
        return fail_result(res, -INVALID, "the value isn't JSON");
    }
    begin_path(&path, "state", store);
    buf_init(&body, ANSWER_MAX);
    json_w_init(&w, &body, 0);
    json_w_array(&w);
    put_write(&w, &x, ttl_s);
    json_w_array_end(&w);
    struct api_request q = {
        .verb = "POST",
        .path = buf_str(&path),
        .content_type = S("application/json"),
        .body = buf_str(&body),
    };
    return run(p, &q, res, &path, &body);
}

int proa_state_delete(struct proa *p, const char *store, const char *key, const char *etag,
                      struct proa_result *res)
{
    struct buf path;
    begin_path(&path, "state", store);
    buf_putc(&path, '/');
    uri_encode(&path, str_c(key), URI_QUERY);
    struct http_header match = { S("If-Match"), str_c(etag) };
    struct api_request q = {
        .verb = "DELETE",
        .path = buf_str(&path),
        .headers = &match,
        .n_headers = etag && etag[0],
    };
    return run(p, &q, res, &path, NULL);
}

int proa_state_transact(struct proa *p, const char *store, const struct proa_write *write, size_t n,
                        struct proa_result *res)
{
    struct buf path, body;
    struct json_w w;
    for (size_t i = 0; i < n; i++)
        if (write[i].json && !json_valid(write[i].json, write[i].len)) {
            *res = (struct proa_result){ 0 };
            return fail_result(res, -INVALID, "a value isn't JSON");
        }
    begin_path(&path, "state", store);
    buf_put(&path, S("/transaction"));
    buf_init(&body, ANSWER_MAX);
    json_w_init(&w, &body, 0);
    json_w_object(&w);
    json_w_key(&w, S("operations"));
    json_w_array(&w);
    for (size_t i = 0; i < n; i++) {
        json_w_object(&w);
        json_w_kv(&w, S("operation"), write[i].json ? S("upsert") : S("delete"));
        json_w_key(&w, S("request"));
        put_write(&w, &write[i], 0);
        json_w_object_end(&w);
    }
    json_w_array_end(&w);
    json_w_object_end(&w);
    struct api_request q = {
        .verb = "POST",
        .path = buf_str(&path),
        .content_type = S("application/json"),
        .body = buf_str(&body),
    };
    int r = run(p, &q, res, &path, &body);
    /* Inside a transaction the contract hides a stale ETag behind a 500 (surprise 13). */
    if (r < 0 && strstr(res->error, "etag"))
        r = res->code = -PROA_CONFLICT;
    return r;
}

int proa_publish(struct proa *p, const char *pubsub, const char *topic, const char *data,
                 size_t len, const struct proa_publish_options *o, struct proa_result *res)
{
    struct buf path;
    begin_path(&path, "publish", pubsub);
    buf_putc(&path, '/');
    put_path(&path, topic, false);
    char sep = '?';
    const struct {
        const char *key, *value;
    } meta[] = { { "cloudevent.id", o ? o->id : NULL }, { "partitionKey", o ? o->key : NULL } };
    for (size_t i = 0; i < COUNT(meta); i++)
        if (meta[i].value) {
            buf_printf(&path, "%cmetadata.%s=", sep, meta[i].key);
            uri_encode(&path, str_c(meta[i].value), URI_QUERY);
            sep = '&';
        }
    if (o && o->ttl_s > 0)
        buf_printf(&path, "%cmetadata.ttlInSeconds=%d", sep, o->ttl_s);
    struct api_request q = {
        .verb = "POST",
        .path = buf_str(&path),
        .content_type = o && o->content_type ? str_c(o->content_type) : S("application/json"),
        .body = str_of(data ? data : "", len),
    };
    return run(p, &q, res, &path, NULL);
}

int proa_secret(struct proa *p, const char *store, const char *name, struct proa_result *res)
{
    struct buf path;
    begin_path(&path, "secrets", store);
    buf_putc(&path, '/');
    uri_encode(&path, str_c(name), URI_QUERY);
    struct api_request q = { .verb = "GET", .path = buf_str(&path) };
    return run(p, &q, res, &path, NULL);
}
