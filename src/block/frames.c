#include "block/frames.h"

#include "format/uri.h"
#include "internals.pb-c.h"

typedef Dapr__Proto__Internals__V1__InternalInvokeRequest invoke_request;
typedef Dapr__Proto__Internals__V1__InternalInvokeResponse invoke_response;
typedef Dapr__Proto__Internals__V1__InternalInvokeRequestStream request_stream;
typedef Dapr__Proto__Internals__V1__InternalInvokeResponseStream response_stream;
typedef Dapr__Proto__Internals__V1__MetadataEntry entry;
typedef Dapr__Proto__Internals__V1__ListStringValue list;
typedef Dapr__Proto__Common__V1__InvokeRequest common_request;
typedef Dapr__Proto__Common__V1__InvokeResponse common_response;
typedef Dapr__Proto__Common__V1__HTTPExtension extension;
typedef Dapr__Proto__Common__V1__StreamPayload payload;

static const str verbs[] = { S(""),       S("GET"),     S("HEAD"),    S("POST"),  S("PUT"),
                             S("DELETE"), S("CONNECT"), S("OPTIONS"), S("TRACE"), S("PATCH") };

/* ---- memory: protobuf-c unpacks into the arena ---- */

static void *take(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void leave(void *arena, void *p)
{
}

static ProtobufCAllocator allocator(struct arena *a)
{
    return (ProtobufCAllocator){ take, leave, a };
}

static ProtobufCBinaryData bytes(str s)
{
    return (ProtobufCBinaryData){ s.n, (uint8_t *)s.p };
}

static str slice(ProtobufCBinaryData b)
{
    return str_of(b.data, b.len);
}

static int pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    char *to = buf_reserve(out, n);
    if (!to)
        return -EXHAUSTED;
    buf_commit(out, protobuf_c_message_pack(m, (uint8_t *)to));
    return 0;
}

/* ---- headers as map<string, ListStringValue> ---- */

/* One entry a name: values of the same name become a list, as a map wants it. */
static int pack_headers(const struct http_headers *h, struct arena *a, entry ***ret, size_t *ret_n)
{
    *ret_n = 0;
    size_t n = h ? h->n : 0;
    entry **e = arena_alloc(a, (n + 1) * sizeof(entry *));
    if (!e)
        return -EXHAUSTED;
    *ret = e;
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        while (at < *ret_n && !str_ieq(str_c(e[at]->key), h->v[i].name))
            at++;
        if (at == *ret_n) {
            e[at] = arena_alloc(a, sizeof(entry));
            list *l = arena_alloc(a, sizeof *l);
            char **values = arena_alloc(a, (n - i) * sizeof(char *));
            if (!e[at] || !l || !values)
                return -EXHAUSTED;
            dapr__proto__internals__v1__metadata_entry__init(e[at]);
            dapr__proto__internals__v1__list_string_value__init(l);
            l->values = values;
            e[at]->value = l;
            if (!(e[at]->key = arena_cstr(a, h->v[i].name)))
                return -EXHAUSTED;
            (*ret_n)++;
        }
        list *l = e[at]->value;
        if (!(l->values[l->n_values++] = arena_cstr(a, h->v[i].value)))
            return -EXHAUSTED;
    }
    return 0;
}

/* What isn't a header of HTTP stays behind: pseudo headers, and gRPC's own (facts 5.1). */
static bool carries(str name)
{
    return http_is_token(name) && !str_istarts(name, S("grpc-")) && !str_ends(name, S("-bin")) &&
           !str_ieq(name, S("content-length")) && !str_ieq(name, S("host"));
}

/* The length of the body, which the app shall get as such (facts 5.1); -1: not said. */
static int64_t find_length(entry *const *e, size_t n)
{
    int64_t v;
    for (size_t i = 0; i < n; i++)
        if (str_ieq(str_c(e[i]->key), S("content-length")) && e[i]->value &&
            e[i]->value->n_values && str_to_i64(str_c(e[i]->value->values[0]), &v) && v >= 0)
            return v;
    return -1;
}

