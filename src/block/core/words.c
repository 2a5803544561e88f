#include "block/core/words.h"

#include "base/id.h"
#include "block/core/proto.h"
#include "internals.pb-c.h"
#include "telemetry/trace.h"

typedef Dapr__Proto__Internals__V1__Status status_message;

/* ---- requests ---- */

int words_mark(struct http_headers *h, str type_url)
{
    return http_is_field_value(type_url) ? http_headers_set(h, S(WORDS_CALL), type_url) : -INVALID;
}

bool words_marked(const struct http_headers *h)
{
    return http_headers_has(h, S(WORDS_CALL));
}

/* ---- answers ---- */

static str encode(struct arena *a, str bytes)
{
    char *to = arena_alloc(a, base64_len(bytes.n));
    if (!to)
        return (str){ 0 };
    base64_encode(bytes, to);
    return str_of(to, base64_len(bytes.n));
}

static str decode(struct arena *a, str text)
{
    char *to = arena_alloc(a, text.n / 4 * 3 + 3);
    size_t n;
    return to && base64_decode(text, to, &n) ? str_of(to, n) : (str){ 0 };
}

/* With or without details it is a google.rpc.Status. */
static int pack_status(const struct words_status *s, struct arena *a, str *ret)
{
    status_message m = DAPR__PROTO__INTERNALS__V1__STATUS__INIT;
    if (s->details.n) {
        *ret = s->details;
        return 0;
    }
    m.code = (int32_t)s->code;
    m.message = arena_cstr(a, s->message);
    return m.message ? proto_pack_to(&m.base, a, ret) : -EXHAUSTED;
}

int words_put(struct http_headers *h, const struct words_status *status, str type_url)
{
    str bytes;
    if (pack_status(status, h->arena, &bytes) < 0)
        return -EXHAUSTED;
    str text = encode(h->arena, bytes);
    if (!text.p || http_headers_set(h, S(WORDS_STATUS), text) < 0)
        return -EXHAUSTED;
    return type_url.n && http_is_field_value(type_url)
               ? http_headers_set(h, S(WORDS_TYPE), type_url)
               : 0;
}

bool words_take(struct http_headers *h, struct words_status *ret, str *ret_type_url)
{
    str text = http_headers_get(h, S(WORDS_STATUS)), type_url = http_headers_get(h, S(WORDS_TYPE));
    if (!text.p)
        return false;
    str bytes = decode(h->arena, text);
    const status_message *m =
        bytes.p ? proto_unpack(&dapr__proto__internals__v1__status__descriptor, bytes, h->arena)
                : NULL;
    words_remove(h);
    *ret_type_url = type_url.p ? type_url : S("");
    *ret = (struct words_status){ UNKNOWN, S("the peer's status can't be read"), S("") };
    if (!m)
        return true;
    ret->code = m->code >= 0 && m->code <= UNAUTHENTICATED ? (enum code)m->code : UNKNOWN;
    ret->message = str_c(m->message);
    ret->details = m->n_details ? bytes : S("");
    return true;
}

void words_remove(struct http_headers *h)
{
    http_headers_remove(h, S(WORDS_STATUS));
    http_headers_remove(h, S(WORDS_TYPE));
}

/* ---- headers and metadata ---- */

bool words_is_permanent(str name)
{
    static const str permanent[] = {
        S("accept"),
        S("accept-charset"),
        S("accept-language"),
        S("accept-ranges"),
        S("authorization"),
        S("cache-control"),
        S("content-type"),
        S("cookie"),
        S("date"),
        S("expect"),
        S("from"),
        S("host"),
        S("if-match"),
        S("if-modified-since"),
        S("if-none-match"),
        S("if-schedule-tag-match"),
        S("if-unmodified-since"),
        S("max-forwards"),
        S("origin"),
        S("pragma"),
        S("referer"),
        S("user-agent"),
        S("via"),
        S("warning"),
    };
    for (size_t i = 0; i < COUNT(permanent); i++)
        if (str_ieq(name, permanent[i]))
            return true;
    return false;
}

static bool has_upper(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 'A' && s.p[i] <= 'Z')
            return true;
    return false;
}

