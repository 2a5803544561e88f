#include "api/request.h"

#include "base/id.h"
#include "format/uri.h"

int request_metadata(struct request *r, struct kvs *ret)
{
    *ret = (struct kvs){ 0 };
    str query = r->x->req.query;
    if (!query.n)
        return 0;
    size_t cap = 1;
    for (size_t i = 0; i < query.n; i++)
        cap += query.p[i] == '&';
    struct kv *kv = arena_alloc(r->a, cap * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    ret->v = kv;
    struct uri_query q = uri_query(query, r->a);
    str key, value;
    while (uri_query_next_metadata(&q, &key, &value))
        if (!kvs_get(*ret, key).p)
            kv[ret->n++] = (struct kv){ key, value };
    return q.failed ? -EXHAUSTED : 0;
}

CO int request_body(struct request *r, str *ret, struct error *err)
{
    size_t max = r->config->max_body_bytes ? r->config->max_body_bytes : SIZE_MAX;
    int code = http_read_all(r->x, max, ret);
    if (code == -RANGE)
        return fail(err, INVALID, "ERR_BODY_READ", "failed to read request body: stream too large");
    if (code < 0)
        return fail(err, (enum code) - code, "ERR_BODY_READ", "failed to read request body");
    return 0;
}

CO int request_json(struct request *r, struct json *ret, struct error *err)
{
    str body;
    struct json_error where;
    struct error cause = { 0 };
    if (request_body(r, &body, &cause) < 0)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "failed deserializing HTTP body: %s",
                    cause.text);
    if (json_parse(body, ret, &where) < 0)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "failed deserializing HTTP body: %s",
                    where.text);
    return 0;
}

struct json request_field(struct json v, str camel, str snake)
{
    struct json f = json_get(v, camel);
    if (json_is_null(f))
        f = json_get(v, snake);
    return json_is_null(f) ? (struct json){ 0 } : f;
}

static int bad_field(struct error *err, str name, const char *wanted)
{
    return fail(err, INVALID, "ERR_MALFORMED_REQUEST",
                "failed deserializing HTTP body: " STR_FMT " must be %s", STR_ARG(name), wanted);
}

int request_text(struct request *r, struct json v, str camel, str snake, str *ret,
                 struct error *err)
{
    int code = json_string_or(r->a, request_field(v, camel, snake), S(""), ret);
    return code == -INVALID ? bad_field(err, camel, "a string") : code;
}

int request_base64(struct request *r, struct json v, str camel, str snake, str *ret,
                   struct error *err)
{
    str text;
    int code = request_text(r, v, camel, snake, &text, err);
    if (code < 0)
        return code;
    while (str_ends(text, S("=")))
        text.n--;
    size_t n = (text.n + 3) / 4 * 4, len;
    char *padded = arena_alloc(r->a, n), *bytes = arena_alloc(r->a, n);
    if (!padded || !bytes)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++) {
        char c = i < text.n ? text.p[i] : '=';
        padded[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    if (!base64_decode(str_of(padded, n), bytes, &len))
        return bad_field(err, camel, "bytes in base64");
    *ret = str_of(bytes, len);
    return 0;
}

int request_kvs(struct request *r, struct json v, struct kvs *ret)
{
    size_t n = json_count(v);
    *ret = (struct kvs){ 0 };
    if (!n || v.type != JSON_OBJECT)
        return 0;
    struct kv *kv = arena_alloc(r->a, n * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    ret->v = kv;
    struct json_iter it = json_iter(v);
    struct json key, value;
    while (json_next(&it, &key, &value)) {
        struct kv *to = &kv[ret->n++];
        if (json_string(r->a, key, &to->key) < 0)
            return -EXHAUSTED;
        if (value.type != JSON_STRING)
            to->value = value.raw;
        else if (json_string(r->a, value, &to->value) < 0)
            return -EXHAUSTED;
    }
    return 0;
}

CO void reply_empty(struct request *r, int status)
{
    (void)http_reply(r->x, status, NULL, S("")); /* a caller that has left is no failure of ours */
}

CO static void reply_typed(struct request *r, int status, str type, str body)
{
    struct http_headers h;
    http_headers_init(&h, r->a);
    (void)http_headers_add(&h, S("Content-Type"), type);
    (void)http_reply(r->x, status, &h, body);
}

CO void reply_json(struct request *r, int status, str body)
{
    reply_typed(r, status, S("application/json"), body);
}

CO void reply_buf(struct request *r, int status, const struct buf *body)
{
    struct error err = { 0 };
    if (buf_ok(body)) {
        reply_json(r, status, buf_str(body));
        return;
    }
    fail(&err, INTERNAL, NULL, "the answer doesn't fit into memory: ask for less at once");
    reply_error(r->x, &err);
}

CO void reply_text(struct request *r, int status, str body)
{
    reply_typed(r, status, S("text/plain; charset=utf-8"), body);
}
