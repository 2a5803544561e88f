#include "check.h"

#include "format/uri.h"

static struct arena arena;

static int start(void **state)
{
    arena_init(&arena, KIB(64));
    return 0;
}

static int finish(void **state)
{
    arena_done(&arena);
    return 0;
}

static void escapes_are_decoded_by_the_rule(void **state)
{
    static const struct {
        const char *text;
        str path, query;
    } row[] = {
        { "plain", { "plain", 5 }, { "plain", 5 } },
        { "", { "", 0 }, { "", 0 } },
        { "a+b", { "a+b", 3 }, { "a b", 3 } },
        { "a%20b%2Bc", { "a b+c", 5 }, { "a b+c", 5 } },
        { "%00%ff", { "\0\xff", 2 }, { "\0\xff", 2 } },
        { "%2e%2E", { "..", 2 }, { "..", 2 } },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        str got;
        assert_int_equal(uri_decode(&arena, str_c(row[i].text), URI_PATH, &got), 0);
        check_str(got, row[i].path, row[i].text);
        assert_int_equal(uri_decode(&arena, str_c(row[i].text), URI_QUERY, &got), 0);
        check_str(got, row[i].query, row[i].text);
    }
}

static void broken_escapes_are_refused(void **state)
{
    static const char *const row[] = { "%", "a%2", "%zz", "%2g", "100%", "%%20" };
    for (size_t i = 0; i < COUNT(row); i++) {
        str got = S("canary");
        assert_int_equal(uri_decode(&arena, str_c(row[i]), URI_PATH, &got), -INVALID);
        check_str(got, S("canary"), row[i]);
    }
}

static void encoding_leaves_alone_what_go_leaves_alone(void **state)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 1000);
    str text = S("aZ0-_.~ $&+=:@/;,?%\"é\n");
    uri_encode(&out, text, URI_PATH);
    check_str(buf_str(&out), S("aZ0-_.~%20$&+=:@%2F%3B%2C%3F%25%22%C3%A9%0A"), "path");
    buf_clear(&out);
    uri_encode(&out, text, URI_QUERY);
    check_str(buf_str(&out), S("aZ0-_.~+%24%26%2B%3D%3A%40%2F%3B%2C%3F%25%22%C3%A9%0A"), "query");
    str back;
    assert_int_equal(uri_decode(&arena, buf_str(&out), URI_QUERY, &back), 0);
    check_str(back, text, "round trip");
}

static void query_walk_leaves_out_bad_pairs(void **state)
{
    struct uri_query q = uri_query(S("a=1&&b&bad=%zz&x;y=2&c=x%3Dy+z&=v"), &arena);
    static const char *const want[][2] = {
        { "a", "1" }, { "b", "" }, { "c", "x=y z" }, { "", "v" }
    };
    str key, value;
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_true(uri_query_next(&q, &key, &value));
        check_str(key, str_c(want[i][0]), "key");
        check_str(value, str_c(want[i][1]), "value");
    }
    assert_false(uri_query_next(&q, &key, &value));
    assert_int_equal(q.n_bad, 2);
    assert_false(q.failed);

    assert_true(uri_query_get(S("k=1&k=2"), &arena, S("k"), &value));
    check_str(value, S("1"), "first");
    assert_false(uri_query_get(S("k=1"), &arena, S("K"), &value));
}

static void metadata_keys_lose_their_prefix(void **state)
{
    struct uri_query q =
        uri_query(S("x=0&metadata.ttlInSeconds=5&METADATA.A=%20&metadata=1"), &arena);
    str key, value;
    assert_true(uri_query_next_metadata(&q, &key, &value));
    check_str(key, S("ttlInSeconds"), "first");
    check_str(value, S("5"), "first");
    assert_true(uri_query_next_metadata(&q, &key, &value));
    check_str(key, S("A"), "second");
    check_str(value, S(" "), "second");
    assert_false(uri_query_next_metadata(&q, &key, &value));
}

static void full_arena_ends_the_walk_visibly(void **state)
{
    AUTO(arena_done) struct arena tiny;
    arena_init(&tiny, 4);
    struct uri_query q = uri_query(S("a=%20%20%20%20%20%20%20%20"), &tiny);
    str key, value;
    assert_false(uri_query_next(&q, &key, &value));
    assert_true(q.failed);
}

static void paths_are_cleaned_as_in_go(void **state)
{
    static const char *const row[][2] = {
        { "", "." },
        { "/", "/" },
        { "abc", "abc" },
        { "abc/def", "abc/def" },
        { ".", "." },
        { "..", ".." },
        { "../..", "../.." },
        { "../../abc", "../../abc" },
        { "/abc", "/abc" },
        { "abc/", "abc" },
        { "abc/def/", "abc/def" },
        { "a//b//", "a/b" },
        { "///abc", "/abc" },
        { "abc/./def", "abc/def" },
        { "/./abc/def", "/abc/def" },
        { "abc/def/ghi/../jkl", "abc/def/jkl" },
        { "abc/def/../ghi/../jkl", "abc/jkl" },
        { "abc/def/..", "abc" },
        { "abc/def/../..", "." },
        { "/abc/def/../..", "/" },
        { "abc/def/../../..", ".." },
        { "/abc/def/../../..", "/" },
        { "abc/def/../../../ghi/jkl/../../../mno", "../../mno" },
        { "/../a", "/a" },
        { "abc/./../def", "def" },
        { "abc//./../def", "def" },
        { "a%2F..%2Fb/%2e%2e/c", "a%2F..%2Fb/%2e%2e/c" },
        { "...", "..." },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        str got;
        assert_int_equal(uri_clean(&arena, str_c(row[i][0]), &got), 0);
        check_str(got, str_c(row[i][1]), row[i][0]);
    }
}

