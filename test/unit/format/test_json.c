#include "check.h"

#include "format/json.h"
#include "format/number.h"

#include <float.h>
#include <math.h>

static struct arena arena;

static int start(void **state)
{
    arena_init(&arena, MIB(1));
    return 0;
}

static int finish(void **state)
{
    arena_done(&arena);
    return 0;
}

static struct json parsed(str text)
{
    struct json v = { S("canary"), JSON_NONE };
    struct json_error err;
    if (json_parse(text, &v, &err))
        fail_msg("%.*s: %s", (int)text.n, text.p, err.text);
    return v;
}

static void value_is_its_exact_text(void **state)
{
    static const struct {
        const char *text, *raw;
        enum json_type type;
    } row[] = {
        { " null\n", "null", JSON_NULL },
        { "true", "true", JSON_BOOL },
        { "\t-0.0e+1 ", "-0.0e+1", JSON_NUMBER },
        { "\"a\\u0041\"", "\"a\\u0041\"", JSON_STRING },
        { " [ 1 , 2 ] ", "[ 1 , 2 ]", JSON_ARRAY },
        { "{\"a\" : {} }", "{\"a\" : {} }", JSON_OBJECT },
        { "[]", "[]", JSON_ARRAY },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct json v = parsed(str_c(row[i].text));
        check_str(v.raw, str_c(row[i].raw), row[i].text);
        assert_int_equal(v.type, row[i].type);
    }
}

static void errors_speak_as_go_does(void **state)
{
    static const struct {
        const char *text, *want;
        unsigned offset, line, column;
    } row[] = {
        { "", "unexpected end of JSON input", 0, 1, 1 },
        { "  ", "unexpected end of JSON input", 2, 1, 3 },
        { "{\"a\":1", "unexpected end of JSON input", 6, 1, 7 },
        { "\"abc", "unexpected end of JSON input", 4, 1, 5 },
        { "tru", "unexpected end of JSON input", 3, 1, 4 },
        { "-", "unexpected end of JSON input", 1, 1, 2 },
        { "1e", "unexpected end of JSON input", 2, 1, 3 },
        { "x", "invalid character 'x' looking for beginning of value", 0, 1, 1 },
        { "[1,]", "invalid character ']' looking for beginning of value", 3, 1, 4 },
        { "{,}", "invalid character ',' looking for beginning of object key string", 1, 1, 2 },
        { "{\"a\":1,}", "invalid character '}' looking for beginning of object key string", 7, 1,
          8 },
        { "{\"a\" 1}", "invalid character '1' after object key", 5, 1, 6 },
        { "{\"a\":1\n 2}", "invalid character '2' after object key:value pair", 8, 2, 2 },
        { "[1 2]", "invalid character '2' after array element", 3, 1, 4 },
        { "[1}", "invalid character '}' after array element", 2, 1, 3 },
        { "1 2", "invalid character '2' after top-level value", 2, 1, 3 },
        { "01", "invalid character '1' after top-level value", 1, 1, 2 },
        { "tRue", "invalid character 'R' in literal true (expecting 'r')", 1, 1, 2 },
        { "falsy", "invalid character 'y' in literal false (expecting 'e')", 4, 1, 5 },
        { "nul1", "invalid character '1' in literal null (expecting 'l')", 3, 1, 4 },
        { "-x", "invalid character 'x' in numeric literal", 1, 1, 2 },
        { "1.x", "invalid character 'x' after decimal point in numeric literal", 2, 1, 3 },
        { "1e+x", "invalid character 'x' in exponent of numeric literal", 3, 1, 4 },
        { "\"\\q\"", "invalid character 'q' in string escape code", 2, 1, 3 },
        { "\"\\u12G4\"", "invalid character 'G' in \\u hexadecimal character escape", 5, 1, 6 },
        { "\"a\nb\"", "invalid character '\\n' in string literal", 2, 1, 3 },
        { "\"a\001b\"", "invalid character '\\x01' in string literal", 2, 1, 3 },
        { "'a'", "invalid character '\\'' looking for beginning of value", 0, 1, 1 },
        { "\xff", "invalid character 'ÿ' looking for beginning of value", 0, 1, 1 },
        { "\"\xff\"", "invalid UTF-8 byte 0xff in string literal", 1, 1, 2 },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct json v = { S("canary"), JSON_NONE };
        struct json_error err = { 0 };
        assert_int_equal(json_parse(str_c(row[i].text), &v, &err), -INVALID);
        check_str(str_c(err.text), str_c(row[i].want), row[i].text);
        assert_int_equal(err.offset, row[i].offset);
        assert_int_equal(err.line, row[i].line);
        assert_int_equal(err.column, row[i].column);
        check_str(v.raw, S("canary"), "nothing is given on an error");
    }
}

