#include "base/id.h"
#include "block/core/words.h"
#include "internals.pb-c.h"
#include "test/testing.h"

struct box {
    struct arena a;
    struct http_headers from, to;
};

static void box_open(struct box *b)
{
    arena_init(&b->a, MIB(4));
    http_headers_init(&b->from, &b->a);
    http_headers_init(&b->to, &b->a);
}

static void add(struct box *b, const char *name, const char *value)
{
    REQUIRE(http_headers_add(&b->from, str_c(name), str_c(value)) == 0);
}

TEST(headers_of_http_become_metadata_s48)
{
    static const struct {
        const char *name, *header, *value, *want, *want_value; /* want NULL: left out */
        bool grpc;                                             /* the caller speaks gRPC */
    } row[] = {
        { "own", "X-One", "1", "x-one", "1", false },
        { "registered", "User-Agent", "me", "dapr-user-agent", "me", false },
        { "registered, by HTTP/2", "accept", "a", "dapr-accept", "a", false },
        { "the body's type", "Content-Type", "a/b", "dapr-content-type", "a/b", false },
        { "reserved", "grpc-foo", "1", "dapr-grpc-foo", "1", false },
        { "trace", "grpc-trace-bin", "AAE", "grpc-trace-bin", "AAE=", false },
        { "binary", "x-bin", "AAE=", "x-bin", "AAE=", false },
        { "binary without padding", "x-bin", "AAE", "x-bin", "AAE=", false },
        { "no binary", "x-bin", "???", NULL, NULL, false },
        { "length", "Content-Length", "1", NULL, NULL, false },
        { "ours", "proa-direct", "app", NULL, NULL, false },
        { "hop by hop", "Upgrade", "x", NULL, NULL, false },
        { "no token", "a b", "x", NULL, NULL, false },
        { "no value", "a", "x\n", NULL, NULL, false },
        { "gRPC: own", "x-one", "1", "x-one", "1", true },
        { "gRPC: registered", "user-agent", "me", "user-agent", "me", true },
        { "gRPC: the message's type", "content-type", "a/b", NULL, NULL, true },
        { "gRPC, from HTTP before", "User-Agent", "me", "dapr-user-agent", "me", true },
    };
    EACH (row, r) {
        struct box b;
        box_open(&b);
        add(&b, r->header, r->value);
        if (r->grpc)
            CHECK_OK(words_mark(&b.from, S("")));
        CHECK_OK(words_metadata(&b.from, &b.to));
        CHECK_EQ(b.to.n, r->want ? 1 : 0, "%s", r->name);
        if (r->want && b.to.n) {
            CHECK_STR(b.to.v[0].name, r->want, "%s", r->name);
            CHECK_STR(b.to.v[0].value, r->want_value, "%s", r->name);
        }
        arena_done(&b.a);
    }
}