static void uris_fall_into_their_parts(void **state)
{
    static const struct {
        const char *text, *scheme, *userinfo, *host;
        unsigned port;
        const char *path, *query;
        bool ipv6;
    } row[] = {
        { "http://a.b:80/p/q?x=1&y#f", "http", "", "a.b", 80, "/p/q", "x=1&y", false },
        { "localhost:50001", "", "", "localhost", 50001, "", "", false },
        { "HTTPS://h", "HTTPS", "", "h", 0, "", "", false },
        { "h/p", "", "", "h", 0, "/p", "", false },
        { "/only/path?q", "", "", "", 0, "/only/path", "q", false },
        { "http://[::1]:8080/x", "http", "", "::1", 8080, "/x", "", true },
        { "[fe80::1]", "", "", "fe80::1", 0, "", "", true },
        { "redis://u:p@h:6379/0", "redis", "u:p", "h", 6379, "/0", "", false },
        { "http://h?q=/x", "http", "", "h", 0, "", "q=/x", false },
        { "http://h/a://b", "http", "", "h", 0, "/a://b", "", false },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct uri u;
        if (uri_parse(str_c(row[i].text), &u))
            fail_msg("%s refused", row[i].text);
        check_str(u.scheme, str_c(row[i].scheme), row[i].text);
        check_str(u.userinfo, str_c(row[i].userinfo), row[i].text);
        check_str(u.host, str_c(row[i].host), row[i].text);
        assert_int_equal(u.port, row[i].port);
        check_str(u.path, str_c(row[i].path), row[i].text);
        check_str(u.query, str_c(row[i].query), row[i].text);
        assert_int_equal(u.ipv6, row[i].ipv6);
    }
}

static void malformed_uris_are_refused(void **state)
{
    static const char *const row[] = {
        "",       "http://",   "http:///p",  "://x",       "h:",
        "h:0",    "h:65536",   "h:8a",       "h:1:2",      "[::1",
        "[::1]x", "[]",        "http://:80", "http://a b", "http://a\nb",
        "?q",     "http://u@", "@",          "@/p",        "h:-1",
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct uri u = { .port = 77 };
        if (uri_parse(str_c(row[i]), &u) != -INVALID || u.port != 77)
            fail_msg("\"%s\" taken", row[i]);
    }
}

static void references_are_resolved_as_in_rfc_3986(void **state)
{
    static const char *const base = "http://a/b/c/d;p?q";
    static const struct {
        const char *base, *ref, *want;
    } row[] = {
        { base, "g:h", "g:h" },
        { base, "g", "http://a/b/c/g" },
        { base, "./g", "http://a/b/c/g" },
        { base, "g/", "http://a/b/c/g/" },
        { base, "/g", "http://a/g" },
        { base, "//g", "http://g" },
        { base, "?y", "http://a/b/c/d;p?y" },
        { base, "g?y", "http://a/b/c/g?y" },
        { base, "#s", "http://a/b/c/d;p?q" },
        { base, "g#s", "http://a/b/c/g" },
        { base, ";x", "http://a/b/c/;x" },
        { base, "", "http://a/b/c/d;p?q" },
        { base, ".", "http://a/b/c/" },
        { base, "./", "http://a/b/c/" },
        { base, "..", "http://a/b/" },
        { base, "../", "http://a/b/" },
        { base, "../g", "http://a/b/g" },
        { base, "../..", "http://a/" },
        { base, "../../g", "http://a/g" },
        { base, "../../../g", "http://a/g" },
        { base, "../../../../g", "http://a/g" },
        { base, "/./g", "http://a/g" },
        { base, "/../g", "http://a/g" },
        { base, "g.", "http://a/b/c/g." },
        { base, ".g", "http://a/b/c/.g" },
        { base, "..g", "http://a/b/c/..g" },
        { base, "./../g", "http://a/b/g" },
        { base, "g/./h", "http://a/b/c/g/h" },
        { base, "g/../h", "http://a/b/c/h" },
        { base, "g;x=1/../y", "http://a/b/c/y" },
        { base, "g?y/../x", "http://a/b/c/g?y/../x" },
        { base, "x?u=http://z/../y", "http://a/b/c/x?u=http://z/../y" },
        { base, "https://o:1/x/../y", "https://o:1/y" },
        { base, "a//b/../c", "http://a/b/c/a//c" },
        { "https://h", "x", "https://h/x" },
        { "https://h", "", "https://h" },
        { "https://h?q", "x/y", "https://h/x/y" },
        { "https://h?q", "?z", "https://h?z" },
        { "https://h#f", "/", "https://h/" },
        { "https://u@h:1/a/b#f", "../../c", "https://u@h:1/c" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        str got;
        assert_int_equal(uri_resolve(&arena, str_c(row[i].base), str_c(row[i].ref), &got), 0);
        check_str(got, str_c(row[i].want), row[i].ref);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_are_decoded_by_the_rule),
        cmocka_unit_test(broken_escapes_are_refused),
        cmocka_unit_test(encoding_leaves_alone_what_go_leaves_alone),
        cmocka_unit_test(query_walk_leaves_out_bad_pairs),
        cmocka_unit_test(metadata_keys_lose_their_prefix),
        cmocka_unit_test(full_arena_ends_the_walk_visibly),
        cmocka_unit_test(paths_are_cleaned_as_in_go),
        cmocka_unit_test(uris_fall_into_their_parts),
        cmocka_unit_test(references_are_resolved_as_in_rfc_3986),
        cmocka_unit_test(malformed_uris_are_refused),
    };
    return cmocka_run_group_tests_name("uri", tests, start, finish);
}