static void bad_byte_at_every_place_of_a_long_string_is_seen(void **state)
{
    static const char bad[] = { '\n', 0x1f, '\\', (char)0x80, (char)0xff, 0 };
    for (size_t len = 1; len < 70; len++)
        for (size_t at = 0; at < len; at++)
            for (size_t b = 0; b < sizeof bad; b++) {
                char text[80];
                memset(text, 'a', sizeof text);
                text[0] = text[len + 1] = '"';
                text[1 + at] = bad[b];
                struct json v;
                struct json_error err;
                assert_int_equal(json_parse(str_of(text, len + 2), &v, &err), -INVALID);
                size_t want = bad[b] == '\\' ? at + 2 : at + 1;
                if (bad[b] == '\\' && at + 1 == len)
                    want = len + 2; /* \" escapes the closing quote */
                assert_int_equal(err.offset, want);
            }
}

static void utf8_is_checked_to_the_letter(void **state)
{
    static const struct {
        const char *name, *bytes;
        bool ok;
    } row[] = {
        { "two bytes", "\xc3\xa9", true },
        { "three bytes", "\xe2\x82\xac", true },
        { "four bytes", "\xf0\x9f\x9b\xb6", true },
        { "highest", "\xf4\x8f\xbf\xbf", true },
        { "past the highest", "\xf4\x90\x80\x80", false },
        { "overlong slash", "\xc0\xaf", false },
        { "overlong of three", "\xe0\x80\xaf", false },
        { "overlong of four", "\xf0\x80\x80\xaf", false },
        { "surrogate", "\xed\xa0\x80", false },
        { "before the surrogates", "\xed\x9f\xbf", true },
        { "cut short", "\xe2\x82", false },
        { "lone continuation", "\x80", false },
        { "0xf5", "\xf5\x80\x80\x80", false },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        char text[16];
        int n = snprintf(text, sizeof text, "\"%s\"", row[i].bytes);
        struct json v;
        check_that((json_parse(str_of(text, (size_t)n), &v, NULL) == 0) == row[i].ok, row[i].name);
    }
}

static void depth_limit_is_exact(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 2];
    struct json v;
    struct json_error err;
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(json_parse(str_of(text, 2 * JSON_DEPTH_MAX), &v, &err), 0);

    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(json_parse(str_of(text, 2 * JSON_DEPTH_MAX + 2), &v, &err), -INVALID);
    assert_string_equal(err.text, "exceeded max depth");
}

static void mixed_nesting_remembers_what_it_is_in(void **state)
{
    struct json v;
    assert_int_equal(json_parse(S("[{\"a\":[{\"b\":[]},[]]},{}]"), &v, NULL), 0);
    assert_int_equal(json_parse(S("[{\"a\":[{\"b\":[}},[]]},{}]"), &v, NULL), -INVALID);
    assert_int_equal(json_parse(S("{\"a\":[1,{\"b\":2]}}"), &v, NULL), -INVALID);
}

static void walk_gives_members_in_order(void **state)
{
    struct json v = parsed(S("{ \"a\" : 1 , \"b{}\":[1,\"]\",{\"x\":2}] ,\"c\":\"\\\"}\"}"));
    static const char *const want[][2] = { { "\"a\"", "1" },
                                           { "\"b{}\"", "[1,\"]\",{\"x\":2}]" },
                                           { "\"c\"", "\"\\\"}\"" } };
    struct json key, item;
    struct json_iter it = json_iter(v);
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_true(json_next(&it, &key, &item));
        check_str(key.raw, str_c(want[i][0]), "key");
        check_str(item.raw, str_c(want[i][1]), "value");
    }
    assert_false(json_next(&it, &key, &item));
    assert_false(json_next(&it, &key, &item));
    assert_int_equal(json_count(v), 3);
    assert_int_equal(json_count(parsed(S("[ ]"))), 0);
    assert_int_equal(json_count(parsed(S("7"))), 0);
    check_str(json_at(json_get(v, S("b{}")), 1).raw, S("\"]\""), "item 1");
    assert_int_equal(json_at(json_get(v, S("b{}")), 3).type, JSON_NONE);
}