TEST(a_grpc_app_gets_the_trace_in_binary)
{
    static const char ID[] = "0af7651916cd43dd8448eb211c80319c";
    struct box b;
    box_open(&b);
    add(&b, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    CHECK_OK(words_metadata(&b.from, &b.to));
    str text = words_padded(&b.a, http_headers_get(&b.to, S("grpc-trace-bin")));
    char bin[64], hex[32];
    size_t n;
    REQUIRE(text.p && base64_decode(text, bin, &n));
    CHECK_EQ(n, 29);
    CHECK_EQ(bin[0] | bin[1], 0);
    CHECK_EQ(bin[18], 1);
    CHECK_EQ(bin[27], 2);
    CHECK_EQ(bin[28], 1);
    id_hex(bin + 2, 16, hex);
    CHECK_STR(str_of(hex, 32), ID);
    id_hex(bin + 19, 8, hex);
    CHECK_STR(str_of(hex, 16), "b7ad6b7169203331");
    arena_done(&b.a);
}

TEST(metadata_becomes_headers_of_http)
{
    struct box b;
    box_open(&b);
    add(&b, "x-one", "1");
    add(&b, "x-bin", "AAE=");
    add(&b, "grpc-foo", "2");
    add(&b, "bad", "\r\nInjected: 1");
    CHECK_OK(words_headers(&b.from, &b.to));
    CHECK_EQ(b.to.n, 2);
    CHECK_STR(http_headers_get(&b.to, S("x-one")), "1");
    CHECK_STR(http_headers_get(&b.to, S("dapr-grpc-foo")), "2");
    arena_done(&b.a);
}

TEST(a_status_travels_in_headers)
{
    struct box b;
    box_open(&b);
    struct words_status in = { ABORTED, S("line one\nline \xc3\xbc"), S("") }, out = { 0 };
    str type = { 0 };
    CHECK_OK(words_put(&b.from, &in, S("type.googleapis.com/a.B")));
    CHECK(http_is_field_value(http_headers_get(&b.from, S(WORDS_STATUS))));
    CHECK(words_take(&b.from, &out, &type));
    CHECK_EQ(out.code, ABORTED);
    CHECK(str_eq(out.message, in.message));
    CHECK_STR(type, "type.googleapis.com/a.B");
    CHECK_EQ(b.from.n, 0, "taken off");
    CHECK(!words_take(&b.from, &out, &type), "no gRPC app");
    arena_done(&b.a);
}

TEST(a_status_that_cannot_be_read_is_a_failure)
{
    static const char *const bad[] = { "?", "AAAA", "/////w==" };
    EACH (bad, text) {
        struct box b;
        struct words_status out = { 0 };
        str type;
        box_open(&b);
        add(&b, WORDS_STATUS, *text);
        CHECK(words_take(&b.from, &out, &type));
        CHECK_EQ(out.code, UNKNOWN, "%s", *text);
        arena_done(&b.a);
    }
}

static str json_of(struct box *b, const struct words_status *s)
{
    struct buf out;
    buf_init(&out, MIB(1));
    CHECK_OK(words_json(s, &b->a, &out));
    str text = arena_dup(&b->a, buf_str(&out));
    buf_done(&out);
    return text;
}

TEST(details_that_are_known_are_spelt_out)
{
    static const struct {
        const char *type, *bytes, *want;
        size_t n;
    } row[] = {
        { "google.rpc.ErrorInfo", "\n\1R\22\1d\32\6\n\1k\22\1v",
          "\"reason\":\"R\",\"domain\":\"d\",\"metadata\":{\"k\":\"v\"}", 14 },
        { "google.rpc.BadRequest", "\n\6\n\1f\22\1d",
          "\"fieldViolations\":[{\"field\":\"f\",\"description\":\"d\"}]", 8 },
        { "google.rpc.RetryInfo", "\n\4\10\3\20\1", "\"retryDelay\":\"3.000000001s\"", 6 },
        { "google.rpc.DebugInfo", "\n\1a\n\1b\22\1c",
          "\"stackEntries\":[\"a\",\"b\"],\"detail\":\"c\"", 9 },
        { "google.rpc.ErrorInfo", "\n\377\377", "", 3 },
        { "google.rpc.Help", "\n\6\n\1d\22\1u", "\"links\":[{\"description\":\"d\",\"url\":\"u\"}]",
          8 },
        { "a.Own", "\10\1", "\"value\":\"CAE=\"", 2 },
    };
    EACH (row, r) {
        struct box b;
        box_open(&b);
        Dapr__Proto__Internals__V1__Status m = DAPR__PROTO__INTERNALS__V1__STATUS__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT, *list[] = { &any };
        str url = arena_printf(&b.a, "type.googleapis.com/%s", r->type);
        uint8_t packed[256];
        any.type_url = (char *)url.p;
        any.value = (ProtobufCBinaryData){ r->n, (uint8_t *)r->bytes };
        m.code = 5;
        m.message = "m";
        m.details = list;
        m.n_details = 1;
        size_t n = protobuf_c_message_pack(&m.base, packed);
        struct words_status s = { NOT_FOUND, S("m"), str_of(packed, n) };
        str want = arena_printf(
            &b.a, "{\"code\":5,\"message\":\"m\",\"details\":[{\"@type\":\"%s\"%s%s}]}", url.p,
            *r->want ? "," : "", r->want);
        CHECK(str_eq(json_of(&b, &s), want), "%s: " STR_FMT, r->type, STR_ARG(json_of(&b, &s)));
        arena_done(&b.a);
    }
}

TEST(a_type_url_that_no_header_holds_is_refused)
{
    struct box b;
    box_open(&b);
    CHECK_EQ(words_mark(&b.from, S("a\nb")), -INVALID);
    CHECK(!words_marked(&b.from));
    arena_done(&b.a);
}
