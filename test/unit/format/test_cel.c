#include "check.h"

#include "format/cel.h"

#include <pthread.h>

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

static const char event_text[] =
    "{\"id\":\"a-1\",\"type\":\"order.created\",\"data\":{\"total\":42,\"price\":9.5,\"n\":null,"
    "\"tags\":[\"new\",\"eu\"],\"lines\":[{\"sku\":\"x\",\"qty\":2},{\"sku\":\"y\",\"qty\":3}],"
    "\"name\":\"caf\\u00e9\"},\"my-key\":true}";

static bool lookup(void *arg, str name, struct cel_value *ret)
{
    struct json event;
    if (str_eq(name, S("requests"))) {
        *ret = cel_int(20);
        return true;
    }
    if (!str_eq(name, S("event")) || json_parse(str_c(event_text), &event, NULL))
        return false;
    return !cel_json(&arena, event, ret);
}

static const struct cel_env env = { lookup, NULL, 0 };

static int evaluate(const char *source, struct cel_value *ret, struct error *err)
{
    struct cel_program *p;
    int r = cel_compile(&arena, str_c(source), &p, err);
    return r ? r : cel_eval(p, &env, &arena, ret, err);
}

static void rules_over_an_event_are_decided(void **state)
{
    static const struct {
        const char *source;
        bool want;
    } row[] = {
        { "event.type == 'order.created'", true },
        { "event.type == \"order.created\" && event.data.total > 40", true },
        { "event.data.total > 40.5", true },
        { "event.data.total == 42 && event.data.total == 42.0 && event.data.total == 42u", true },
        { "event.data.price * 2.0 == 19.0", true },
        { "int(event.data.total) % 2 == 0", true },
        { "event.data.n == null", true },
        { "has(event.data.total) && !has(event.data.absent)", true },
        { "has(event.data.n)", true },
        { "'eu' in event.data.tags", true },
        { "'us' in event.data.tags", false },
        { "'type' in event", true },
        { "event['my-key']", true },
        { "event.`my-key`", true },
        { "event.data.tags[1] == 'eu'", true },
        { "event.data.lines.all(l, l.qty > 1)", true },
        { "event.data.lines.exists(l, l.sku == 'y' && l.qty == 3)", true },
        { "event.data.lines.exists_one(l, l.qty == 2)", true },
        { "event.data.lines.map(l, l.sku) == ['x', 'y']", true },
        { "event.data.lines.map(l, l.qty > 2, l.sku) == ['y']", true },
        { "event.data.lines.filter(l, l.qty == 2).size() == 1", true },
        { "event.data.name == 'café' && size(event.data.name) == 4", true },
        { "event.type.startsWith('order.') && event.type.endsWith('created')", true },
        { "event.type.contains('der.cr')", true },
        { "event.type.matches('^order\\\\.(created|deleted)$')", true },
        { "event.id.matches(event.type)", false },
        { "event.data == event.data", true },
        { "event.data.tags == ['new', 'eu']", true },
        { "event.data.tags + ['x'] == ['new', 'eu', 'x']", true },
        { "{'a': event.data.tags}.a[0] == 'new'", true },
        { "event.exists(k, k == 'data')", true },
        { "event.absent == 1 || event.type == 'order.created'", true },
        { "event.absent == 1 && event.type == 'other'", false },
        { "event.data.lines.exists(l, l.absent == 1 || l.qty == 3)", true },
        { "requests >= 20 && double(requests) / 3.0 > 6.0", true },
        { "event.data.total > 40 ? true : event.absent", true },
        { "type(event.data.total) == double && type(event) == map", true },
        { "timestamp('2026-01-02T03:04:05Z').getHours('+02:00') == 5", true },
        { "duration('90m') > duration('1h')", true },
        { "// a comment\nevent.type != ''", true },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cel_value v = { .kind = CEL_NULL };
        struct error err = { 0 };
        if (evaluate(row[i].source, &v, &err))
            fail_msg("%s: %s", row[i].source, err.text);
        check_that(v.kind == CEL_BOOL && v.b == row[i].want, row[i].source);
        arena_reset(&arena);
    }
}