static void last_duplicate_wins(void **state)
{
    struct json v = parsed(S("{\"a\":1,\"A\":2,\"\\u0061\":3,\"b\":4}"));
    check_str(json_get(v, S("a")).raw, S("3"), "exact");
    check_str(json_get(v, S("A")).raw, S("2"), "other case");
    check_str(json_get_fold(v, S("B")).raw, S("4"), "fold");
    check_str(json_get_fold(v, S("A")).raw, S("3"), "fold, escaped");
    assert_int_equal(json_get(v, S("c")).type, JSON_NONE);
    assert_int_equal(json_get(json_get(v, S("a")), S("x")).type, JSON_NONE);
    assert_true(json_is_null(json_get(v, S("c"))));
}

static void strings_are_decoded(void **state)
{
    static const struct {
        const char *text;
        str want;
    } row[] = {
        { "\"plain\"", { "plain", 5 } },
        { "\"\"", { "", 0 } },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", { "\"\\/\b\f\n\r\t", 8 } },
        { "\"\\u00e9\\u20AC\"", { "é€", 5 } },
        { "\"\\ud83d\\udef6!\"", { "🛶!", 5 } },
        { "\"\\ud83d\"", { "\xef\xbf\xbd", 3 } },
        { "\"\\ud83dx\"", { "\xef\xbf\xbdx", 4 } },
        { "\"\\ud83d\\u0041\"",
          { "\xef\xbf\xbd"
            "A",
            4 } },
        { "\"\\udef6\\ud83d\"", { "\xef\xbf\xbd\xef\xbf\xbd", 6 } },
        { "\"a\\u0000b\"", { "a\0b", 3 } },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct json v = parsed(str_c(row[i].text));
        str got;
        assert_int_equal(json_string(&arena, v, &got), 0);
        check_str(got, row[i].want, row[i].text);
        assert_true(json_eq_str(v, row[i].want));
        assert_false(json_eq_str(v, S("something else")));

        AUTO(buf_done) struct buf out;
        buf_init(&out, 100);
        assert_int_equal(json_string_put(&out, v), 0);
        check_str(buf_str(&out), row[i].want, row[i].text);
    }
    str got = S("canary");
    assert_int_equal(json_string(&arena, parsed(S("1")), &got), -INVALID);
    check_str(got, S("canary"), "not a string");
    assert_int_equal(json_string_or(&arena, parsed(S("null")), S("def"), &got), 0);
    check_str(got, S("def"), "default");
    assert_int_equal(json_string_or(&arena, parsed(S("1")), S("def"), &got), -INVALID);
}

static void full_arena_is_an_error_not_a_crash(void **state)
{
    AUTO(arena_done) struct arena tiny;
    arena_init(&tiny, 8);
    str got = S("canary");
    assert_int_equal(json_string(&tiny, parsed(S("\"\\nabcdefghijklmnop\"")), &got), -EXHAUSTED);
    check_str(got, S("canary"), "untouched");
}

static void integers_are_exact(void **state)
{
    static const struct {
        const char *text;
        bool is_i64;
        int64_t i64;
        bool is_u64;
        uint64_t u64;
    } row[] = {
        { "0", true, 0, true, 0 },
        { "-0", true, 0, true, 0 },
        { "1.0", true, 1, true, 1 },
        { "1e2", true, 100, true, 100 },
        { "1.25e2", true, 125, true, 125 },
        { "1.25e1", false, 7, false, 7 },
        { "1200e-2", true, 12, true, 12 },
        { "0.1", false, 7, false, 7 },
        { "-7", true, -7, false, 7 },
        { "9223372036854775807", true, INT64_MAX, true, INT64_MAX },
        { "9223372036854775808", false, 7, true, 9223372036854775808u },
        { "-9223372036854775808", true, INT64_MIN, false, 7 },
        { "-9223372036854775809", false, 7, false, 7 },
        { "18446744073709551615", false, 7, true, UINT64_MAX },
        { "18446744073709551616", false, 7, false, 7 },
        { "1e19", false, 7, true, 10000000000000000000u },
        { "1e20", false, 7, false, 7 },
        { "0e999999999999999999999", true, 0, true, 0 },
        { "1e999999999999999999999", false, 7, false, 7 },
        { "10000000000e-10", true, 1, true, 1 },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct json v = parsed(str_c(row[i].text));
        int64_t i64 = 7;
        uint64_t u64 = 7;
        check_that(json_i64(v, &i64) == row[i].is_i64 && i64 == row[i].i64, row[i].text);
        check_that(json_u64(v, &u64) == row[i].is_u64 && u64 == row[i].u64, row[i].text);
    }
    int64_t i64 = 7;
    assert_false(json_i64(parsed(S("\"1\"")), &i64));
}

