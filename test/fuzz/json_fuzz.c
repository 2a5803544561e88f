/* json_fuzz.c — any bytes through the JSON reader and the CloudEvents on top of it: what is
 * accepted must survive decoding, writing and reading again. */
#include "fuzz.h"

#include "format/cloudevent.h"
#include "format/json_chars.h"

static void check_scan(str text)
{
    const char *end = text.p + text.n;
    for (int html = 0; html < 2; html++)
        FUZZ_CHECK(json_skip_plain(text.p, end, html) == json_skip_plain_tail(text.p, end, html));
}

static void check_string(struct json v, struct arena *a)
{
    str text, again;
    struct json back;
    FUZZ_CHECK(!json_string(a, v, &text));
    FUZZ_CHECK(json_eq_str(v, text));

    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(4));
    json_put_string(&out, text, JSON_W_HTML);
    FUZZ_CHECK(buf_ok(&out));
    FUZZ_CHECK(!json_parse(buf_str(&out), &back, NULL));
    FUZZ_CHECK(!json_string(a, back, &again));
    FUZZ_CHECK(str_eq(text, again));
}

static void check_number(struct json v)
{
    double d, back;
    int64_t i;
    uint64_t u;
    bool is_i64 = json_i64(v, &i), is_u64 = json_u64(v, &u);
    FUZZ_CHECK(!is_i64 || i < 0 || (is_u64 && u == (uint64_t)i));
    if (!json_double(v, &d))
        return;
    AUTO(buf_done) struct buf out;
    buf_init(&out, 100);
    struct json_w w;
    struct json again;
    json_w_init(&w, &out, 0);
    json_w_double(&w, d);
    FUZZ_CHECK(!json_parse(buf_str(&out), &again, NULL) && json_double(again, &back));
    FUZZ_CHECK(!memcmp(&d, &back, sizeof d));
}

/* Each view must be a value of its own that parses to the same view. */
static void visit(struct json v, struct arena *a, unsigned depth)
{
    struct json again, key, item;
    size_t n = 0;
    FUZZ_CHECK(!json_parse(v.raw, &again, NULL));
    FUZZ_CHECK(again.type == v.type && str_eq(again.raw, v.raw));
    if (v.type == JSON_STRING)
        check_string(v, a);
    if (v.type == JSON_NUMBER)
        check_number(v);
    if (depth > 20)
        return; /* parsing again at each level would cost the square */
    for (struct json_iter it = json_iter(v); json_next(&it, &key, &item); n++) {
        visit(item, a, depth + 1);
        if (v.type != JSON_OBJECT)
            continue;
        str name;
        FUZZ_CHECK(!json_string(a, key, &name));
        FUZZ_CHECK(json_get(v, name).type != JSON_NONE);
        FUZZ_CHECK(json_get_fold(v, name).type != JSON_NONE);
    }
    FUZZ_CHECK(n == json_count(v));
}

static void check_compact(struct json v)
{
    AUTO(buf_done) struct buf once, twice;
    buf_init(&once, MIB(1));
    buf_init(&twice, MIB(1));
    struct json again;
    json_put_compact(&once, v);
    FUZZ_CHECK(!json_parse(buf_str(&once), &again, NULL));
    json_put_compact(&twice, again);
    FUZZ_CHECK(str_eq(buf_str(&once), buf_str(&twice)));
}

static void check_event(str text, struct arena *a)
{
    static const char *const types[] = { "application/json", "application/octet-stream",
                                         "application/x-protobuf", "text/plain" };
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(4));
    struct cloudevent ce;
    struct json v;
    str data;
    struct cloudevent_fields f = {
        .id = S("i"), .topic = text, .pubsubname = S("p"), .data = text
    };
    for (size_t i = 0; i < COUNT(types); i++) {
        f.datacontenttype = str_c(types[i]);
        buf_clear(&out);
        FUZZ_CHECK(!cloudevent_build(&f, &out));
        FUZZ_CHECK(!cloudevent_read(buf_str(&out), a, &ce, NULL));
        int r = cloudevent_data(&ce, a, &data);
        FUZZ_CHECK(!r || r == -EXHAUSTED);
        if (!r && i == 1)
            FUZZ_CHECK(str_eq(data, text));
    }
    buf_clear(&out);
    if (!cloudevent_wrap(text, &f, a, &out, NULL)) {
        FUZZ_CHECK(!json_parse(buf_str(&out), &v, NULL));
        FUZZ_CHECK(!cloudevent_read(buf_str(&out), a, &ce, NULL));
        (void)!cloudevent_data(&ce, a, &data);
        (void)cloudevent_expired(&ce, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, MIB(32));
    str text = str_of(data, size);
    struct json v;
    struct json_error err = { 0 };
    check_scan(text);
    if (!json_parse(text, &v, &err)) {
        visit(v, &a, 0);
        check_compact(v);
    } else {
        FUZZ_CHECK(err.offset <= size && err.line && err.column && err.text[0]);
    }
    check_event(text, &a);
    return 0;
}
