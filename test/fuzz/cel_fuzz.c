/* cel_fuzz.c — any bytes as an expression: it compiles or says where it doesn't, and its evaluation
 * ends within its limits. */
#include "fuzz.h"

#include "format/cel.h"
#include "format/regex.h"

static const char event_text[] =
    "{\"id\":\"1\",\"type\":\"t\",\"data\":{\"n\":1.5,\"s\":\"\\u00e9x\",\"l\":[1,\"a\",null,"
    "{\"k\":[]}],\"b\":true}}";

static bool lookup(void *arg, str name, struct cel_value *ret)
{
    struct json event;
    if (str_eq(name, S("i"))) {
        *ret = cel_int(INT64_MAX);
        return true;
    }
    return (str_eq(name, S("event")) || str_eq(name, S("e"))) &&
           !json_parse(str_c(event_text), &event, NULL) && !cel_json(arg, event, ret);
}

/* The bytes up to the first NUL as a pattern, the rest as the text. */
static void check_regex(str input, struct arena *a)
{
    str pattern, text;
    const char *why = NULL;
    (void)str_cut(input, 0, &pattern, &text);
    struct regex *re = regex_compile(a, pattern, &why);
    FUZZ_CHECK(re || why);
    void *scratch = re ? arena_alloc(a, regex_scratch(re)) : NULL;
    size_t start, end;
    text = str_take(text, 300);
    if (!scratch)
        return;
    bool found = regex_find(re, text, 0, &start, &end, scratch);
    FUZZ_CHECK(found == regex_match(re, text, scratch));
    FUZZ_CHECK(!found || (start <= end && end <= text.n));
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(1));
    regex_replace(re, text, S("<>"), scratch, &out);
    FUZZ_CHECK(buf_ok(&out) && (found || str_eq(buf_str(&out), text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_done) struct arena a;
    AUTO(buf_done) struct buf out;
    arena_init(&a, MIB(8));
    buf_init(&out, MIB(4));
    str source = str_of(data, size), name[8];
    struct cel_env env = { lookup, &a, 20000 };
    struct cel_program *p;
    struct cel_value v;
    struct error err = { 0 };
    check_regex(source, &a);
    int r = cel_compile(&a, source, &p, &err);
    if (!r) {
        (void)cel_free_names(p, name, COUNT(name));
        r = cel_eval(p, &env, &a, &v, &err);
    }
    FUZZ_CHECK(!r || r == -INVALID || r == -EXHAUSTED);
    FUZZ_CHECK(!r || err.text[0]);
    if (r)
        return 0;
    struct json_w w;
    struct json back;
    json_w_init(&w, &out, 0);
    cel_to_json(v, &w);
    FUZZ_CHECK(!buf_ok(&out) || !json_parse(buf_str(&out), &back, NULL));
    return 0;
}