static void doubles_are_correctly_rounded(void **state)
{
    static const struct {
        const char *text;
        double want;
    } row[] = {
        { "0", 0 },
        { "0.1", 0.1 },
        { "-1.5e3", -1500 },
        { "123456789012345678", 123456789012345678.0 },
        { "1.7976931348623157e308", DBL_MAX },
        { "5e-324", 5e-324 },
        { "2.2250738585072011e-308", 2.2250738585072011e-308 },
        { "1e-400", 0 },
        { "9007199254740993", 9007199254740992.0 },
        { "0.1000000000000000000000000000000000000000000000000000000000000000000001", 0.1 },
        { "7.3177701707893310e+15", 7.3177701707893310e+15 },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        double got = 7;
        check_that(json_double(parsed(str_c(row[i].text)), &got), row[i].text);
        assert_memory_equal(&got, &row[i].want, sizeof got);
    }
    double got = 7;
    assert_false(json_double(parsed(S("1e400")), &got));
    assert_true(got == 7);
}

static void doubles_are_written_as_go_writes_them(void **state)
{
    static const struct {
        double d;
        const char *json, *g;
    } row[] = {
        { 0, "0", "0" },
        { -0.0, "-0", "-0" },
        { 1, "1", "1" },
        { 0.1, "0.1", "0.1" },
        { 100, "100", "100" },
        { 123.456, "123.456", "123.456" },
        { 1e20, "100000000000000000000", "100000000000000000000" },
        { 1e21, "1e+21", "1e+21" },
        { 1e-6, "0.000001", "1e-06" },
        { 1e-7, "1e-7", "1e-07" },
        { 1.5e-10, "1.5e-10", "1.5e-10" },
        { 5e-324, "5e-324", "5e-324" },
        { DBL_MAX, "1.7976931348623157e+308", "1.7976931348623157e+308" },
        { 0.30000000000000004, "0.30000000000000004", "0.30000000000000004" },
        { 1.0 / 3, "0.3333333333333333", "0.3333333333333333" },
        { -2.5, "-2.5", "-2.5" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        char text[NUMBER_MAX];
        size_t n = number_print(row[i].d, NUMBER_JSON, text);
        check_str(str_of(text, n), str_c(row[i].json), "json form");
        n = number_print(row[i].d, NUMBER_G, text);
        check_str(str_of(text, n), str_c(row[i].g), "g form");
    }
}

static void printed_doubles_read_back_the_same(void **state)
{
    uint64_t bits = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        double d, back;
        memcpy(&d, &bits, sizeof d);
        if (!isfinite(d))
            continue;
        char text[NUMBER_MAX];
        size_t n = number_print(d, NUMBER_JSON, text);
        assert_true(number_double(str_of(text, n), &back));
        assert_memory_equal(&d, &back, sizeof d);
    }
}

static void writer_puts_commas_where_they_belong(void **state)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, KIB(4));
    struct json_w w;
    json_w_init(&w, &out, JSON_W_HTML);
    json_w_object(&w);
    json_w_key(&w, S("list"));
    json_w_array(&w);
    json_w_i64(&w, INT64_MIN);
    json_w_u64(&w, UINT64_MAX);
    json_w_object(&w);
    json_w_object_end(&w);
    json_w_array(&w);
    json_w_array_end(&w);
    json_w_double(&w, 1.5);
    json_w_double(&w, NAN);
    json_w_array_end(&w);
    json_w_kv(&w, S("s"), S("<a href=\"x\">&\n\x01\\"));
    json_w_key(&w, S("raw"));
    json_w_raw(&w, S("{ \"as\" : \"it is\" }"));
    json_w_key(&w, S("b"));
    json_w_bool(&w, true);
    json_w_key(&w, S("n"));
    json_w_null(&w);
    json_w_key(&w, S("64"));
    json_w_base64(&w, S("proa"));
    json_w_object_end(&w);
    check_str(buf_str(&out),
              S("{\"list\":[-9223372036854775808,18446744073709551615,{},[],1.5,null],"
                "\"s\":\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\n\\u0001\\\\\","
                "\"raw\":{ \"as\" : \"it is\" },\"b\":true,\"n\":null,\"64\":\"cHJvYQ==\"}"),
              "document");
    assert_true(buf_ok(&out));
    (void)parsed(buf_str(&out));
}

