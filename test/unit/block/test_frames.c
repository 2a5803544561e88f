#include "block/call/frames.h"
#include "internals.pb-c.h"
#include "test/testing.h"

struct box {
    struct arena a;
    struct buf out;
};

static void box_open(struct box *b)
{
    arena_init(&b->a, MIB(4));
    buf_init(&b->out, FRAME_MESSAGE_MAX);
}

static void box_close(struct box *b)
{
    arena_done(&b->a);
    buf_done(&b->out);
}

static void headers(struct http_headers *h, struct arena *a)
{
    http_headers_init(h, a);
    REQUIRE(http_headers_add(h, S("Content-Type"), S("a/b")) == 0);
    REQUIRE(http_headers_add(h, S("X-Many"), S("1")) == 0);
    REQUIRE(http_headers_add(h, S("x-many"), S("2")) == 0);
}

TEST(requests_come_back_as_they_went)
{
    static const char *const verbs[] = { "GET",    "HEAD",    "POST",  "PUT",
                                         "DELETE", "OPTIONS", "TRACE", "PATCH" };
    EACH (verbs, v) {
        struct box b;
        box_open(&b);
        struct http_request req = { .method = str_c(*v), .target = S("/a/b%20c?x=1&y=%3F") };
        headers(&req.headers, &b.a);
        CHECK_OK(frame_pack_request(&req, S("body\0more"), 7, &b.a, &b.out));
        struct frame_request f;
        CHECK_OK(frame_unpack_request(buf_str(&b.out), &b.a, &f));
        CHECK(f.has_request && f.has_payload);
        CHECK_STR(f.verb, *v);
        CHECK_STR(f.query, "x=1&y=%3F");
        CHECK_STR(f.content_type, "a/b");
        CHECK_EQ(f.seq, 7);
        CHECK(str_eq(f.data, S("body\0more")));
        CHECK_EQ(f.headers.n, 3, "values of one name stay apart");
        box_close(&b);
    }
}

TEST(a_verb_without_a_number_is_none)
{
    struct box b;
    box_open(&b);
    struct http_request req = { .method = S("PROPFIND"), .target = S("/") };
    headers(&req.headers, &b.a);
    CHECK_OK(frame_pack_request(&req, (str){ 0 }, 0, &b.a, &b.out));
    struct frame_request f;
    CHECK_OK(frame_unpack_request(buf_str(&b.out), &b.a, &f));
    CHECK_EQ(f.verb.n, 0);
    CHECK(!f.has_payload);
    box_close(&b);
}

TEST(payloads_travel_alone)
{
    struct box b;
    box_open(&b);
    CHECK_OK(frame_pack_request(NULL, S("x"), 3, &b.a, &b.out));
    struct frame_request f;
    CHECK_OK(frame_unpack_request(buf_str(&b.out), &b.a, &f));
    CHECK(!f.has_request && f.has_payload && f.seq == 3);
    buf_clear(&b.out);
    CHECK_OK(frame_pack_request(NULL, S(""), 4, &b.a, &b.out));
    CHECK_OK(frame_unpack_request(buf_str(&b.out), &b.a, &f));
    CHECK(f.has_payload && !f.data.n && f.seq == 4, "an empty payload is one");
    box_close(&b);
}

TEST(a_request_without_metadata_is_refused)
{
    struct box b;
    box_open(&b);
    struct http_request req = { .method = S("GET"), .target = S("/"), .content_length = -1 };
    http_headers_init(&req.headers, &b.a);
    CHECK_OK(frame_pack_request(&req, (str){ 0 }, 0, &b.a, &b.out));
    struct frame_request f;
    CHECK_EQ(frame_unpack_request(buf_str(&b.out), &b.a, &f), -INVALID, "surprise 42");
    box_close(&b);
}

