/* duration_fuzz.c — the small formats: durations, quantities, URIs, cron schedules, expansion. */
#include "fuzz.h"

#include "format/cron.h"
#include "format/duration.h"
#include "format/envsubst.h"
#include "format/uri.h"

static void check_duration(str s)
{
    int64_t ns, back, value, milli;
    char text[DURATION_MAX];
    if (duration_parse(s, &ns)) {
        size_t n = duration_print(ns, text);
        FUZZ_CHECK(n < DURATION_MAX && duration_parse(str_of(text, n), &back) && back == ns);
    }
    (void)!duration_parse_bare(s, 1000000, &ns);
    if (quantity_parse_milli(s, &milli)) {
        int64_t up = milli / 1000 + (milli % 1000 > 0) - (milli % 1000 < 0);
        FUZZ_CHECK(quantity_parse(s, &value) && value == up);
    }
}

static void check_uri(str s, struct arena *a)
{
    str decoded, again, key, value;
    struct uri u;
    for (enum uri_rule rule = URI_PATH; rule <= URI_QUERY; rule++) {
        AUTO(buf_done) struct buf out;
        buf_init(&out, MIB(1));
        uri_encode(&out, s, rule);
        FUZZ_CHECK(!uri_decode(a, buf_str(&out), rule, &decoded) && str_eq(decoded, s));
        (void)!uri_decode(a, s, rule, &decoded);
    }
    FUZZ_CHECK(!uri_clean(a, s, &decoded) && !uri_clean(a, decoded, &again));
    FUZZ_CHECK(str_eq(decoded, again) && decoded.n);
    FUZZ_CHECK(!str_contains(decoded, S("//")) && !str_contains(decoded, S("/./")));
    for (struct uri_query q = uri_query(s, a); uri_query_next(&q, &key, &value);)
        FUZZ_CHECK(uri_query_get(s, a, key, &again));
    if (!uri_parse(s, &u))
        FUZZ_CHECK(u.host.n || u.path.n);
}

static void check_cron(str s)
{
    const uint64_t after = 1790000000123456789u;
    struct cron c;
    struct error err = { 0 };
    if (cron_parse(s, &c, &err)) {
        FUZZ_CHECK(str_starts(str_c(err.text), S("cron: ")));
        return;
    }
    for (int local = 0; local < 2; local++) {
        uint64_t next = cron_next(&c, after, local);
        FUZZ_CHECK(!next || (next > after && next % 1000000000u == 0));
    }
}

static str same_name(void *arg, str name)
{
    (void)arg;
    return name;
}

static void check_envsubst(str s)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(1));
    envsubst(s, same_name, NULL, &out);
    FUZZ_CHECK(buf_ok(&out) && buf_str(&out).n <= s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, MIB(32));
    str s = str_of(data, min_size(size, 4096));
    check_duration(s);
    check_uri(s, &a);
    check_cron(s);
    check_envsubst(s);
    return 0;
}