static void strings_are_escaped_at_every_length(void **state)
{
    for (size_t len = 0; len < 50; len++)
        for (size_t at = 0; at < len; at++) {
            char in[64];
            memset(in, 'x', sizeof in);
            in[at] = '<';
            AUTO(buf_done) struct buf out;
            buf_init(&out, 200);
            json_put_string(&out, str_of(in, len), JSON_W_HTML);
            assert_int_equal(buf_str(&out).n, len + 2 + 5);
            assert_memory_equal(out.p + 1 + at, "\\u003c", 6);
            str back;
            assert_int_equal(json_string(&arena, parsed(buf_str(&out)), &back), 0);
            check_str(back, str_of(in, len), "round trip");
            arena_reset(&arena);
        }
}

static void bad_utf8_is_written_as_replacement(void **state)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 100);
    json_put_string(&out, S("a\xff\xe2\x82z\xe2\x80\xa8é"), JSON_W_HTML);
    check_str(buf_str(&out), S("\"a\\ufffd\\ufffd\\ufffdz\\u2028é\""), "escaped");
    buf_clear(&out);
    json_put_string(&out, S("<\xe2\x80\xa8>"), 0);
    check_str(buf_str(&out), S("\"<\xe2\x80\xa8>\""), "without the HTML rule");
}

static void compact_keeps_tokens_and_strings(void **state)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 100);
    json_put_compact(&out, parsed(S(" { \"a b\" : [ 1.0 , \" \\\" \" ] ,\n\"c\":\tnull } ")));
    check_str(buf_str(&out), S("{\"a b\":[1.0,\" \\\" \"],\"c\":null}"), "compact");
}

static void full_buffer_is_reported(void **state)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 8);
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_array(&w);
    json_w_str(&w, S("longer than eight"));
    json_w_base64(&w, S("longer than eight"));
    json_w_array_end(&w);
    assert_false(buf_ok(&out));
}

static void a_buffer_may_be_filled_to_its_last_byte(void **state)
{
    static const char want[] = "{\"key\":\"value\",\"k\":\"\\n\"}";
    for (size_t max = 0; max < sizeof want + 2; max++) {
        AUTO(buf_done) struct buf out;
        buf_init(&out, max);
        struct json_w w;
        json_w_init(&w, &out, 0);
        json_w_object(&w);
        json_w_kv(&w, S("key"), S("value"));
        json_w_kv(&w, S("k"), S("\n"));
        json_w_object_end(&w);
        assert_int_equal(buf_ok(&out), max >= sizeof want - 1);
        if (buf_ok(&out))
            check_str(buf_str(&out), str_c(want), "whole");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_is_its_exact_text),
        cmocka_unit_test(errors_speak_as_go_does),
        cmocka_unit_test(bad_byte_at_every_place_of_a_long_string_is_seen),
        cmocka_unit_test(utf8_is_checked_to_the_letter),
        cmocka_unit_test(depth_limit_is_exact),
        cmocka_unit_test(mixed_nesting_remembers_what_it_is_in),
        cmocka_unit_test(walk_gives_members_in_order),
        cmocka_unit_test(last_duplicate_wins),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(full_arena_is_an_error_not_a_crash),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(doubles_are_correctly_rounded),
        cmocka_unit_test(doubles_are_written_as_go_writes_them),
        cmocka_unit_test(printed_doubles_read_back_the_same),
        cmocka_unit_test(writer_puts_commas_where_they_belong),
        cmocka_unit_test(strings_are_escaped_at_every_length),
        cmocka_unit_test(bad_utf8_is_written_as_replacement),
        cmocka_unit_test(compact_keeps_tokens_and_strings),
        cmocka_unit_test(full_buffer_is_reported),
        cmocka_unit_test(a_buffer_may_be_filled_to_its_last_byte),
    };
    return cmocka_run_group_tests_name("json", tests, start, finish);
}