TEST(answers_come_back_as_they_went)
{
    struct box b;
    box_open(&b);
    struct http_headers h;
    headers(&h, &b.a);
    struct frame_response head = { .status = 299, .headers = h };
    CHECK_OK(frame_pack_response(&head, S("x"), 0, &b.a, &b.out));
    struct frame_response f;
    CHECK_OK(frame_unpack_response(buf_str(&b.out), &b.a, &f));
    CHECK(f.has_response && f.has_payload);
    CHECK_EQ(f.status, 299);
    CHECK_STR(http_headers_get(&f.headers, S("x-many")), "1");
    CHECK_STR(f.content_type, "a/b");
    box_close(&b);
}

TEST(a_grpc_apps_answer_comes_back_whole_s43)
{
    for (int unary = 0; unary < 2; unary++) {
        struct box b;
        struct frame_response f;
        box_open(&b);
        struct frame_response head = { .grpc = true,
                                       .outcome = { ABORTED, S("why"), S("") },
                                       .content_type = S("201"),
                                       .type_url = S("a/b.C") };
        headers(&head.headers, &b.a);
        http_headers_init(&head.trailers, &b.a);
        REQUIRE(http_headers_add(&head.trailers, S("x-bin"), S("AAE")) == 0);
        int r = unary ? frame_pack_unary(&head, S("x"), &b.a, &b.out)
                      : frame_pack_response(&head, S("x"), 0, &b.a, &b.out);
        CHECK_OK(r);
        CHECK_OK(unary ? frame_unpack_unary_response(buf_str(&b.out), &b.a, &f)
                       : frame_unpack_response(buf_str(&b.out), &b.a, &f));
        CHECK(f.grpc && f.outcome.code == ABORTED);
        CHECK_EQ(f.status, 409, "what an HTTP caller sees");
        CHECK_STR(f.outcome.message, "why");
        CHECK_STR(f.content_type, "201");
        CHECK_STR(f.type_url, "a/b.C");
        CHECK_STR(f.data, "x");
        CHECK_STR(http_headers_get(&f.trailers, S("x-bin")), "AAE=", "facts 3.4: standard base64");
        box_close(&b);
    }
}

TEST(names_of_http_are_told_from_those_of_grpc)
{
    for (int grpc = 0; grpc < 2; grpc++) {
        struct box b;
        struct frame_request f;
        box_open(&b);
        struct http_request req = { .method = S("NONE"), .target = S("/") };
        http_headers_init(&req.headers, &b.a);
        REQUIRE(http_headers_add(&req.headers, S("if-none-match"), S("1")) == 0);
        if (grpc)
            CHECK_OK(words_mark(&req.headers, S("a/b.C")));
        CHECK_OK(frame_pack_request(&req, (str){ 0 }, 0, &b.a, &b.out));
        CHECK_OK(frame_unpack_request(buf_str(&b.out), &b.a, &f));
        CHECK_STR(f.headers.v[0].name, grpc ? "if-none-match" : "If-None-Match");
        CHECK_STR(f.type_url, grpc ? "a/b.C" : "");
        CHECK_EQ(f.verb.n, 0);
        box_close(&b);
    }
}

static int status_of(int code, int *ret)
{
    struct box b;
    box_open(&b);
    Dapr__Proto__Internals__V1__InternalInvokeResponseStream m =
        DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_RESPONSE_STREAM__INIT;
    Dapr__Proto__Internals__V1__InternalInvokeResponse r =
        DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_RESPONSE__INIT;
    Dapr__Proto__Internals__V1__Status s = DAPR__PROTO__INTERNALS__V1__STATUS__INIT;
    s.code = code;
    r.status = &s;
    m.response = &r;
    uint8_t wire[64];
    size_t n = protobuf_c_message_pack(&m.base, wire);
    struct frame_response f;
    int result = frame_unpack_response(str_of(wire, n), &b.a, &f);
    *ret = f.status;
    box_close(&b);
    return result;
}