static int unpack_headers(entry *const *e, size_t n, struct arena *a, struct http_headers *ret)
{
    http_headers_init(ret, a);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; e[i]->value && k < e[i]->value->n_values; k++) {
            str name = str_c(e[i]->key), value = str_c(e[i]->value->values[k]);
            if (carries(name) && http_is_field_value(value) &&
                http_headers_add(ret, name, value) < 0)
                return -EXHAUSTED;
        }
    return 0;
}

/* ---- requests ---- */

static int verb_of(str method)
{
    for (size_t i = 1; i < COUNT(verbs); i++)
        if (str_eq(verbs[i], method))
            return (int)i;
    return 0;
}

static int add_length(struct http_headers *h, const struct http_request *req, struct arena *a)
{
    if (req->content_length < 0)
        return 0;
    str text = arena_printf(a, "%lld", (long long)req->content_length);
    return text.p ? http_headers_set(h, S("Content-Length"), text) : -EXHAUSTED;
}

int frame_pack_request(const struct http_request *req, str data, uint64_t seq, struct arena *a,
                       struct buf *out)
{
    request_stream m = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_REQUEST_STREAM__INIT;
    invoke_request r = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_REQUEST__INIT;
    common_request c = DAPR__PROTO__COMMON__V1__INVOKE_REQUEST__INIT;
    extension x = DAPR__PROTO__COMMON__V1__HTTPEXTENSION__INIT;
    payload p = DAPR__PROTO__COMMON__V1__STREAM_PAYLOAD__INIT;
    if (req) {
        str path, query; /* the method travels decoded, as the contract has it */
        (void)str_cut(req->target, '?', &path, &query);
        if (uri_decode(a, str_skip(path, 1), URI_PATH, &path) < 0)
            return -INVALID;
        c.method = arena_cstr(a, path);
        x.querystring = arena_cstr(a, query);
        c.content_type = arena_cstr(a, http_headers_get(&req->headers, S("content-type")));
        struct http_headers h = req->headers;
        if (!c.method || !x.querystring || !c.content_type || add_length(&h, req, a) < 0 ||
            pack_headers(&h, a, &r.metadata, &r.n_metadata) < 0)
            return -EXHAUSTED;
        x.verb = (Dapr__Proto__Common__V1__HTTPExtension__Verb)verb_of(req->method);
        c.http_extension = &x;
        r.ver = DAPR__PROTO__INTERNALS__V1__APIVERSION__V1;
        r.message = &c;
        m.request = &r;
    }
    if (data.p) {
        p.data = bytes(data);
        p.seq = seq;
        m.payload = &p;
    }
    return pack(&m.base, out);
}

static int read_request(const invoke_request *r, struct arena *a, struct frame_request *ret)
{
    /* An empty map is refused as well: surprise 42. */
    if (!r->message || !r->n_metadata)
        return -INVALID;
    const extension *x = r->message->http_extension;
    size_t verb = x ? (size_t)x->verb : 0;
    ret->has_request = true;
    ret->verb = verb < COUNT(verbs) ? verbs[verb] : S("");
    ret->query = x ? str_c(x->querystring) : S("");
    ret->method = str_c(r->message->method);
    ret->content_type = str_c(r->message->content_type);
    ret->content_length = find_length(r->metadata, r->n_metadata);
    return unpack_headers(r->metadata, r->n_metadata, a, &ret->headers);
}

int frame_unpack_request(str message, struct arena *a, struct frame_request *ret)
{
    ProtobufCAllocator mem = allocator(a);
    *ret = (struct frame_request){ 0 };
    const request_stream *m = dapr__proto__internals__v1__internal_invoke_request_stream__unpack(
        &mem, message.n, (const uint8_t *)message.p);
    if (!m)
        return -INVALID;
    if (m->payload) {
        ret->has_payload = true;
        ret->data = slice(m->payload->data);
        ret->seq = m->payload->seq;
    }
    return m->request ? read_request(m->request, a, ret) : 0;
}

