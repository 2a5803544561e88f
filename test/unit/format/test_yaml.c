#include "check.h"

#include "format/yaml.h"

#include <math.h>

static struct arena arena;

static int start(void **state)
{
    arena_init(&arena, MIB(64));
    return 0;
}

static int finish(void **state)
{
    arena_done(&arena);
    return 0;
}

static int parse(str text, const struct yaml_node **ret, struct error *err)
{
    struct yaml_source src = { text, "f.yaml", 1 };
    return yaml_parse(&arena, &src, ret, err);
}

static const struct yaml_node *parsed(const char *text)
{
    const struct yaml_node *n = NULL;
    struct error err = { 0 };
    if (parse(str_c(text), &n, &err))
        fail_msg("%s: %s", text, err.text);
    return n;
}

static void check_json(const char *yaml, const char *json)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(1));
    struct json_w w;
    json_w_init(&w, &out, 0);
    yaml_to_json(parsed(yaml), &w);
    check_str(buf_str(&out), str_c(json), yaml);
    struct json v;
    assert_int_equal(json_parse(buf_str(&out), &v, NULL), 0);
}

static void scalars_mean_what_dapr_takes_them_for(void **state)
{
    static const struct {
        const char *yaml;
        enum yaml_type type;
        const char *canon;
    } row[] = {
        { "word", YAML_STR, "word" },
        { "'quoted'", YAML_STR, "quoted" },
        { "\"1\"", YAML_STR, "1" },
        { "|\n  1\n", YAML_STR, "1\n" },
        { "true", YAML_BOOL, "true" },
        { "TRUE", YAML_BOOL, "true" },
        { "yes", YAML_BOOL, "true" },
        { "Off", YAML_BOOL, "false" },
        { "n", YAML_BOOL, "false" },
        { "tRUE", YAML_STR, "tRUE" },
        { "null", YAML_NULL, "null" },
        { "~", YAML_NULL, "null" },
        { "10", YAML_INT, "10" },
        { "+10", YAML_INT, "10" },
        { "-0", YAML_INT, "0" },
        { "010", YAML_INT, "8" },
        { "0o17", YAML_INT, "15" },
        { "0x1F", YAML_INT, "31" },
        { "-0b101", YAML_INT, "-5" },
        { "1_000", YAML_INT, "1000" },
        { "18446744073709551615", YAML_INT, "18446744073709551615" },
        { "-9223372036854775808", YAML_INT, "-9223372036854775808" },
        { "-9223372036854775809", YAML_FLOAT, "-9223372036854776000" },
        { "99999999999999999999", YAML_FLOAT, "100000000000000000000" },
        { "08", YAML_FLOAT, "8" },
        { "1.10", YAML_FLOAT, "1.1" },
        { ".5", YAML_FLOAT, "0.5" },
        { "5.", YAML_FLOAT, "5" },
        { "1e3", YAML_FLOAT, "1000" },
        { "-1.5e-9", YAML_FLOAT, "-1.5e-9" },
        { ".inf", YAML_FLOAT, "null" },
        { "-.INF", YAML_FLOAT, "null" },
        { ".NaN", YAML_FLOAT, "null" },
        { "1e400", YAML_STR, "1e400" },
        { "0x", YAML_STR, "0x" },
        { "1.2.3", YAML_STR, "1.2.3" },
        { "10s", YAML_STR, "10s" },
        { "4Mi", YAML_STR, "4Mi" },
        { "--1", YAML_STR, "--1" },
        { "+-1", YAML_STR, "+-1" },
        { "-", YAML_SEQ, "" },
        { "+", YAML_STR, "+" },
        { ".", YAML_STR, "." },
        { "1e", YAML_STR, "1e" },
        { "2001-01-01", YAML_STR, "2001-01-01" },
        { "12:30", YAML_STR, "12:30" },
        { "!!str 12", YAML_STR, "12" },
        { "! 12", YAML_STR, "12" },
        { "!!int \"12\"", YAML_INT, "12" },
        { "!!float 12", YAML_INT, "12" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        const struct yaml_node *n = parsed(row[i].yaml);
        if (!n || n->type != row[i].type)
            fail_msg("%s: taken for %s", row[i].yaml, n ? yaml_type_name(n->type) : "nothing");
        check_str(n->canon, str_c(row[i].canon), row[i].yaml);
    }
}

static void numbers_are_read_as_numbers(void **state)
{
    int64_t i = 77;
    double d = 77;
    bool b = false;
    assert_true(yaml_i64(parsed("0x10"), &i) && i == 16);
    assert_true(yaml_i64(parsed("10.0"), &i) && i == 10);
    assert_false(yaml_i64(parsed("10.5"), &i));
    assert_false(yaml_i64(parsed("18446744073709551615"), &i));
    assert_false(yaml_i64(parsed("'10'"), &i));
    assert_false(yaml_i64(NULL, &i));
    assert_int_equal(i, 10);
    assert_true(yaml_double(parsed("3"), &d) && d == 3);
    assert_true(yaml_double(parsed("-.inf"), &d) && d == -INFINITY);
    assert_true(yaml_double(parsed("+.inf"), &d) && d == INFINITY);
    assert_true(yaml_double(parsed(".nan"), &d) && isnan(d));
    assert_true(yaml_bool(parsed("on"), &b) && b);
    assert_false(yaml_bool(parsed("'on'"), &b));
    check_str(yaml_text(parsed("on"), S("def")), S("true"), "stringified");
    check_str(yaml_text(parsed("~"), S("def")), S("def"), "null");
    check_str(yaml_text(parsed("[1]"), S("def")), S("def"), "list");
}

static void a_component_becomes_json(void **state)
{
    check_json("apiVersion: dapr.io/v1alpha1\n"
               "kind: Component\n"
               "metadata: {name: statestore}\n"
               "spec:\n"
               "  type: state.redis # comment\n"
               "  metadata:\n"
               "  - name: redisHost\n"
               "    value: \"localhost:6379\"\n"
               "  - name: enableTLS\n"
               "    value: no\n"
               "  - name: empty\n"
               "    value:\n"
               "scopes: [a, 'b']\n",
               "{\"apiVersion\":\"dapr.io/v1alpha1\",\"kind\":\"Component\","
               "\"metadata\":{\"name\":\"statestore\"},\"spec\":{\"type\":\"state.redis\","
               "\"metadata\":[{\"name\":\"redisHost\",\"value\":\"localhost:6379\"},"
               "{\"name\":\"enableTLS\",\"value\":false},{\"name\":\"empty\",\"value\":null}]},"
               "\"scopes\":[\"a\",\"b\"]}");
    check_json("a: []\nb: {}\n1: x\n", "{\"a\":[],\"b\":{},\"1\":\"x\"}");
    check_json("--- # first\nk: 'it''s'\n", "{\"k\":\"it's\"}");
}

static void nodes_know_where_they_stand(void **state)
{
    struct yaml_source src = { S("a:\n  b: [x,\n      y]\n"), "f.yaml", 41 };
    const struct yaml_node *root, *b;
    assert_int_equal(yaml_parse(&arena, &src, &root, NULL), 0);
    b = yaml_get(yaml_get(root, S("a")), S("b"));
    assert_non_null(b);
    assert_int_equal(b->line, 42);
    assert_int_equal(b->column, 6);
    assert_int_equal(b->item[1]->line, 43);
    assert_int_equal(b->item[1]->column, 7);
    assert_null(yaml_get(root, S("zzz")));
    assert_null(yaml_get(b, S("a")));

    struct error err = { 0 };
    assert_int_equal(yaml_fail(&err, src.file, b, INVALID, "not %s", "good"), -INVALID);
    assert_string_equal(err.text, "f.yaml:42:6: not good");
}

static void files_are_cut_where_dapr_cuts_them(void **state)
{
    str file = S("---\na: 1\n---\n  \n--- # note\nb: |\n  x --- y\n  ---\n\n---\nc: 3\n");
    struct yaml_split s = yaml_split(file, "f.yaml");
    struct yaml_source doc;
    assert_true(yaml_split_next(&s, &doc));
    check_str(doc.text, S("---\na: 1"), "first");
    assert_int_equal(doc.line, 1);
    assert_true(yaml_split_next(&s, &doc));
    check_str(doc.text, S("b: |\n  x --- y\n  ---\n"), "second");
    assert_int_equal(doc.line, 6);
    assert_true(yaml_split_next(&s, &doc));
    check_str(doc.text, S("c: 3\n"), "third");
    assert_int_equal(doc.line, 11);
    assert_false(yaml_split_next(&s, &doc));
    assert_false(yaml_split_next(&s, &doc));

    struct yaml_split empty = yaml_split(S(" \n\n---\n"), "f.yaml");
    assert_false(yaml_split_next(&empty, &doc));
}

static void comments_alone_are_no_document(void **state)
{
    assert_null(parsed("# nothing here\n"));
    assert_null(parsed(""));
    check_json("# nothing here\n", "null");
}

static void aliases_and_merges_are_followed(void **state)
{
    check_json("a: &x [1, {b: 2}]\nc: *x\n", "{\"a\":[1,{\"b\":2}],\"c\":[1,{\"b\":2}]}");
    check_json("base: &base {a: 1, b: 2}\nuse: {b: 3, <<: *base, c: 4}\n",
               "{\"base\":{\"a\":1,\"b\":2},\"use\":{\"b\":3,\"c\":4,\"a\":1}}");
    check_json("- &p {a: 1}\n- &q {a: 2, b: 2}\n- <<: [*p, *q]\n",
               "[{\"a\":1},{\"a\":2,\"b\":2},{\"a\":1,\"b\":2}]");
    check_json("\"<<\": 1\n", "{\"<<\":1}");
    check_json("- &a 1\n- &a 2\n- *a\n", "[1,2,2]");
}

static void errors_say_where_and_what_to_do(void **state)
{
    static const struct {
        const char *name, *text, *want;
        int code;
    } row[] = {
        { "tab", "a:\n\tb: 1\n", "f.yaml:2:1: ", -INVALID },
        { "two colons", "a: b: c\n", "f.yaml:1:5: mapping values are not allowed", -INVALID },
        { "open quote", "a: 'x\n", "f.yaml:2:1: ", -INVALID },
        { "bad UTF-8", "a: b\nc: \xff\n", "f.yaml:2:4: ", -INVALID },
        { "control", "a: \001\n", "f.yaml:1:4: ", -INVALID },
        { "duplicate", "a: 1\nb: 2\na: 3\n",
          "f.yaml:3:1: the key \"a\" was already set in line 1; remove one", -INVALID },
        { "map as key", "? {a: 1}\n: 2\n", "f.yaml:1:3: a key must be", -INVALID },
        { "no anchor", "a: *x\n", "f.yaml:1:4: this alias names no anchor", -INVALID },
        { "own anchor", "a: &x [*x]\n", "f.yaml:1:8: this alias names no anchor", -INVALID },
        { "tag", "a: !!binary aGk=\n", "f.yaml:1:4: this tag isn't supported", -INVALID },
        { "tag of a map", "!foo {a: 1}\n", "f.yaml:1:1: this tag isn't supported", -INVALID },
        { "tag and value", "!!int word\n", "f.yaml:1:1: the value doesn't fit its tag", -INVALID },
        { "merge of a word", "<<: word\n", "f.yaml:1:1: '<<' takes a map", -INVALID },
        { "two documents", "a: 1\n...\n---\nb: 1\n", "f.yaml:3:1: a second document", -INVALID },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        const struct yaml_node *n = NULL;
        struct error err = { 0 };
        if (parse(str_c(row[i].text), &n, &err) != row[i].code || n)
            fail_msg("%s: wrong code", row[i].name);
        if (!str_starts(str_c(err.text), str_c(row[i].want)))
            fail_msg("%s: \"%s\"", row[i].name, err.text);
        check_that(str_contains(str_c(err.text), S(";")), row[i].name);
    }
}

static void nested_aliases_hit_the_limit(void **state)
{
    AUTO(buf_done) struct buf text;
    buf_init(&text, KIB(64));
    buf_put(&text, S("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"));
    for (int i = 1; i < 12; i++)
        buf_printf(&text, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    const struct yaml_node *n = NULL;
    struct error err = { 0 };
    assert_int_equal(parse(buf_str(&text), &n, &err), -EXHAUSTED);
    assert_non_null(strstr(err.text, "aliases expand to more than"));
}

static void depth_and_count_have_limits(void **state)
{
    char text[2 * YAML_DEPTH_MAX + 3];
    const struct yaml_node *n = NULL;
    memset(text, '[', YAML_DEPTH_MAX);
    memset(text + YAML_DEPTH_MAX, ']', YAML_DEPTH_MAX);
    assert_int_equal(parse(str_of(text, 2 * YAML_DEPTH_MAX), &n, NULL), 0);
    memset(text, '[', YAML_DEPTH_MAX + 1);
    memset(text + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
    assert_int_equal(parse(str_of(text, 2 * YAML_DEPTH_MAX + 2), &n, NULL), -EXHAUSTED);

    AUTO(buf_done) struct buf many;
    buf_init(&many, MIB(2));
    for (int i = 0; i <= YAML_NODES_MAX; i++)
        buf_put(&many, S("- \n"));
    assert_int_equal(parse(buf_str(&many), &n, NULL), -EXHAUSTED);
}

static void full_arena_is_an_error_not_a_crash(void **state)
{
    struct yaml_source src = { S("a: &x [1, 'two', {c: 3.5, <<: {d: 4}}]\nb: *x\n"), "f", 1 };
    for (size_t max = 0; max < 4096; max += 16) {
        AUTO(arena_done) struct arena tiny;
        arena_init(&tiny, max);
        const struct yaml_node *n = NULL;
        int r = yaml_parse(&tiny, &src, &n, NULL);
        assert_true(r == 0 || r == -EXHAUSTED);
        assert_true(!r == !!n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_mean_what_dapr_takes_them_for),
        cmocka_unit_test(numbers_are_read_as_numbers),
        cmocka_unit_test(a_component_becomes_json),
        cmocka_unit_test(nodes_know_where_they_stand),
        cmocka_unit_test(files_are_cut_where_dapr_cuts_them),
        cmocka_unit_test(comments_alone_are_no_document),
        cmocka_unit_test(aliases_and_merges_are_followed),
        cmocka_unit_test(errors_say_where_and_what_to_do),
        cmocka_unit_test(nested_aliases_hit_the_limit),
        cmocka_unit_test(depth_and_count_have_limits),
        cmocka_unit_test(full_arena_is_an_error_not_a_crash),
    };
    return cmocka_run_group_tests_name("yaml", tests, start, finish);
}
