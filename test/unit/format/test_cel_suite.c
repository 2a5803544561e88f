/* Runs the CEL specification's conformance cases where they lie. What needs protobuf messages, or
 * an extension of CEL, is left out, counted and named; any other failure fails the test. */
#include "check.h"

#include "format/cel_ast.h"
#include "textproto.h"

#include "format/number.h"

#include <dirent.h>
#include <math.h>

enum outcome {
    PASSED,
    NEEDS_MESSAGES,
    EXTENSION,
    CHECKER_ONLY,
    NAMED_ZONE,
    UNKNOWN_FUNCTION, /* we refuse it when compiling, as a checked program would */
    FAILED,
    N_OUTCOMES
};

static const char *const outcome_name[] = {
    [PASSED] = "passed",
    [NEEDS_MESSAGES] = "need protobuf messages",
    [EXTENSION] = "extension",
    [CHECKER_ONLY] = "type checker only",
    [NAMED_ZONE] = "named time zone",
    [UNKNOWN_FUNCTION] = "unknown function, refused earlier",
    [FAILED] = "FAILED",
};

struct tally {
    unsigned n[N_OUTCOMES];
};

/* Those are about messages or extensions as a whole; a case of another file decides for itself. */
static const struct {
    const char *file;
    enum outcome why;
} left_out[] = {
    { "proto2", NEEDS_MESSAGES }, { "proto3", NEEDS_MESSAGES },   { "proto2_ext", NEEDS_MESSAGES },
    { "enums", NEEDS_MESSAGES },  { "wrappers", NEEDS_MESSAGES }, { "bindings_ext", EXTENSION },
    { "block_ext", EXTENSION },   { "encoders_ext", EXTENSION },  { "math_ext", EXTENSION },
    { "network_ext", EXTENSION }, { "string_ext", EXTENSION },    { "optionals", EXTENSION },
    { "macros2", EXTENSION },     { "unknowns", EXTENSION },
};

static struct arena arena;
static char dir[1024];

/* ---- values ---- */

static bool to_value(const struct textproto *m, struct cel_value *ret);

static double to_double(str s)
{
    double d = NAN;
    str t = str_starts(s, S("-")) ? str_skip(s, 1) : s;
    if (str_istarts(t, S("inf")))
        d = INFINITY;
    else if (!str_istarts(t, S("nan")) && !number_double(t, &d))
        fail_msg("bad double %.*s", (int)s.n, s.p);
    return t.n < s.n ? -d : d;
}

static bool to_list(const struct textproto *m, struct cel_value *ret)
{
    struct cel_value *item = arena_alloc(&arena, 100 * sizeof *item);
    struct cel_list *list = arena_alloc(&arena, sizeof *list);
    *list = (struct cel_list){ 0, item };
    for (const struct textproto *f = m->first; f; f = f->next)
        if (list->n >= 100 || !to_value(f, &item[list->n++]))
            return false;
    *ret = (struct cel_value){ .kind = CEL_LIST, .list = list };
    return true;
}

static bool to_map(const struct textproto *m, struct cel_value *ret)
{
    struct cel_entry *entry = arena_alloc(&arena, 100 * sizeof *entry);
    struct cel_map *map = arena_alloc(&arena, sizeof *map);
    *map = (struct cel_map){ 0, entry };
    for (const struct textproto *f = m->first; f; f = f->next, map->n++) {
        const struct textproto *key = textproto_get(f, "key"), *value = textproto_get(f, "value");
        if (map->n >= 100 || !key || !value || !to_value(key, &entry[map->n].key) ||
            !to_value(value, &entry[map->n].value))
            return false;
    }
    *ret = (struct cel_value){ .kind = CEL_MAP, .map = map };
    return true;
}

/* A Timestamp or Duration in an Any; other messages aren't for us. */
static bool to_object(const struct textproto *m, struct cel_value *ret)
{
    int64_t s = 0, ns = 0;
    const struct textproto *any = m->first;
    bool time = any && str_eq(any->name, S("[type.googleapis.com/google.protobuf.Timestamp]"));
    bool duration = any && str_eq(any->name, S("[type.googleapis.com/google.protobuf.Duration]"));
    if (!time && !duration)
        return false;
    (void)!str_to_i64(textproto_text(any, "seconds"), &s);
    (void)!str_to_i64(textproto_text(any, "nanos"), &ns);
    *ret = (struct cel_value){ .kind = time ? CEL_TIMESTAMP : CEL_DURATION };
    if (time)
        ret->t = (struct cel_time){ s, (int32_t)ns };
    else
        ret->i = s * 1000000000 + ns;
    return true;
}