/* "<prefix><name>" in lower case. */
static str lower(struct arena *a, str prefix, str name)
{
    char *p = arena_alloc(a, prefix.n + name.n);
    if (!p)
        return (str){ 0 };
    if (prefix.n)
        memcpy(p, prefix.p, prefix.n);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        p[prefix.n + i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    return str_of(p, prefix.n + name.n);
}

/* Belongs to one connection, or to us. */
static bool stays_behind(str name)
{
    static const str ours[] = {
        S("content-length"),
        S("destination-app-id"),
        S(WORDS_CALL),
        S("proa-direct"),
        S("te"),
        S("grpc-timeout"),
        S("dapr-app-id"),
        S("grpc-encoding"),
        S("grpc-accept-encoding"),
    };
    for (size_t i = 0; i < COUNT(ours); i++)
        if (str_ieq(name, ours[i]))
            return true;
    return name.n && name.p[0] == ':';
}

/* gRPC's own names are reserved: only its trace context passes as it is. */
static bool is_reserved(str name)
{
    return str_istarts(name, S("grpc-")) && !str_ieq(name, S("grpc-trace-bin"));
}

/* A gRPC app looks for the trace in grpc-trace-bin (facts 9.2); traceparent goes along. */
static int add_trace(struct http_headers *h)
{
    struct trace_context t;
    char text[TRACE_BINARY_TEXT + 1];
    trace_read(&t, http_headers_get(h, S("traceparent")), S(""));
    str binary = trace_binary_text(&t, text);
    if (http_headers_has(h, S("grpc-trace-bin")) || !binary.n)
        return 0;
    str value = arena_dup(h->arena, binary);
    return value.p ? http_headers_add(h, S("grpc-trace-bin"), value) : -EXHAUSTED;
}

/* One header under the name that the app gets it by; .name.p NULL: it stays behind. */
static int translate(const struct http_header *h, bool marked, struct arena *a,
                     struct http_header *ret)
{
    bool http = !marked || has_upper(h->name);
    *ret = (struct http_header){ 0 };
    if (stays_behind(h->name) || !http_is_token(h->name) || !http_is_field_value(h->value) ||
        (!http && str_eq(h->name, S("content-type")))) /* of the call itself: application/grpc */
        return 0;
    bool rename = is_reserved(h->name) || (http && words_is_permanent(h->name));
    str name = lower(a, rename ? S("dapr-") : S(""), h->name);
    if (!name.p)
        return -EXHAUSTED;
    ret->value = str_ends(name, S("-bin")) ? words_padded(a, h->value) : h->value;
    ret->name = ret->value.p ? name : (str){ 0 };
    return 0;
}

int words_metadata(const struct http_headers *h, struct http_headers *ret)
{
    struct http_headers from = *h;
    bool marked = words_marked(h);
    from.v = arena_alloc(ret->arena, (h->n + 1) * sizeof *from.v);
    if (!from.v)
        return -EXHAUSTED;
    if (h->n)
        memcpy(from.v, h->v, h->n * sizeof *from.v);
    http_headers_strip_hop(&from);
    int r = 0;
    for (size_t i = 0; i < from.n && r >= 0; i++) {
        struct http_header as;
        r = translate(&from.v[i], marked, ret->arena, &as);
        if (r >= 0 && as.name.p)
            r = http_headers_add(ret, as.name, as.value);
    }
    return r < 0 ? r : add_trace(ret);
}

int words_headers(const struct http_headers *h, struct http_headers *ret)
{
    for (size_t i = 0; i < h->n; i++) {
        str name = h->v[i].name, value = h->v[i].value;
        if (!http_is_token(name) || !http_is_field_value(value) || str_ends(name, S("-bin")))
            continue;
        str part[] = { S("dapr-"), name };
        if (is_reserved(name))
            name = arena_join(ret->arena, part, 2);
        if (!name.p || http_headers_add(ret, name, value) < 0)
            return -EXHAUSTED;
    }
    return 0;
}

str words_padded(struct arena *a, str base64)
{
    static const char PAD[] = "===";
    size_t more = (4 - base64.n % 4) % 4, n;
    str part[] = { base64, str_of(PAD, more) };
    str text = more == 3 ? (str){ 0 } : arena_join(a, part, 2);
    char *to = text.p ? arena_alloc(a, text.n / 4 * 3 + 3) : NULL;
    return to && base64_decode(text, to, &n) ? text : (str){ 0 };
}
