#include "api/request.h"
#include "fixture.h"

static struct kvs metadata(struct arena *a, struct http_memory *m, const char *query)
{
    struct http_request req = { .method = S("GET"), .query = str_c(query) };
    http_memory_init(m, &req, S(""), a, 100);
    struct request r = { .x = &m->x, .a = a };
    struct kvs kvs;
    CHECK_OK(request_metadata(&r, &kvs), "%s", query);
    return kvs;
}

TEST(metadata_of_the_query)
{
    static const struct {
        const char *query, *key, *want; /* NULL: absent */
        size_t n;
    } row[] = {
        { "", "a", NULL, 0 },
        { "metadata.a=1", "a", "1", 1 },
        { "METADATA.a=1", "a", "1", 1 },
        { "metadata.a=1&metadata.a=2", "a", "1", 1 },
        { "metadata.a=1&metadata.A=2", "A", "1", 1 },
        { "x=1&metadata.a=1&metadata.b=2&y", "b", "2", 2 },
        { "metadata.a=a%20b+c%2Bd", "a", "a b c+d", 1 },
        { "metadata.%61=1", "a", "1", 1 },
        { "metadata.a", "a", "", 1 },
        { "metadata.a=%zz&metadata.b=1", "b", "1", 1 },
        { "metadata.=1", "", "1", 1 },
        { "&&&&", "a", NULL, 0 },
        { "metadata", "", NULL, 0 },
    };
    EACH (row, r) {
        struct arena a;
        struct http_memory m;
        arena_init(&a, MIB(1));
        struct kvs kvs = metadata(&a, &m, r->query);
        CHECK_EQ(kvs.n, r->n, "%s", r->query);
        str got = kvs_get(kvs, str_c(r->key));
        CHECK_EQ(!got.p, !r->want, "%s", r->query);
        if (r->want)
            CHECK_STR(got, r->want, "%s", r->query);
        http_memory_done(&m);
        arena_done(&a);
    }
}

static int parse(const char *body, uint64_t max, struct error *err)
{
    struct arena a;
    struct http_memory m;
    struct json v;
    struct http_request req = { .method = S("POST"), .content_length = (int64_t)strlen(body) };
    struct api_config config = { .max_body_bytes = max };
    arena_init(&a, MIB(1));
    http_memory_init(&m, &req, str_c(body), &a, 100);
    struct request r = { .x = &m.x, .a = &a, .config = &config };
    int code = request_json(&r, &v, err);
    http_memory_done(&m);
    arena_done(&a);
    return code;
}

TEST_CO(bodies_that_are_no_json_are_refused_with_gos_words)
{
    static const struct {
        const char *body, *want;
    } row[] = {
        { "", "unexpected end of JSON input" },
        { "{", "unexpected end of JSON input" },
        { "[1,]", "invalid character ']' looking for beginning of value" },
        { "{} x", "invalid character 'x' after top-level value" },
        { "nul", "unexpected end of JSON input" },
    };
    EACH (row, r) {
        struct error err = { 0 };
        CHECK_EQ(parse(r->body, 0, &err), -INVALID);
        CHECK_TEXT(err.tag, "ERR_MALFORMED_REQUEST");
        CHECK(str_contains(str_c(err.text), str_c(r->want)), "%s: %s", r->body, err.text);
    }
    struct error err = { 0 };
    CHECK_OK(parse("{}", 2, &err));
    CHECK_EQ(parse("{ }", 2, &err), -INVALID);
    CHECK(str_contains(str_c(err.text), S("stream too large")), "%s", err.text);
}

TEST(objects_become_key_value_pairs)
{
    struct arena a;
    struct json v;
    struct kvs kvs;
    arena_init(&a, MIB(1));
    struct request r = { .a = &a };
    CHECK_OK(
        json_parse(S("{\"a\":\"x\\ny\",\"b\":1.50,\"c\":true,\"d\":null,\"e\":[1]}"), &v, NULL));
    CHECK_OK(request_kvs(&r, v, &kvs));
    CHECK_EQ(kvs.n, 5);
    CHECK_STR(kvs_get(kvs, S("a")), "x\ny");
    CHECK_STR(kvs_get(kvs, S("b")), "1.50");
    CHECK_STR(kvs_get(kvs, S("e")), "[1]");
    CHECK_OK(json_parse(S("[1]"), &v, NULL));
    CHECK_OK(request_kvs(&r, v, &kvs));
    CHECK_EQ(kvs.n, 0);
    arena_done(&a);
}

TEST_CO(an_answer_that_does_not_fit_is_an_error_not_a_part)
{
    struct arena a;
    struct http_memory m;
    struct http_request req = { .method = S("GET") };
    struct buf out;
    arena_init(&a, MIB(1));
    http_memory_init(&m, &req, S(""), &a, 1000);
    struct request r = { .x = &m.x, .a = &a };
    buf_init(&out, 10);
    buf_put(&out, S("[1,2"));
    buf_put(&out, S(",3,4,5,6,7,8,9]"));
    reply_buf(&r, 200, &out);
    CHECK_EQ(m.x.status, 500);
    CHECK(!str_contains(buf_str(&m.reply), S("[1,2")));
    buf_done(&out);
    http_memory_done(&m);
    arena_done(&a);
}