static bool to_value(const struct textproto *m, struct cel_value *ret)
{
    const struct textproto *f = m->first;
    if (!f)
        return false;
    struct cel_value v = { .kind = CEL_NULL };
    if (str_eq(f->name, S("int64_value"))) {
        v.kind = CEL_INT;
        assert_true(str_to_i64(f->value, &v.i));
    } else if (str_eq(f->name, S("uint64_value"))) {
        v.kind = CEL_UINT;
        assert_true(str_to_u64(f->value, &v.u));
    } else if (str_eq(f->name, S("double_value"))) {
        v = cel_double(to_double(f->value));
    } else if (str_eq(f->name, S("bool_value"))) {
        v = cel_bool(str_eq(f->value, S("true")));
    } else if (str_eq(f->name, S("string_value"))) {
        v = cel_string(f->value);
    } else if (str_eq(f->name, S("bytes_value"))) {
        v = cel_string(f->value);
        v.kind = CEL_BYTES;
    } else if (str_eq(f->name, S("type_value"))) {
        v = cel_type(f->value);
    } else if (str_eq(f->name, S("list_value"))) {
        return to_list(f, ret);
    } else if (str_eq(f->name, S("map_value"))) {
        return to_map(f, ret);
    } else if (str_eq(f->name, S("object_value"))) {
        return to_object(f, ret);
    } else if (!str_eq(f->name, S("null_value"))) {
        return false;
    }
    *ret = v;
    return true;
}

/* Stricter than ==: the kinds must be the same, NaN is NaN. */
static bool same(const struct cel_value *a, const struct cel_value *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == CEL_DOUBLE && isnan(a->d))
        return isnan(b->d);
    struct cel_run r = { .arena = &arena, .max_steps = UINT64_MAX };
    bool equal = false;
    if (a->kind == CEL_LIST && a->list->n == b->list->n) {
        for (size_t i = 0; i < a->list->n; i++)
            if (!same(&a->list->item[i], &b->list->item[i]))
                return false;
        return true;
    }
    return cel_equal(&r, 0, a, b, &equal) && equal;
}

/* ---- one case ---- */

/* Names are tried in the container, then in each one around it. */
static bool lookup(void *arg, str name, struct cel_value *ret)
{
    const struct textproto *test = arg;
    bool absolute = str_starts(name, S("."));
    str container = absolute ? S("") : textproto_text(test, "container");
    name = str_skip(name, absolute);
    for (;;) {
        str full = container.n ? arena_printf(&arena, "%.*s.%.*s", (int)container.n, container.p,
                                              (int)name.n, name.p)
                               : name;
        for (const struct textproto *f = test->first; f; f = f->next)
            if (str_eq(f->name, S("bindings")) && str_eq(textproto_text(f, "key"), full))
                return to_value(textproto_get(textproto_get(f, "value"), "value"), ret);
        if (!container.n)
            return false;
        size_t n = container.n;
        while (n && container.p[n - 1] != '.')
            n--;
        container = str_take(container, n ? n - 1 : 0);
    }
}

static bool mentions_messages(str expr)
{
    static const char *const words[] = {
        "TestAllTypes",
        "google.protobuf.Any",
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "ListValue",
        "google.protobuf.Int",
        "google.protobuf.UInt",
        "google.protobuf.Bool",
        "FloatValue",
        "DoubleValue",
        "StringValue",
        "BytesValue",
        "NullValue",
        "google.protobuf.Empty",
        "FieldMask",
        "TestRequired",
        "Timestamp{",
        "Duration{",
        "proto2.",
        "proto3.",
    };
    for (size_t i = 0; i < COUNT(words); i++)
        if (str_contains(expr, str_c(words[i])))
            return true;
    return false;
}

static bool bindings_are_ours(const struct textproto *test)
{
    struct cel_value v;
    for (const struct textproto *f = test->first; f; f = f->next)
        if (str_eq(f->name, S("bindings"))) {
            const struct textproto *value = textproto_get(textproto_get(f, "value"), "value");
            if (!value || !to_value(value, &v))
                return false;
        }
    return true;
}

static bool has_named_zone(str expr)
{
    static const char *const words[] = { "Australia/", "America/", "US/", "Asia/" };
    for (size_t i = 0; i < COUNT(words); i++)
        if (str_contains(expr, str_c(words[i])))
            return true;
    return false;
}

static enum outcome run_case(const struct textproto *test, struct buf *report)
{
    str expr = textproto_text(test, "expr");
    const struct textproto *value = textproto_get(test, "value");
    const struct textproto *typed = textproto_get(test, "typed_result");
    bool wants_error = textproto_get(test, "eval_error") || textproto_get(test, "any_eval_errors");
    if (typed && textproto_get(typed, "result"))
        value = textproto_get(typed, "result");
    if (mentions_messages(expr) || !bindings_are_ours(test))
        return NEEDS_MESSAGES;
    if (textproto_get(test, "check_only") || textproto_get(test, "disable_macros"))
        return CHECKER_ONLY;
    if (has_named_zone(expr))
        return NAMED_ZONE;