TEST(low_status_codes_are_grpcs)
{
    static const struct {
        int code, want;
    } row[] = { { 0, 200 },  { 5, 404 },   { 7, 403 },   { 14, 503 }, { 16, 401 },
                { 99, 500 }, { 100, 100 }, { 599, 599 }, { -1, 500 }, { INT32_MIN, 500 } };
    EACH (row, r) {
        int status = -1;
        CHECK_OK(status_of(r->code, &status));
        CHECK_EQ(status, r->want, "code %d", r->code);
    }
}

TEST(headers_of_the_connection_stay_behind)
{
    struct box b;
    box_open(&b);
    struct http_headers h;
    http_headers_init(&h, &b.a);
    static const char *const names[] = { WORDS_STATUS, WORDS_TYPE, WORDS_CALL, "content-length",
                                         "host",       "kept",     "bad name" };
    EACH (names, n)
        REQUIRE(http_headers_add(&h, str_c(*n), S("1")) == 0);
    REQUIRE(http_headers_add(&h, S("split"), S("a\r\nb")) == 0);
    struct frame_response head = { .status = 200, .headers = h };
    CHECK_OK(frame_pack_response(&head, (str){ 0 }, 0, &b.a, &b.out));
    struct frame_response f;
    CHECK_OK(frame_unpack_response(buf_str(&b.out), &b.a, &f));
    for (size_t i = 0; i < f.headers.n; i++)
        CHECK(str_eq(f.headers.v[i].name, S("kept")), "%.*s", STR_ARG(f.headers.v[i].name));
    CHECK(http_headers_has(&f.headers, S("kept")));
    box_close(&b);
}

/* Each prefix and each flipped byte of a good message: no crash, and nothing but the two codes. */
TEST(damaged_messages_are_refused_or_read)
{
    struct box b;
    box_open(&b);
    struct http_request req = { .method = S("POST"), .target = S("/m?q=1") };
    headers(&req.headers, &b.a);
    REQUIRE(frame_pack_request(&req, S("data"), 0, &b.a, &b.out) == 0);
    str good = buf_str(&b.out);
    char bad[512];
    REQUIRE(good.n < sizeof bad);
    for (size_t i = 0; i < good.n * 9; i++) {
        struct arena a;
        arena_init(&a, KIB(64));
        memcpy(bad, good.p, good.n);
        size_t n = i < good.n ? i : good.n;
        if (i >= good.n)
            bad[(i - good.n) / 8] = (char)(bad[(i - good.n) / 8] ^ 1 << i % 8);
        struct frame_request f;
        struct frame_response g;
        int r = frame_unpack_request(str_of(bad, n), &a, &f);
        CHECK(r == 0 || r == -INVALID || r == -EXHAUSTED);
        r = frame_unpack_unary(str_of(bad, n), &a, &f);
        CHECK(r == 0 || r == -INVALID || r == -EXHAUSTED);
        r = frame_unpack_unary_response(str_of(bad, n), &a, &g);
        CHECK(r == 0 || r == -INVALID || r == -EXHAUSTED);
        r = frame_unpack_response(str_of(bad, n), &a, &g);
        CHECK(r == 0 || r == -INVALID || r == -EXHAUSTED);
        arena_done(&a);
    }
    box_close(&b);
}

TEST(without_memory_packing_says_so)
{
    FAIL_EACH_ALLOC(n)
    {
        struct box b;
        box_open(&b);
        struct http_headers h;
        http_headers_init(&h, &b.a);
        int r = http_headers_add(&h, S("A"), S("b"));
        if (r == 0)
            r = frame_pack_response(&(struct frame_response){ .status = 200, .headers = h }, S("x"),
                                    0, &b.a, &b.out);
        struct frame_response f;
        if (r == 0)
            r = frame_unpack_response(buf_str(&b.out), &b.a, &f);
        CHECK(r == 0 || r == -EXHAUSTED || r == -INVALID, "allocation %zu: %d", n, r);
        CHECK(r == 0 || test_alloc_failed(n));
        box_close(&b);
    }
}
