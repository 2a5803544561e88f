#include "block/call/frames.h"

#include "block/core/proto.h"
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
typedef Dapr__Proto__Internals__V1__Status status_message;
typedef Google__Protobuf__Any any_message;
typedef Dapr__Proto__Common__V1__HTTPExtension extension;
typedef Dapr__Proto__Common__V1__StreamPayload payload;

static const str verbs[] = { S(""),       S("GET"),     S("HEAD"),    S("POST"),  S("PUT"),
                             S("DELETE"), S("CONNECT"), S("OPTIONS"), S("TRACE"), S("PATCH") };

/* ---- headers as map<string, ListStringValue> ---- */

/* A header of HTTP that is registered travels in the letter case by which Go knows it, so that the
 * callee can tell it from metadata of that name (facts 3.4). */
static str key_of(str name, bool grpc, struct arena *a)
{
    char *p = !grpc && words_is_permanent(name) ? arena_cstr(a, name) : NULL;
    for (size_t i = 0; p && i < name.n; i++)
        if (p[i] >= 'a' && p[i] <= 'z' && (i == 0 || p[i - 1] == '-'))
            p[i] = (char)(p[i] & ~0x20);
    return p ? str_of(p, name.n) : name;
}

static str value_of(const struct http_header *h, struct arena *a)
{
    str value = str_ends(h->name, S("-bin")) ? words_padded(a, h->value) : h->value;
    return value.p ? value : h->value;
}

static entry *new_entry(str key, size_t room, struct arena *a)
{
    entry *e = arena_alloc(a, sizeof *e);
    list *l = arena_alloc(a, sizeof *l);
    char **values = arena_alloc(a, room * sizeof(char *));
    if (!e || !l || !values)
        return NULL;
    dapr__proto__internals__v1__metadata_entry__init(e);
    dapr__proto__internals__v1__list_string_value__init(l);
    l->values = values;
    e->value = l;
    e->key = arena_cstr(a, key);
    return e->key ? e : NULL;
}

/* One entry a name: values of the same name become a list, as a map wants it. */
static int pack_headers(const struct http_headers *h, bool grpc, struct arena *a, entry ***ret,
                        size_t *ret_n)
{
    *ret_n = 0;
    size_t n = h ? h->n : 0;
    entry **e = arena_alloc(a, (n + 1) * sizeof(entry *));
    if (!e)
        return -EXHAUSTED;
    *ret = e;
    for (size_t i = 0; i < n; i++) {
        if (str_ieq(h->v[i].name, S(WORDS_CALL)))
            continue;
        size_t at = 0;
        while (at < *ret_n && !str_ieq(str_c(e[at]->key), h->v[i].name))
            at++;
        if (at == *ret_n) {
            if (!(e[at] = new_entry(key_of(h->v[i].name, grpc, a), n - i, a)))
                return -EXHAUSTED;
            (*ret_n)++;
        }
        list *l = e[at]->value;
        if (!(l->values[l->n_values++] = arena_cstr(a, value_of(&h->v[i], a))))
            return -EXHAUSTED;
    }
    return 0;
}