    struct cel_value want = cel_bool(true), got = { .kind = CEL_NULL };
    if (value && !to_value(value, &want))
        return NEEDS_MESSAGES;
    struct cel_program *program;
    struct error err = { 0 };
    struct cel_env env = { lookup, (void *)test, 0 };
    int r = cel_compile(&arena, expr, &program, &err);
    if (!r)
        r = cel_eval(program, &env, &arena, &got, &err);
    if (wants_error ? r == -INVALID : !r && same(&got, &want))
        return PASSED;
    if (r && strstr(err.text, "undeclared reference to the function") &&
        textproto_get(test, "disable_check"))
        return UNKNOWN_FUNCTION;

    struct json_w w;
    buf_printf(report, "  %.*s: %.*s\n    ", (int)textproto_text(test, "name").n,
               textproto_text(test, "name").p, (int)min_size(expr.n, 200), expr.p);
    json_w_init(&w, report, 0);
    if (r)
        buf_printf(report, "%s", err.text);
    else
        cel_to_json(got, &w);
    buf_put(report, wants_error ? S(", but an error is wanted\n") : S(", but wanted: "));
    json_w_init(&w, report, 0);
    if (!wants_error)
        cel_to_json(want, &w);
    buf_putc(report, '\n');
    return FAILED;
}

/* ---- sections and files ---- */

static void print_tally(const char *file, str section, const struct tally *t)
{
    print_message("%-16s %-34.*s", file, (int)section.n, section.p);
    for (int i = 0; i < N_OUTCOMES; i++)
        if (t->n[i])
            print_message(" %u %s;", t->n[i], outcome_name[i]);
    print_message("\n");
}

static void run_section(const char *file, const struct textproto *section, enum outcome skipped,
                        struct tally *sum)
{
    struct tally t = { 0 };
    AUTO(buf_done) struct buf report;
    buf_init(&report, MIB(1));
    for (const struct textproto *f = section->first; f; f = f->next)
        if (str_eq(f->name, S("test")))
            t.n[skipped ? skipped : run_case(f, &report)]++;
    print_tally(file, textproto_text(section, "name"), &t);
    if (t.n[FAILED])
        print_message("%.*s", (int)report.len, buf_str(&report).p);
    for (int i = 0; i < N_OUTCOMES; i++)
        sum->n[i] += t.n[i];
}

static void run_file(const char *name, struct tally *sum)
{
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    AUTO(buf_done) struct buf text;
    buf_init(&text, MIB(4));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    for (char *at; (at = buf_reserve(&text, 4096)) != NULL;) {
        size_t n = fread(at, 1, 4096, f);
        if (!n)
            break;
        buf_commit(&text, n);
    }
    fclose(f);

    char stem[64];
    snprintf(stem, sizeof stem, "%.*s", (int)(strlen(name) - strlen(".textproto")), name);
    enum outcome skipped = PASSED;
    for (size_t i = 0; i < COUNT(left_out); i++)
        if (!strcmp(left_out[i].file, stem))
            skipped = left_out[i].why;

    arena_init(&arena, MIB(512));
    unsigned line = 0;
    struct textproto *root = textproto_parse(&arena, buf_str(&text), &line);
    if (!root)
        fail_msg("%s:%u: can't read it", name, line);
    for (const struct textproto *s = root->first; s; s = s->next)
        if (str_eq(s->name, S("section")))
            run_section(stem, s, skipped, sum);
    arena_done(&arena);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void suite_is_answered_as_it_says(void **state)
{
    struct dirent **entry;
    int n = scandir(dir, &entry, NULL, by_name);
    assert_true(n > 0);
    struct tally sum = { 0 };
    for (int i = 0; i < n; i++) {
        if (str_ends(str_c(entry[i]->d_name), S(".textproto")))
            run_file(entry[i]->d_name, &sum);
        free(entry[i]);
    }
    free(entry);
    print_tally("all", S(""), &sum);
    assert_int_equal(sum.n[FAILED], 0);
    assert_true(sum.n[PASSED] > 800);
}

int main(void)
{
    if (!check_data_dir("cel/tests/simple/testdata", dir, sizeof dir))
        return CHECK_SKIPPED;
    const struct CMUnitTest tests[] = { cmocka_unit_test(suite_is_answered_as_it_says) };
    return cmocka_run_group_tests_name("cel_suite", tests, NULL, NULL);
}