int frame_unpack_unary(str message, struct arena *a, struct frame_request *ret)
{
    ProtobufCAllocator mem = allocator(a);
    *ret = (struct frame_request){ 0 };
    const invoke_request *r = dapr__proto__internals__v1__internal_invoke_request__unpack(
        &mem, message.n, (const uint8_t *)message.p);
    if (!r || !r->message)
        return -INVALID;
    if (r->message->data) {
        ret->has_payload = true;
        ret->data = slice(r->message->data->value);
    }
    return read_request(r, a, ret);
}

/* ---- responses ---- */

static int fill_response(invoke_response *r, common_response *c,
                         Dapr__Proto__Internals__V1__Status *s, int status,
                         const struct http_headers *headers, struct arena *a)
{
    c->content_type = arena_cstr(a, headers ? http_headers_get(headers, S("content-type")) : S(""));
    if (!c->content_type || pack_headers(headers, a, &r->headers, &r->n_headers) < 0)
        return -EXHAUSTED;
    s->code = status;
    r->status = s;
    r->message = c;
    return 0;
}

int frame_pack_response(int status, const struct http_headers *headers, str data, uint64_t seq,
                        struct arena *a, struct buf *out)
{
    response_stream m = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_RESPONSE_STREAM__INIT;
    invoke_response r = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_RESPONSE__INIT;
    common_response c = DAPR__PROTO__COMMON__V1__INVOKE_RESPONSE__INIT;
    Dapr__Proto__Internals__V1__Status s = DAPR__PROTO__INTERNALS__V1__STATUS__INIT;
    payload p = DAPR__PROTO__COMMON__V1__STREAM_PAYLOAD__INIT;
    if (status) {
        if (fill_response(&r, &c, &s, status, headers, a) < 0)
            return -EXHAUSTED;
        m.response = &r;
    }
    if (data.p) {
        p.data = bytes(data);
        p.seq = seq;
        m.payload = &p;
    }
    return pack(&m.base, out);
}

int frame_pack_unary(int status, const struct http_headers *headers, str body, struct arena *a,
                     struct buf *out)
{
    invoke_response r = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_RESPONSE__INIT;
    common_response c = DAPR__PROTO__COMMON__V1__INVOKE_RESPONSE__INIT;
    Dapr__Proto__Internals__V1__Status s = DAPR__PROTO__INTERNALS__V1__STATUS__INIT;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    any.value = bytes(body);
    c.data = &any;
    if (fill_response(&r, &c, &s, status, headers, a) < 0)
        return -EXHAUSTED;
    return pack(&r.base, out);
}

int frame_unpack_response(str message, struct arena *a, struct frame_response *ret)
{
    ProtobufCAllocator mem = allocator(a);
    *ret = (struct frame_response){ 0 };
    const response_stream *m = dapr__proto__internals__v1__internal_invoke_response_stream__unpack(
        &mem, message.n, (const uint8_t *)message.p);
    if (!m)
        return -INVALID;
    if (m->payload) {
        ret->has_payload = true;
        ret->data = slice(m->payload->data);
        ret->seq = m->payload->seq;
    }
    const invoke_response *r = m->response;
    if (!r)
        return 0;
    if (!r->status)
        return -INVALID;
    ret->has_response = true;
    ret->status =
        r->status->code >= 100 ? r->status->code : code_http_status((enum code)r->status->code);
    ret->message = str_c(r->status->message);
    ret->content_type = r->message ? str_c(r->message->content_type) : S("");
    int code = unpack_headers(r->headers, r->n_headers, a, &ret->headers);
    return code < 0 ? code : unpack_headers(r->trailers, r->n_trailers, a, &ret->trailers);
}