/* What belongs to one connection stays behind, and what isn't a header at all. */
static bool carries(str name)
{
    return http_is_token(name) && !str_ieq(name, S("content-length")) &&
           !str_ieq(name, S("host")) && !str_istarts(name, S("proa-grpc"));
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

struct request_parts {
    invoke_request r;
    common_request c;
    extension x;
    any_message any;
};

static int fill_request(const struct http_request *req, struct arena *a, struct request_parts *p)
{
    static const invoke_request none = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_REQUEST__INIT;
    str path, query; /* the method travels decoded, as the contract has it */
    bool grpc = words_marked(&req->headers);
    p->r = none;
    dapr__proto__common__v1__invoke_request__init(&p->c);
    dapr__proto__common__v1__httpextension__init(&p->x);
    google__protobuf__any__init(&p->any);
    (void)str_cut(req->target, '?', &path, &query);
    if (uri_decode(a, str_skip(path, 1), URI_PATH, &path) < 0)
        return -INVALID;
    p->c.method = arena_cstr(a, path);
    p->x.querystring = arena_cstr(a, query);
    p->c.content_type = arena_cstr(a, http_headers_get(&req->headers, S("content-type")));
    p->any.type_url = arena_cstr(a, http_headers_get(&req->headers, S(WORDS_CALL)));
    struct http_headers h = req->headers;
    if (!p->c.method || !p->x.querystring || !p->c.content_type || !p->any.type_url ||
        add_length(&h, req, a) < 0 ||
        pack_headers(&h, grpc, a, &p->r.metadata, &p->r.n_metadata) < 0)
        return -EXHAUSTED;
    p->x.verb = (Dapr__Proto__Common__V1__HTTPExtension__Verb)verb_of(req->method);
    p->c.http_extension = &p->x;
    if (*p->any.type_url)
        p->c.data = &p->any;
    p->r.ver = DAPR__PROTO__INTERNALS__V1__APIVERSION__V1;
    p->r.message = &p->c;
    return 0;
}

int frame_pack_request(const struct http_request *req, str data, uint64_t seq, struct arena *a,
                       struct buf *out)
{
    request_stream m = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_REQUEST_STREAM__INIT;
    payload p = DAPR__PROTO__COMMON__V1__STREAM_PAYLOAD__INIT;
    struct request_parts parts;
    int r = req ? fill_request(req, a, &parts) : 0;
    if (r < 0)
        return r;
    m.request = req ? &parts.r : NULL;
    if (data.p) {
        p.data = proto_bytes(data);
        p.seq = seq;
        m.payload = &p;
    }
    return proto_pack(&m.base, out);
}

int frame_pack_unary_request(const struct http_request *req, str body, struct arena *a,
                             struct buf *out)
{
    struct request_parts parts;
    int r = fill_request(req, a, &parts);
    if (r < 0)
        return r;
    parts.any.value = proto_bytes(body);
    parts.c.data = &parts.any;
    return proto_pack(&parts.r.base, out);
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
    ret->type_url = r->message->data ? str_c(r->message->data->type_url) : S("");
    ret->content_length = find_length(r->metadata, r->n_metadata);
    return unpack_headers(r->metadata, r->n_metadata, a, &ret->headers);
}

int frame_unpack_request(str message, struct arena *a, struct frame_request *ret)
{
    *ret = (struct frame_request){ 0 };
    const request_stream *m = proto_unpack(
        &dapr__proto__internals__v1__internal_invoke_request_stream__descriptor, message, a);
    if (!m)
        return -INVALID;
    if (m->payload) {
        ret->has_payload = true;
        ret->data = proto_slice(m->payload->data);
        ret->seq = m->payload->seq;
    }
    return m->request ? read_request(m->request, a, ret) : 0;
}

int frame_unpack_unary(str message, struct arena *a, struct frame_request *ret)
{
    *ret = (struct frame_request){ 0 };
    const invoke_request *r =
        proto_unpack(&dapr__proto__internals__v1__internal_invoke_request__descriptor, message, a);
    if (!r || !r->message)
        return -INVALID;
    if (r->message->data) {
        ret->has_payload = true;
        ret->data = proto_slice(r->message->data->value);
    }
    return read_request(r, a, ret);
}

/* ---- responses ---- */

struct response_parts {
    invoke_response r;
    common_response c;
    status_message s;
    any_message any;
};

/* A gRPC app's status is its own; an HTTP app's is the number alone. */
static int fill_status(const struct frame_response *head, struct arena *a, status_message *s)
{
    s->code = head->grpc ? (int)head->outcome.code : head->status;
    if (!head->grpc)
        return 0;
    if (!(s->message = arena_cstr(a, head->outcome.message)))
        return -EXHAUSTED;
    const status_message *full = head->outcome.details.n
                                     ? proto_unpack(&dapr__proto__internals__v1__status__descriptor,
                                                    head->outcome.details, a)
                                     : NULL;
    s->details = full ? full->details : NULL;
    s->n_details = full ? full->n_details : 0;
    return 0;
}

static int fill_response(const struct frame_response *head, struct arena *a,
                         struct response_parts *p)
{
    static const invoke_response none = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_RESPONSE__INIT;
    p->r = none;
    dapr__proto__common__v1__invoke_response__init(&p->c);
    dapr__proto__internals__v1__status__init(&p->s);
    google__protobuf__any__init(&p->any);
    str type = head->content_type.n ? head->content_type
                                    : http_headers_get(&head->headers, S("content-type"));
    p->c.content_type = arena_cstr(a, type);
    p->any.type_url = arena_cstr(a, head->type_url);
    if (!p->c.content_type || !p->any.type_url || fill_status(head, a, &p->s) < 0 ||
        pack_headers(&head->headers, true, a, &p->r.headers, &p->r.n_headers) < 0 ||
        pack_headers(&head->trailers, true, a, &p->r.trailers, &p->r.n_trailers) < 0)
        return -EXHAUSTED;
    if (*p->any.type_url)
        p->c.data = &p->any;
    p->r.status = &p->s;
    p->r.message = &p->c;
    return 0;
}

int frame_pack_response(const struct frame_response *head, str data, uint64_t seq, struct arena *a,
                        struct buf *out)
{
    response_stream m = DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_RESPONSE_STREAM__INIT;
    payload p = DAPR__PROTO__COMMON__V1__STREAM_PAYLOAD__INIT;
    struct response_parts parts;
    if (head && fill_response(head, a, &parts) < 0)
        return -EXHAUSTED;
    m.response = head ? &parts.r : NULL;
    if (data.p) {
        p.data = proto_bytes(data);
        p.seq = seq;
        m.payload = &p;
    }
    return proto_pack(&m.base, out);
}

int frame_pack_unary(const struct frame_response *head, str body, struct arena *a, struct buf *out)
{
    struct response_parts parts;
    if (fill_response(head, a, &parts) < 0)
        return -EXHAUSTED;
    parts.any.value = proto_bytes(body);
    parts.c.data = &parts.any;
    return proto_pack(&parts.r.base, out);
}

/* Codes below 100 are gRPC's, what isn't one of them is UNKNOWN (surprise 43). */
static int read_status(const status_message *s, struct arena *a, struct frame_response *ret)
{
    ret->grpc = s->code < 100;
    ret->status = s->code;
    if (!ret->grpc)
        return 0;
    bool known = s->code >= 0 && s->code <= UNAUTHENTICATED;
    ret->outcome.code = known ? (enum code)s->code : UNKNOWN;
    ret->outcome.message = str_c(s->message);
    ret->outcome.details = S("");
    ret->status = code_http_status(ret->outcome.code);
    return s->n_details ? proto_pack_to(&s->base, a, &ret->outcome.details) : 0;
}

static int read_response(const invoke_response *r, struct arena *a, struct frame_response *ret)
{
    if (!r->status)
        return -INVALID;
    ret->has_response = true;
    if (read_status(r->status, a, ret) < 0)
        return -EXHAUSTED;
    ret->content_type = r->message ? str_c(r->message->content_type) : S("");
    ret->type_url = r->message && r->message->data ? str_c(r->message->data->type_url) : S("");
    int code = unpack_headers(r->headers, r->n_headers, a, &ret->headers);
    return code < 0 ? code : unpack_headers(r->trailers, r->n_trailers, a, &ret->trailers);
}

int frame_unpack_unary_response(str message, struct arena *a, struct frame_response *ret)
{
    *ret = (struct frame_response){ 0 };
    const invoke_response *r =
        proto_unpack(&dapr__proto__internals__v1__internal_invoke_response__descriptor, message, a);
    if (!r)
        return -INVALID;
    if (r->message && r->message->data) {
        ret->has_payload = true;
        ret->data = proto_slice(r->message->data->value);
    }
    return read_response(r, a, ret);
}

int frame_unpack_response(str message, struct arena *a, struct frame_response *ret)
{
    *ret = (struct frame_response){ 0 };
    const response_stream *m = proto_unpack(
        &dapr__proto__internals__v1__internal_invoke_response_stream__descriptor, message, a);
    if (!m)
        return -INVALID;
    if (m->payload) {
        ret->has_payload = true;
        ret->data = proto_slice(m->payload->data);
        ret->seq = m->payload->seq;
    }
    return m->response ? read_response(m->response, a, ret) : 0;
}
