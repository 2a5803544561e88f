#include "format/json.h"
#include "telemetry/encode.h"
#include "test/testing.h"

/* ---- a reader of protobuf, as far as these messages need one ---- */

struct field {
    unsigned number, type;
    uint64_t value;
    str bytes;
};

static bool varint(str *s, uint64_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; s->n && shift < 64; shift += 7) {
        unsigned char c = (unsigned char)s->p[0];
        *s = str_skip(*s, 1);
        *ret |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return true;
    }
    return false;
}

static bool fixed(str *s, size_t n, uint64_t *ret)
{
    *ret = 0;
    if (s->n < n)
        return false;
    for (size_t i = n; i--;)
        *ret = *ret << 8 | (unsigned char)s->p[i];
    *s = str_skip(*s, n);
    return true;
}

static bool next(str *s, struct field *f)
{
    uint64_t tag, n;
    if (!s->n || !varint(s, &tag))
        return false;
    *f = (struct field){ .number = (unsigned)(tag >> 3), .type = tag & 7 };
    switch (f->type) {
    case 0:
        return varint(s, &f->value);
    case 1:
        return fixed(s, 8, &f->value);
    case 5:
        return fixed(s, 4, &f->value);
    default:
        REQUIRE(varint(s, &n) && n <= s->n);
        f->bytes = str_take(*s, n);
        *s = str_skip(*s, n);
        return true;
    }
}

/* The i-th field of that number. */
static struct field get_at(str message, unsigned number, size_t i)
{
    struct field f;
    while (next(&message, &f))
        if (f.number == number && !i--)
            return f;
    return (struct field){ 0 };
}

static str get(str message, unsigned number)
{
    return get_at(message, number, 0).bytes;
}

static size_t count(str message, unsigned number)
{
    size_t n = 0;
    struct field f;
    while (next(&message, &f))
        n += f.number == number;
    return n;
}

/* The value of a KeyValue among the fields of that number. */
static str attribute(str message, unsigned number, const char *key)
{
    struct field f;
    while (next(&message, &f))
        if (f.number == number && str_eq(get(f.bytes, 1), str_c(key)))
            return get(get(f.bytes, 2), 1);
    return (str){ 0 };
}

/* ---- spans to encode ---- */

