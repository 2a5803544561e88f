#include "base/mem.h"
#include "http/message.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct arena *a = mem_alloc(sizeof *a);
    arena_init(a, KIB(64));
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    arena_done(*state);
    mem_free(*state);
    return 0;
}

static struct http_headers headers_of(struct arena *a, size_t n, const str (*pair)[2])
{
    struct http_headers h;
    http_headers_init(&h, a);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(http_headers_add(&h, pair[i][0], pair[i][1]), 0);
    return h;
}

static void get_finds_the_first_in_any_case(void **state)
{
    const str pair[][2] = { { S("A"), S("1") }, { S("b"), S("2") }, { S("a"), S("3") } };
    struct http_headers h = headers_of(*state, COUNT(pair), pair);
    assert_true(str_eq(http_headers_get(&h, S("a")), S("1")));
    assert_true(http_headers_has(&h, S("B")));
    assert_null(http_headers_get(&h, S("c")).p);
}

static void set_replaces_all_of_a_name(void **state)
{
    const str pair[][2] = { { S("A"), S("1") }, { S("b"), S("2") }, { S("a"), S("3") } };
    struct http_headers h = headers_of(*state, COUNT(pair), pair);
    assert_int_equal(http_headers_set(&h, S("a"), S("9")), 0);
    assert_int_equal(h.n, 2);
    assert_true(str_eq(http_headers_get(&h, S("A")), S("9")));
    assert_int_equal(http_headers_set(&h, S("new"), S("x")), 0);
    assert_int_equal(h.n, 3);
}

static void remove_takes_all_of_a_name(void **state)
{
    const str pair[][2] = { { S("A"), S("1") }, { S("b"), S("2") }, { S("a"), S("3") } };
    struct http_headers h = headers_of(*state, COUNT(pair), pair);
    http_headers_remove(&h, S("a"));
    assert_int_equal(h.n, 1);
    assert_true(str_eq(h.v[0].name, S("b")));
}

static void strip_hop_drops_what_connection_names(void **state)
{
    const str pair[][2] = {
        { S("X-One"), S("1") },       { S("Connection"), S("x-one, close") },
        { S("Keep"), S("2") },        { S("Transfer-Encoding"), S("chunked") },
        { S("connection"), S("Tw") }, { S("Tw"), S("3") },
        { S("TE"), S("trailers") },   { S("Upgrade"), S("h2c") },
    };
    struct http_headers h = headers_of(*state, COUNT(pair), pair);
    http_headers_strip_hop(&h);
    assert_int_equal(h.n, 1);
    assert_true(str_eq(h.v[0].name, S("Keep")));
}

static void adding_past_the_arena_is_exhausted(void **state)
{
    struct arena small;
    arena_init(&small, 1024);
    struct http_headers h;
    http_headers_init(&h, &small);
    int r = 0;
    for (int i = 0; i < 1000 && r == 0; i++)
        r = http_headers_add(&h, S("a"), S("b"));
    assert_int_equal(r, -EXHAUSTED);
    assert_true(h.n > 0 && h.n < 1000);
    arena_done(&small);
    (void)state;
}

static void field_values_hold_no_controls(void **state)
{
    (void)state;
    char s[40];
    for (int c = 0; c < 256; c++)
        for (size_t at = 0; at < sizeof s; at += 3) {
            memset(s, 'x', sizeof s);
            s[at] = (char)c;
            bool want = c == '\t' || (c >= ' ' && c != 0x7f);
            if (http_is_field_value(str_of(s, sizeof s)) != want)
                fail_msg("byte %d at %zu", c, at);
        }
    assert_true(http_is_field_value(S("")));
}

static void tokens_are_tokens(void **state)
{
    (void)state;
    assert_true(http_is_token(S("Content-Type")));
    assert_false(http_is_token(S("")));
    assert_false(http_is_token(S("a b")));
    assert_false(http_is_token(S("a:")));
    assert_false(http_is_token(S("\xc3\xa9")));
}

static void reasons_are_known_or_empty(void **state)
{
    (void)state;
    assert_string_equal(http_reason(200), "OK");
    assert_string_equal(http_reason(100), "Continue");
    assert_string_equal(http_reason(511), "Network Authentication Required");
    assert_string_equal(http_reason(404), "Not Found");
    assert_string_equal(http_reason(299), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(get_finds_the_first_in_any_case, setup, teardown),
        cmocka_unit_test_setup_teardown(set_replaces_all_of_a_name, setup, teardown),
        cmocka_unit_test_setup_teardown(remove_takes_all_of_a_name, setup, teardown),
        cmocka_unit_test_setup_teardown(strip_hop_drops_what_connection_names, setup, teardown),
        cmocka_unit_test_setup_teardown(adding_past_the_arena_is_exhausted, setup, teardown),
        cmocka_unit_test(field_values_hold_no_controls),
        cmocka_unit_test(tokens_are_tokens),
        cmocka_unit_test(reasons_are_known_or_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