static void results_are_written_as_json(void **state)
{
    static const struct {
        const char *source, *want;
    } row[] = {
        { "1 + 2 * 3 - 4 / 2 % 3", "5" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "18446744073709551615u", "18446744073709551615" },
        { "0xffu", "255" },
        { "1.5e3", "1500" },
        { "[1, 2u, 3.5, 'a', b'a', true, null, int]",
          "[1,2,3.5,\"a\",\"YQ==\",true,null,\"int\"]" },
        { "{'a': {1: [2]}, true: 3u}", "{\"a\":{\"1\":[2]},\"true\":3}" },
        { "timestamp('2026-01-02T03:04:05.120+01:00')", "\"2026-01-02T02:04:05.12Z\"" },
        { "timestamp('2024-02-29T00:00:00Z') + duration('24h')", "\"2024-03-01T00:00:00Z\"" },
        { "duration('-1.5s')", "\"-1.5s\"" },
        { "string(1.0) + string(1e100) + string(-5) + string(true)", "\"11e+100-5true\"" },
        { "event.data.lines", "[{\"sku\":\"x\",\"qty\":2},{\"sku\":\"y\",\"qty\":3}]" },
        { "{'a': 1}.map(k, k)", "[\"a\"]" },
        { "'a' + \"b\" + r'\\n' + '''c'd'''", "\"ab\\\\nc'd\"" },
        { "1 < 2 ? 'yes' : 'no'", "\"yes\"" },
        { "[1, 2, 3].map(x, [x].map(y, x * y))", "[[1],[4],[9]]" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cel_value v = { .kind = CEL_NULL };
        struct error err = { 0 };
        if (evaluate(row[i].source, &v, &err))
            fail_msg("%s: %s", row[i].source, err.text);
        AUTO(buf_done) struct buf out;
        buf_init(&out, KIB(4));
        struct json_w w;
        json_w_init(&w, &out, 0);
        cel_to_json(v, &w);
        check_str(buf_str(&out), str_c(row[i].want), row[i].source);
        arena_reset(&arena);
    }
}

static void errors_say_where_and_what(void **state)
{
    static const struct {
        const char *source, *want;
    } row[] = {
        { "", "1:1: the expression ends too early" },
        { "1 +", "1:4: the expression ends too early" },
        { "event.type =\n= 'x'", "1:12: a character that means nothing here" },
        { "a &&\n  b ]", "2:5: expected an operator, or the end of the expression" },
        { "'abc", "1:1: a string that isn't closed on its line" },
        { "'\\q'", "1:1: an escape that isn't known here" },
        { "[1, 2", "1:6: expected ',' or the closing bracket" },
        { "size(1,)", "1:8: an argument is missing after ','" },
        { "sise(x)", "1:1: undeclared reference to the function 'sise'; did you mean 'size'?" },
        { "x.size(1)", "1:3: the function size() takes other arguments" },
        { "has(x)", "1:1: has() takes a field: has(a.b)" },
        { "x.all(1, true)", "1:7: all() takes the name of a variable first" },
        { "Msg{a: 1}", "1:4: messages can't be built here; write a map: {'field': value}" },
        { "if + 1", "1:1: 'if' is a reserved word" },
        { "'a'.matches('(')", "1:13: matches(): a group ( that isn't closed" },
        { "9223372036854775808",
          "1:1: the integer doesn't fit 64 bits; write 1u for an unsigned one" },
        { "99999999999999999999", "1:1: the integer has no digits or doesn't fit 64 bits" },
        { "1x", "1:2: a letter or digit that doesn't belong to the number" },
        { "absent", "1:1: undeclared reference to 'absent'" },
        { "event.absent", "1:7: no such key: absent" },
        { "event.type.x", "1:12: no such overload: a value of string has no fields" },
        { "1 / 0", "1:3: division by zero" },
        { "1 % 0u", "1:3: no such overload: int % uint" },
        { "9223372036854775807 + 1", "1:21: integer overflow" },
        { "-(-9223372036854775807 - 1)", "1:1: integer overflow" },
        { "0u - 1u", "1:4: unsigned integer overflow" },
        { "'a' < 1", "1:5: no such overload: string < int" },
        { "event.data.total + 1", "1:18: no such overload: double + int" },
        { "[1][1]", "1:4: index out of bounds: 1" },
        { "[1][-1]", "1:4: invalid index of a list" },
        { "{'a': 1, 'a': 2}", "1:10: the key is in the map already" },
        { "{1.5: 1}", "1:2: unsupported key type: double" },
        { "1 || false", "1:1: no such overload: expected a bool, not int" },
        { "int('x')", "1:1: \"x\" is no int" },
        { "int(1e30)", "1:1: the value doesn't fit int" },
        { "timestamp('2026-02-30T00:00:00Z')",
          "1:1: \"2026-02-30T00:00:00Z\" is no timestamp such as 2026-01-02T03:04:05Z" },
        { "event.data.tags.exists(t, t.x)",
          "1:29: no such overload: a value of string has no fields" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cel_value v = { .kind = CEL_TYPE };
        struct error err = { 0 };
        assert_int_equal(evaluate(row[i].source, &v, &err), -INVALID);
        check_str(str_c(err.text), str_c(row[i].want), row[i].source);
        assert_int_equal(v.kind, CEL_TYPE);
        arena_reset(&arena);
    }
}

static void a_condition_must_be_boolean(void **state)
{
    struct cel_program *p;
    struct error err = { 0 };
    bool v = true;
    assert_int_equal(cel_compile(&arena, S("event.type"), &p, &err), 0);
    assert_int_equal(cel_eval_bool(p, &env, &arena, &v, &err), -INVALID);
    assert_non_null(strstr(err.text, "must give true or false"));
    assert_true(v);
    assert_int_equal(cel_compile(&arena, S("event.type == ''"), &p, NULL), 0);
    assert_int_equal(cel_eval_bool(p, &env, &arena, &v, NULL), 0);
    assert_false(v);
}

static void free_names_are_listed_once(void **state)
{
    struct cel_program *p;
    str name[4] = { 0 };
    assert_int_equal(cel_compile(&arena,
                                 S("a.b.exists(x, x > c && y.all(y, y == a)) || int(c) == 1 || "
                                   "type(d) == string"),
                                 &p, NULL),
                     0);
    assert_int_equal(cel_free_names(p, name, COUNT(name)), 4);
    check_str(name[0], S("a"), "first");
    check_str(name[1], S("c"), "second");
    check_str(name[2], S("y"), "third");
    check_str(name[3], S("d"), "fourth");
    assert_int_equal(cel_free_names(p, name, 0), 6); /* can't tell doubles without room */
}

static void evaluation_ends_at_its_step_limit(void **state)
{
    static const char list[] = "[1,2,3,4,5,6,7,8,9,10]";
    AUTO(buf_done) struct buf source;
    buf_init(&source, KIB(4));
    for (int i = 0; i < 8; i++)
        buf_printf(&source, "%s.all(x%d, ", list, i);
    buf_put(&source, S("true"));
    for (int i = 0; i < 8; i++)
        buf_putc(&source, ')');
    struct cel_program *p;
    struct cel_value v;
    struct error err = { 0 };
    assert_int_equal(cel_compile(&arena, buf_str(&source), &p, NULL), 0);
    assert_int_equal(cel_eval(p, &env, &arena, &v, &err), -EXHAUSTED);
    assert_non_null(strstr(err.text, "too many steps"));

    struct cel_env few = { lookup, NULL, 5 };
    assert_int_equal(cel_compile(&arena, S("true || 1 == 1"), &p, NULL), 0);
    assert_int_equal(cel_eval(p, &few, &arena, &v, NULL), 0);
    /* An error of that kind is not absorbed by the other side of ||. */
    assert_int_equal(cel_compile(&arena, S("[1,2,3,4].all(x, x > 0) || true"), &p, NULL), 0);
    assert_int_equal(cel_eval(p, &few, &arena, &v, NULL), -EXHAUSTED);
}

static void memory_ends_with_the_arena(void **state)
{
    AUTO(arena_done) struct arena small;
    arena_init(&small, KIB(256));
    struct cel_program *p;
    struct cel_value v;
    struct error err = { 0 };
    /* Doubles a string twenty times. */
    AUTO(buf_done) struct buf source;
    buf_init(&source, KIB(8));
    buf_put(&source, S("'0123456789abcdef'"));
    for (int i = 0; i < 20; i++) {
        AUTO(buf_done) struct buf outer;
        buf_init(&outer, KIB(8));
        buf_printf(&outer, "[%.*s].map(s, s + s)[0]", (int)source.len, buf_str(&source).p);
        buf_clear(&source);
        buf_put(&source, buf_str(&outer));
    }
    assert_int_equal(cel_compile(&arena, buf_str(&source), &p, &err), 0);
    assert_int_equal(cel_eval(p, &env, &small, &v, &err), -EXHAUSTED);
    assert_non_null(strstr(err.text, "memory"));
}

static void allocation_failures_are_errors(void **state)
{
    static const char source[] = "{'a': [1, 2.5, 'x' + 'y']}.a.map(q, string(q)).exists(s, "
                                 "s.matches(s)) && event.data.lines.all(l, l.sku != '')";
    struct cel_value v;
    size_t ok = 0;
    for (size_t max = 0; max < KIB(400); max += 512) {
        AUTO(arena_done) struct arena small;
        arena_init(&small, max);
        struct cel_program *p;
        int r = cel_compile(&small, str_c(source), &p, NULL);
        if (!r)
            r = cel_eval(p, &env, &small, &v, NULL);
        assert_true(r == 0 || r == -EXHAUSTED);
        ok += !r;
        arena_reset(&arena);
    }
    assert_true(ok > 0);
}

/* ---- depth: the limit holds, and what is within it fits the stack of a fiber ---- */

struct nesting {
    const char *open, *inner, *close;
};

static const struct nesting nestings[] = {
    { "(", "true", ")" },
    { "[", "1", "]" },
    { "{1:", "1", "}" },
    { "true ? ", "1", " : 2" },
    { "false ? 1 : ", "2", "" },
    { "[1].map(x, ", "x", ")" },
    { "[1].all(x, ", "true", ")" },
    { "!(", "true", ")" },
    { "-(", "1", ")" },
    { "dyn(", "1", ")" },
    { "1 + (", "1", ")" },
    { "true && (false || ", "true", ")" },
    { "{1:1}[", "1", "]" },
    { "", "event", ".data" },
    { "", "1", " + 1" },
    { "", "true", " || true" },
    { "", "[[1]]", "[0]" },
};

static void nest(struct buf *out, const struct nesting *n, int depth)
{
    buf_clear(out);
    for (int i = 0; i < depth; i++)
        buf_put(out, str_c(n->open));
    buf_put(out, str_c(n->inner));
    for (int i = 0; i < depth; i++)
        buf_put(out, str_c(n->close));
}

static void *run_nestings(void *arg)
{
    AUTO(buf_done) struct buf source;
    AUTO(arena_done) struct arena a;
    buf_init(&source, KIB(64));
    arena_init(&a, MIB(16));
    unsigned *n_refused = arg;
    for (size_t i = 0; i < COUNT(nestings); i++)
        for (int depth = 1; depth < 400; depth++) {
            struct cel_program *p;
            struct cel_value v;
            struct error err = { 0 };
            nest(&source, &nestings[i], depth);
            int r = cel_compile(&a, buf_str(&source), &p, &err);
            if (r)
                *n_refused += r == -EXHAUSTED && strstr(err.text, "nested too deeply");
            else
                r = cel_eval(p, &env, &a, &v, &err);
            arena_reset(&a);
            arena_reset(&arena);
        }
    return NULL;
}

static void nesting_fits_the_stack_of_a_fiber(void **state)
{
#if defined(__SANITIZE_ADDRESS__)
    const size_t stack = KIB(1024); /* its red zones need more */
#else
    const size_t stack = KIB(64); /* of a fiber's 128 */
#endif
    pthread_attr_t attr;
    pthread_t thread;
    unsigned n_refused = 0;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, stack), 0);
    assert_int_equal(pthread_create(&thread, &attr, run_nestings, &n_refused), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_attr_destroy(&attr), 0);
    assert_true(n_refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_over_an_event_are_decided),
        cmocka_unit_test(results_are_written_as_json),
        cmocka_unit_test(errors_say_where_and_what),
        cmocka_unit_test(a_condition_must_be_boolean),
        cmocka_unit_test(free_names_are_listed_once),
        cmocka_unit_test(evaluation_ends_at_its_step_limit),
        cmocka_unit_test(memory_ends_with_the_arena),
        cmocka_unit_test(allocation_failures_are_errors),
        cmocka_unit_test(nesting_fits_the_stack_of_a_fiber),
    };
    return cmocka_run_group_tests_name("cel", tests, start, finish);
}