static const char PARENT[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

static struct span_block *two_spans(void)
{
    struct trace_context parent, none = { 0 };
    struct span s;
    tracer_setup(&(struct tracer_config){ .on = true, .rate = 1, .record = true });
    span_release(span_take());
    trace_read(&parent, str_c(PARENT), S("a=b"));
    span_start(&s, &parent, SPAN_SERVER);
    span_name(&s, (str[]){ S("first \xff") }, 1);
    span_attr(&s, S("dapr.api"), S("GET /x"));
    span_attr(&s, S("u"), S("gr\xc3\xbc\xc3\x9f \"q\""));
    span_fail(&s, S("Code(500)"));
    span_end(&s);
    span_start(&s, &none, SPAN_CLIENT);
    span_name(&s, (str[]){ S("second") }, 1);
    for (int i = 0; i < SPAN_ATTRS + 2; i++)
        span_attr(&s, S("k"), S("v"));
    span_end(&s);
    return span_take();
}

static const struct trace_attribute extra[] = { { S("deployment.environment"), S("test") } };
static const struct trace_resource resource = { S("my-app"), extra, COUNT(extra) };

TEST(otlp_has_every_field)
{
    struct buf out;
    struct span_block *spans = two_spans();
    buf_init(&out, MIB(1));
    encode_otlp(&out, &resource, spans);
    REQUIRE(buf_ok(&out));
    str rs = get(buf_str(&out), 1), ss = get(rs, 2), first = get_at(ss, 2, 0).bytes,
        second = get_at(ss, 2, 1).bytes;
    CHECK_STR(attribute(get(rs, 1), 1, "service.name"), "my-app");
    CHECK_STR(attribute(get(rs, 1), 1, "deployment.environment"), "test");
    CHECK_STR(get(get(ss, 1), 1), "proa");
    CHECK_STR(get(get(ss, 1), 2), PROA_VERSION);
    CHECK_EQ(count(ss, 2), 2);
    CHECK_EQ(get(first, 1).n, 16);
    CHECK_EQ((unsigned char)get(first, 1).p[1], 0xf7);
    CHECK_EQ(get(first, 2).n, 8);
    CHECK_STR(get(first, 3), "a=b");
    CHECK(str_eq(get(first, 4), S("\xb7\xad\x6b\x71\x69\x20\x33\x31")));
    CHECK_STR(get(first, 5), "first \xef\xbf\xbd");
    CHECK_EQ(get_at(first, 6, 0).value, 2); /* SERVER */
    CHECK_EQ(get_at(first, 7, 0).value, spans->start_ns);
    CHECK_EQ(get_at(first, 8, 0).value, spans->end_ns);
    CHECK_STR(attribute(first, 9, "dapr.api"), "GET /x");
    CHECK_STR(attribute(first, 9, "u"), "gr\xc3\xbc\xc3\x9f \"q\"");
    CHECK_EQ(count(first, 10), 0);
    CHECK_EQ(get_at(get(first, 15), 3, 0).value, 2); /* ERROR */
    CHECK_STR(get(get(first, 15), 2), "Code(500)");
    CHECK_EQ(get_at(first, 16, 0).value, 1);
    CHECK_EQ(count(second, 4), 0);
    CHECK_EQ(count(second, 15), 0);
    CHECK_EQ(get_at(second, 6, 0).value, 3); /* CLIENT */
    CHECK_EQ(count(second, 9), SPAN_ATTRS);
    CHECK_EQ(get_at(second, 10, 0).value, 2);
    buf_done(&out);
    span_release(spans);
}

TEST(zipkin_has_every_field)
{
    struct buf out;
    struct json root;
    struct arena a;
    struct span_block *spans = two_spans();
    uint64_t n;
    buf_init(&out, MIB(1));
    arena_init(&a, MIB(1));
    encode_zipkin(&out, &resource, spans);
    REQUIRE(buf_ok(&out));
    CHECK_OK(json_parse(buf_str(&out), &root, NULL));
    CHECK_EQ(json_count(root), 2);
    struct json first = json_at(root, 0), second = json_at(root, 1),
                tags = json_get(first, S("tags"));
    static const struct {
        const char *key, *want;
    } row[] = {
        { "traceId", "0af7651916cd43dd8448eb211c80319c" },
        { "parentId", "b7ad6b7169203331" },
        { "name", "first \xef\xbf\xbd" },
        { "kind", "SERVER" },
    },
      tag[] = {
          { "dapr.api", "GET /x" },          { "u", "gr\xc3\xbc\xc3\x9f \"q\"" },
          { "error", "Code(500)" },          { "otel.status_code", "ERROR" },
          { "deployment.environment", "test" },
      };
    EACH (row, r)
        CHECK(json_eq_str(json_get(first, str_c(r->key)), str_c(r->want)), "%s", r->key);
    EACH (tag, r)
        CHECK(json_eq_str(json_get(tags, str_c(r->key)), str_c(r->want)), "%s", r->key);
    CHECK(
        json_eq_str(json_get(json_get(first, S("localEndpoint")), S("serviceName")), S("my-app")));
    CHECK(json_u64(json_get(first, S("timestamp")), &n) && n == spans->start_ns / 1000);
    CHECK(json_u64(json_get(first, S("duration")), &n) && n >= 1);
    CHECK_EQ(json_get(second, S("parentId")).type, JSON_NONE);
    CHECK_EQ(json_get(json_get(second, S("tags")), S("error")).type, JSON_NONE);
    CHECK(json_eq_str(json_get(second, S("kind")), S("CLIENT")));
    buf_done(&out);
    arena_done(&a);
    span_release(spans);
}

TEST(nothing_is_an_empty_list)
{
    struct buf out;
    buf_init(&out, MIB(1));
    encode_zipkin(&out, &resource, NULL);
    CHECK_STR(buf_str(&out), "[]");
    buf_clear(&out);
    encode_otlp(&out, &resource, NULL);
    CHECK_EQ(count(get(get(buf_str(&out), 1), 2), 2), 0);
    buf_done(&out);
}

static void fails_below(void (*encode)(struct buf *, const struct trace_resource *,
                                       const struct span_block *),
                        const struct span_block *spans)
{
    struct buf out;
    buf_init(&out, MIB(1));
    encode(&out, &resource, spans);
    size_t whole = out.len;
    buf_done(&out);
    CHECK(whole > 800);
    for (size_t max = 1; max < whole; max += 13) {
        buf_init(&out, max);
        encode(&out, &resource, spans);
        CHECK(!buf_ok(&out), "%zu of %zu", max, whole);
        buf_done(&out);
    }
}

TEST(past_the_buffers_limit_the_encoders_fail)
{
    struct span_block *spans = two_spans();
    fails_below(encode_otlp, spans);
    fails_below(encode_zipkin, spans);
    span_release(spans);
}
